"""The frozen network whose features describe images. Not in the paper."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from anomalib_slsg.networks.encoder import build_features, deepest_of_strides

STRIDES = (4, 8, 16, 32)
# What larger grids and wider networks are cut down to: a matrix of channels by channels is kept for each cell.
LARGEST_SIDES = (32, 32, 16)
MOST_CHANNELS = (64, 160, 320)

LEVELS = (slice(0, 2), slice(1, 3), slice(1, 4))  # of the strides, for the finest, the fine and the coarse features

Grid = tuple[int, int]


class Features(NamedTuple):
    """What images are described by.

    Attributes:
        finest: Channels of strides 4 and 8 on the cells of stride 8, of shape (B, C, H, W).
        fine: Channels of strides 8 and 16 on the cells of stride 16, of shape (B, C', H', W').
        coarse: Channels of strides 8, 16 and 32 on the cells of stride 32, of shape (B, C", H", W").
    """

    finest: Tensor
    fine: Tensor
    coarse: Tensor


class FrozenBackbone(nn.Module):
    """A timm CNN that nothing trains.

    The weights are random; :mod:`anomalib_slsg.networks.weights` loads others.

    Args:
        backbone: Name of a timm CNN that supports ``features_only``.

    Raises:
        ValueError: If timm does not know it, or it lacks one of the four strides.
    """

    finest_channels: Tensor
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
                f"model.normality.backbone: '{backbone}' is not a timm CNN with features at strides 4, 8, 16 and 32, "
                f"such as tf_efficientnet_lite0 or resnet18 ({error})"
            ) from error
        self.network: nn.Module = network.requires_grad_(False)
        self.channels: list[int] = network.feature_info.channels()
        for name, levels, most in zip(Features._fields, LEVELS, MOST_CHANNELS, strict=True):
            self.register_buffer(f"{name}_channels", _chosen(sum(self.channels[levels]), most), persistent=False)
        self.eval()

    def forward(self, images: Tensor, grids: Sequence[Grid | None] = (None, None, None)) -> Features:
        """Describe images.

        Args:
            images: Normalised images of shape (B, 3, H, W).
            grids: Height and width in cells of the finest, the fine and the coarse grid; where they are left out, those
                of strides 8, 16 and 32, but not too many.

        Returns:
            The features, float32.
        """
        maps = [level.float() for level in self.network(images)]
        found = []
        for name, levels, grid, side in zip(Features._fields, LEVELS, grids, LARGEST_SIDES, strict=True):
            cells = grid or _at_most(maps[levels][-1], side)
            together = torch.cat([_on_grid(level, cells) for level in maps[levels]], dim=1)
            found.append(together.index_select(1, self.get_buffer(f"{name}_channels")))
        return Features(*found)

    def mean_offset(self, offsets: Tensor, name: str) -> Tensor:
        """Average how far cells look past their places over the channels of two strides.

        Args:
            offsets: Pixels down and to the right for each stride, of shape (4, 2).
            name: Which features, ``finest`` or ``fine``.

        Returns:
            The mean, of shape (2,).
        """
        levels = LEVELS[Features._fields.index(name)]
        share = (self.get_buffer(f"{name}_channels") < self.channels[levels][0]).float().mean()
        return share * offsets[levels][0] + (1 - share) * offsets[levels][1]

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
