"""What measures of normality have in common: the features they look at, and how unusual is unusual."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from anomalib.models.components import DynamicBufferMixin
from torch import Tensor
from torch.nn.functional import interpolate

FEATURES = 100  # channels that are looked at, as in PaDiM
LARGEST_SIDE = 32  # cells of the grid of places
# What normal images are taken to vary by at the least, so that neither few images nor rounding raise alarms: a share
# of the median of what is measured, half of what was seen on real data.
LEAST_RELATIVE_SPREAD = 0.1
LEAST_SCALE = 0.01  # of the channels' mean: ReLU leaves some channels dead
STEEPNESS = 1.5  # log odds for each spread above the median


class Measure(DynamicBufferMixin):
    """What is learnt from chosen features of normal images.

    Args:
        channels: Channels of the encoder's maps at strides 8 and 16.
    """

    name: ClassVar[str]  # its option is model.normality.<name>
    least_separation: ClassVar[float]  # a measure with a lower AUROC of simulated anomalies is left out
    dynamic_buffers: ClassVar[tuple[str, ...]]  # their shapes depend on the images; empty until they are fitted
    selected: Tensor
    median: Tensor
    spread: Tensor

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        # always the same ones: they belong to the method, not to a run
        order = torch.randperm(sum(channels), generator=torch.Generator().manual_seed(0))
        self.register_buffer("selected", order[:FEATURES].sort().values)  # (C,)
        for name in self.dynamic_buffers:
            self.register_buffer(name, torch.empty(0))
        self.register_buffer("median", torch.tensor(0.0))
        self.register_buffer("spread", torch.tensor(1.0))

    @property
    def fitted(self) -> bool:
        """Whether normal images have been seen."""
        return self.get_buffer(self.dynamic_buffers[0]).numel() > 0

    def reset(self) -> None:
        """Reset to the unfitted state."""
        for name in self.dynamic_buffers:
            setattr(self, name, getattr(self, name).new_empty(0))
        self.median.fill_(0)
        self.spread.fill_(1)

    @torch.no_grad()
    def gather(self, pyramids: Iterable[Sequence[Tensor]]) -> Tensor:
        """Keep what normal images are described by.

        Args:
            pyramids: Feature maps of images, batch by batch; the last two of each are those at strides 8 and 16, of
                shape (B, C_l, H_l, W_l).

        Returns:
            Features of shape (images, C, H, W), the same for all measures of an encoder.
        """
        return torch.cat([self.select(pyramid) for pyramid in pyramids])

    def select(self, pyramid: Sequence[Tensor], grid: tuple[int, int] | None = None) -> Tensor:
        """Choose channels of a feature pyramid.

        Args:
            pyramid: Feature maps; the last two are those at strides 8 and 16, of shape (B, C_l, H_l, W_l).
            grid: Cells along height and width; as many as the map at stride 8 has, 32 at the most, if left out.

        Returns:
            The chosen channels on the grid, of shape (B, C, H, W).
        """
        fine = pyramid[-2]
        grid = grid or (min(fine.shape[-2], LARGEST_SIDE), min(fine.shape[-1], LARGEST_SIDE))
        levels = [interpolate(level.to(self.median.dtype), grid, mode="bilinear") for level in pyramid[-2:]]
        return torch.cat(levels, dim=1).index_select(1, self.selected)

    def calibrate(self, unusual: Tensor, least_spread: float) -> None:
        """Learn how unusual normal images are that the measure was not fitted to.

        Args:
            unusual: What was measured of each, of shape (B,).
            least_spread: What they are taken to vary by at the least.
        """
        self.median = unusual.median()
        least = (LEAST_RELATIVE_SPREAD * self.median).clamp(min=least_spread)
        self.spread = torch.maximum(unusual.quantile(0.9) - self.median, least)


def at_least(scale: Tensor) -> Tensor:
    """Keep channels that hardly vary from counting for too much.

    Args:
        scale: By how much each channel varies, of shape (C,).

    Returns:
        The same, but never less than a small share of the mean.
    """
    return scale.clamp(min=LEAST_SCALE * float(scale.mean())).clamp(min=torch.finfo(scale.dtype).eps)
