"""Features of the encoder that normal and anomalous images are told apart by. Not in the paper."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchmetrics.functional.classification import binary_auroc

FEATURES = 100  # channels that are looked at, as in PaDiM
LARGEST_SIDE = 32  # cells of the grid of places
FITTED_IMAGES = 500  # more of them add memory and nothing else
JUDGED_IMAGES = 200  # with and without a simulated anomaly, to tell whether a measure is of use
JUDGED_ANOMALIES = 100  # at the least: where there are few images, which anomalies they get would decide
# What normal images are taken to vary by at the least, so that neither few images nor rounding raise alarms: a share
# of the median of what is measured, half of what was seen on real data.
LEAST_RELATIVE_SPREAD = 0.1
LEAST_SCALE = 0.01  # of the channels' mean: ReLU leaves some channels dead
STEEPNESS = 1.5  # log odds for each spread above the median


class FeatureStatistics(nn.Module):
    """What is learnt from chosen features of normal images.

    Args:
        channels: Channels of the encoder's maps at strides 8 and 16.
    """

    option: ClassVar[str]  # its name
    least_separation: ClassVar[float]  # with less, it does not tell enough to be of use
    # buffers whose shapes depend on the images; the first one is empty before there are any
    of_any_shape: ClassVar[tuple[str, ...]]
    selected: Tensor
    median: Tensor
    spread: Tensor

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        # always the same ones: they belong to the method, not to a run
        order = torch.randperm(sum(channels), generator=torch.Generator().manual_seed(0))
        self.register_buffer("selected", order[:FEATURES].sort().values)  # (C,)
        for name in self.of_any_shape:
            self.register_buffer(name, torch.empty(0))
        self.register_buffer("median", torch.tensor(0.0))
        self.register_buffer("spread", torch.tensor(1.0))

    @property
    def fitted(self) -> bool:
        """Whether normal images have been seen."""
        return self.get_buffer(self.of_any_shape[0]).numel() > 0

    def forget(self) -> None:
        """Become what a new one is."""
        for name in self.of_any_shape:
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
        return torch.cat([self._select(pyramid) for pyramid in pyramids])

    def _select(self, pyramid: Sequence[Tensor], grid: tuple[int, int] | None = None) -> Tensor:
        """The chosen channels on the grid of places, or on the one that suits them: (B, C, H, W)."""
        grid = grid or _grid(pyramid[-2])
        levels = [interpolate(level.to(self.median.dtype), grid, mode="bilinear") for level in pyramid[-2:]]
        return torch.cat(levels, dim=1).index_select(1, self.selected)

    def _check_number(self, features: Tensor) -> None:
        if len(features) < 2:
            msg = f"model.{self.option} needs at least two normal images, got {len(features)}"
            raise ValueError(msg)

    def _calibrate(self, unusual: Tensor, least_spread: float) -> None:
        """Learn how unusual normal images are that have not been learnt from, from what was measured of each: (B,)."""
        self.median = unusual.median()
        least = (LEAST_RELATIVE_SPREAD * self.median).clamp(min=least_spread)
        self.spread = torch.maximum(unusual.quantile(0.9) - self.median, least)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Take the shape of what is loaded, which depends on the images that a model was fitted on.

        After a checkpoint of a model without these statistics they are not fitted, whatever they were before.
        """
        if not any(name.startswith(prefix) for name in state_dict):
            self.forget()
            return
        for name in self.of_any_shape:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.median.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _grid(fine: Tensor) -> tuple[int, int]:
    """Cells along height and width: as many as the map at stride 8 has, or the most that are held."""
    height, width = fine.shape[-2:]
    return min(height, LARGEST_SIDE), min(width, LARGEST_SIDE)


def at_least(scale: Tensor) -> Tensor:
    """Keep channels that hardly vary from counting for too much.

    Args:
        scale: By how much each channel varies, of shape (C,).

    Returns:
        The same, but never less than a small share of the mean.
    """
    return scale.clamp(min=LEAST_SCALE * float(scale.mean())).clamp(min=torch.finfo(scale.dtype).eps)


def image_auroc(normal: Tensor, anomalous: Tensor) -> float:
    """Area under the ROC curve.

    Args:
        normal: How unusual each normal image is, not negative, of shape (B,).
        anomalous: How unusual each anomalous one is.

    Returns:
        The area.
    """
    scores = torch.cat([normal, anomalous])
    labels = torch.arange(len(scores), device=scores.device) >= len(normal)
    # binary_auroc squashes scores outside [0, 1], which makes them equal
    within = scores / scores.max().clamp(min=torch.finfo(scores.dtype).tiny)
    return float(binary_auroc(within, labels.int()))
