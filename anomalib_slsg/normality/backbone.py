"""The frozen network whose features describe images. Not in the paper."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from anomalib_slsg.networks.encoder import build_features, deepest_of_strides

STRIDES = (8, 16, 32)
# What larger grids and wider networks are cut down to: a matrix of channels by channels is kept for each cell.
LARGEST_FINE_SIDE, LARGEST_COARSE_SIDE = 32, 16
MOST_FINE_CHANNELS, MOST_COARSE_CHANNELS = 160, 480

Grid = tuple[int, int]


class Features(NamedTuple):
    """What images are described by.

    Attributes:
        fine: Channels of strides 8 and 16 on the cells of stride 16, of shape (B, C, H, W).
        coarse: Channels of all three strides on the cells of stride 32, of shape (B, C', H', W').
    """

    fine: Tensor
    coarse: Tensor


class FrozenBackbone(nn.Module):
    """A timm CNN that nothing trains.

    The weights are random; :mod:`anomalib_slsg.networks.weights` loads others.

    Args:
        backbone: Name of a timm CNN that supports ``features_only``.

    Raises:
        ValueError: If timm does not know it, or it lacks one of the three strides.
    """

    fine_channels: Tensor
    coarse_channels: Tensor

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone = backbone
        try:
            information = build_features(backbone).feature_info
            places = deepest_of_strides(information.reduction(), STRIDES)
            network = build_features(backbone, tuple(information.out_indices[place] for place in places))
        except ValueError as error:
            raise ValueError(
                f"model.normality.backbone: '{backbone}' is not a timm CNN with features at strides 8, 16 and 32, such "
                f"as tf_efficientnet_lite0 or resnet18 ({error})"
            ) from error
        self.network: nn.Module = network.requires_grad_(False)
        channels = network.feature_info.channels()
        self.first_channels: int = channels[0]
        self.register_buffer("fine_channels", _chosen(sum(channels[:2]), MOST_FINE_CHANNELS), persistent=False)
        self.register_buffer("coarse_channels", _chosen(sum(channels), MOST_COARSE_CHANNELS), persistent=False)
        self.eval()

    def forward(self, images: Tensor, fine: Grid | None = None, coarse: Grid | None = None) -> Features:
        """Describe images.

        Args:
            images: Normalised images of shape (B, 3, H, W).
            fine: Height and width of the fine grid in cells; those of stride 16, but not too many, if left out.
            coarse: The same of the coarse grid, of stride 32.

        Returns:
            The features, float32.
        """
        levels = [level.float() for level in self.network(images)]
        fine = fine or _at_most(levels[1], LARGEST_FINE_SIDE)
        coarse = coarse or _at_most(levels[2], LARGEST_COARSE_SIDE)
        return Features(
            torch.cat([_on_grid(level, fine) for level in levels[:2]], dim=1).index_select(1, self.fine_channels),
            torch.cat([_on_grid(level, coarse) for level in levels], dim=1).index_select(1, self.coarse_channels),
        )

    @property
    def share_of_first_stride(self) -> float:
        """Share of the fine features that are of the first stride."""
        return (self.fine_channels < self.first_channels).float().mean().item()

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Stay in evaluation mode."""
        return super().train(False)


def _chosen(channels: int, most: int) -> Tensor:
    """Indices of the channels that are looked at: all, or always the same ones."""
    return torch.randperm(channels, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _at_most(cells: Tensor, side: int) -> Grid:
    return min(cells.shape[-2], side), min(cells.shape[-1], side)


def _on_grid(level: Tensor, grid: Grid) -> Tensor:
    """Average a map over the cells of a grid; a coarser one is interpolated."""
    factors = [max(1, -(-old // new)) for old, new in zip(level.shape[-2:], grid, strict=True)]
    if max(factors) > 1:
        level = avg_pool2d(level, factors, ceil_mode=True, count_include_pad=False)
    return level if level.shape[-2:] == grid else interpolate(level, grid, mode="bilinear")
