"""What the measures of normality have in common: how unusual is unusual. Not in the paper."""

import math
from typing import ClassVar

import torch
from anomalib.models.components import DynamicBufferMixin
from torch import Tensor

# What normal images are taken to vary by at the least, so that few images raise no alarms: a share of the median of
# what is measured, half of what was seen on real data.
LEAST_RELATIVE_SPREAD = 0.1
LEAST_SCALE = 0.01  # of the channels' mean: ReLU leaves some channels dead
STEEPNESS = 2.0  # the power of what is measured by which odds grow
TOLERANCE = 2.0  # spreads above the median at which the odds are even, before the threshold is calibrated


def log_odds(unusual: Tensor, median: Tensor, spread: Tensor) -> Tensor:
    """Turn how unusual something is into the log odds that it is anomalous.

    Odds grow with the square of what is measured: never so fast that far anomalies could no longer be told from farther
    ones, and fast enough that where opinions' odds are added up, the loudest decides.

    Args:
        unusual: What was measured, of any shape.
        median: What is usual for normal images.
        spread: How far the ninth decile of normal images is above that.

    Returns:
        Log odds of the same shape; 0 where it is ``TOLERANCE`` spreads above the median.
    """
    deviation = (unusual - median) / spread
    growth = torch.log1p(deviation.clamp(min=0.0)) + deviation.clamp(max=0.0)
    return STEEPNESS * growth - STEEPNESS * math.log1p(TOLERANCE)


def usual(unusual: Tensor, least_spread: float) -> tuple[Tensor, Tensor]:
    """Learn how unusual normal images are that were not learnt from.

    Args:
        unusual: What was measured of each, of shape (B,).
        least_spread: What they are taken to vary by at the least.

    Returns:
        Median, and how far the ninth decile is above it.
    """
    median = unusual.median()
    return median, (unusual.quantile(0.9) - median).clamp(min=least_spread)


class Learnt(DynamicBufferMixin):
    """Buffers that are learnt of normal images, after the model is made."""

    dynamic_buffers: ClassVar[tuple[str, ...]]  # their shapes depend on the images; empty until they are fitted
    scalars: ClassVar[dict[str, float]]  # what they are until they are fitted

    def __init__(self) -> None:
        super().__init__()
        for name in self.dynamic_buffers:
            self.register_buffer(name, torch.empty(0))
        for name, value in self.scalars.items():
            self.register_buffer(name, torch.tensor(value))

    @property
    def fitted(self) -> bool:
        """Whether normal images have been seen."""
        return self.get_buffer(self.dynamic_buffers[0]).numel() > 0

    def reset(self) -> None:
        """Reset to the unfitted state."""
        for name in self.dynamic_buffers:
            setattr(self, name, getattr(self, name).new_empty(0))
        for name, value in self.scalars.items():
            self.get_buffer(name).fill_(value)


class Measure(Learnt):
    """What is learnt of normal images' features."""

    scalars: ClassVar[dict[str, float]] = {"median": 0.0, "spread": 1.0}
    median: Tensor
    spread: Tensor
    held_out: Tensor  # (B, ...): what was measured of each image that was fitted to, by what the others teach

    def calibrate(self, unusual: Tensor, least_spread: float) -> None:
        """Learn how unusual normal images are that the measure was not fitted to.

        Args:
            unusual: What was measured of each, of shape (B,).
            least_spread: What they are taken to vary by at the least.
        """
        least = max(least_spread, LEAST_RELATIVE_SPREAD * unusual.median().item())
        self.median, self.spread = usual(unusual, least)

    def log_odds(self, unusual: Tensor) -> Tensor:
        """Turn what was measured into the log odds of an anomaly, see :func:`log_odds`."""
        return log_odds(unusual, self.median, self.spread)

    def of_images(self, unusual: Tensor) -> Tensor:
        """Turn what was measured of images (B, ...) into their log odds (B,)."""
        return self.log_odds(unusual)


def at_least(scale: Tensor) -> Tensor:
    """Keep channels that hardly vary from counting for too much.

    Args:
        scale: By how much each channel varies, of shape (C,).

    Returns:
        The same, but never less than a small share of the mean.
    """
    return scale.clamp(min=LEAST_SCALE * float(scale.mean())).clamp(min=torch.finfo(scale.dtype).eps)
