"""Where anomalies may lie: the object on a plain background, or the whole image, found without labels."""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from anomalib_slsg.simulation.options import ForegroundMode

logger = logging.getLogger(__name__)

FOREGROUND_IMAGES = 32  # normal images, spread over all, that are enough to decide by
# The object is looked for at about this many pixels along the shorter side.
WORK_SIDE = 128
# Width of the border that shows the background, as a share of the shorter side.
RING_WIDTH = 0.025
# A pixel is foreground when it differs from the background by more than the border does; colours are in [0, 1].
RING_QUANTILE = 0.95
SPREAD_FACTOR = 1.5
SMALLEST_THRESHOLD = 0.06
# What makes a data set one of objects on a plain background.
LARGEST_SPREAD = 0.1
SHARE_RANGE = (0.02, 0.95)
LARGEST_RING_SHARE = 0.1


class Foreground(nn.Module):
    """Finds the binarised target foreground of the paper's foreground enhancement (section 3.2, Fig. 3).

    The background is the median colour of an image's border. Pixels that differ from it by more than the border itself
    does make up the object, whose holes are filled. The decision between object and whole image and the threshold are
    made once per data set, from normal images, and are saved with the state.

    Args:
        mode: ``"auto"`` decides, ``"object"`` always looks for an object, ``"whole"`` never does (Table 5
            "w/o Foreground", textures).
    """

    is_object: Tensor
    threshold: Tensor

    def __init__(self, mode: ForegroundMode = "auto") -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("is_object", torch.tensor(mode == "object"))
        self.register_buffer("threshold", torch.tensor(float("nan")))
        self._fitted, self._finds_object = False, mode == "object"  # on the host: forward must not wait for the device
        self.register_load_state_dict_post_hook(_read_buffers)

    def fit(self, images: Tensor) -> None:
        """Decide between object and whole image, and how much a pixel of the object differs from the background.

        Args:
            images: (N, 3, H, W) normal images in [0, 1]; a few dozen are enough.
        """
        distance, ring = _background_distance(_shrink(images))
        spread = torch.quantile(ring, RING_QUANTILE, dim=1).median()
        self.threshold.copy_((SPREAD_FACTOR * spread).clamp(min=SMALLEST_THRESHOLD))
        found = _fill_object(distance > self.threshold)  # (N, 1, h, w)
        share = found.mean(dim=(1, 2, 3)).median()
        ring_share = _border(found, _ring_width(found)).mean(dim=(1, 2)).median()
        plain = (spread <= LARGEST_SPREAD) & (ring_share <= LARGEST_RING_SHARE)
        object_like = plain & (share >= SHARE_RANGE[0]) & (share <= SHARE_RANGE[1])
        self.is_object.copy_(object_like if self.mode == "auto" else torch.tensor(self.mode == "object"))
        _read_buffers(self)
        where = f"on the object, {float(share):.0%} of an image" if self._finds_object else "anywhere in the image"
        if self._finds_object and share < SHARE_RANGE[0]:
            where = "anywhere in most images, in which no object is found"
        logger.info("simulation.foreground=%s: simulated anomalies may lie %s.", self.mode, where)

    def forward(self, images: Tensor) -> Tensor:
        """Find the foreground.

        Args:
            images: (B, 3, H, W) in [0, 1].

        Returns:
            (B, 1, H, W) of 0 and 1. An image in which nothing is found is foreground everywhere.

        Raises:
            RuntimeError: If :meth:`fit` has not been called and no fitted state was loaded; not in mode ``"whole"``.
        """
        if self.mode != "whole" and not self._fitted:
            raise RuntimeError(
                "Foreground has not been fitted: call fit(images) with normal images first, or load a fitted state"
            )
        if not self._finds_object:
            return images.new_ones(len(images), 1, *images.shape[-2:])
        distance, _ = _background_distance(_shrink(images))
        found = _fill_object(distance > self.threshold)
        missing = found.mean(dim=(1, 2, 3), keepdim=True) < SHARE_RANGE[0]
        found = torch.maximum(found, missing.float())
        return F.interpolate(found, images.shape[-2:], mode="nearest").to(images.dtype)


def _read_buffers(module: Foreground, _incompatible_keys: Any = None) -> None:
    """Copy the decision to the host, which waits for the device once."""
    module._fitted, module._finds_object = not bool(module.threshold.isnan()), bool(module.is_object)


def _shrink(images: Tensor) -> Tensor:
    """Leave out pixels: averaging costs ten times as much, and specks are dropped later anyhow."""
    stride = max(1, min(images.shape[-2:]) // WORK_SIDE)
    return images[:, :, ::stride, ::stride].float().contiguous()


def _ring_width(images: Tensor) -> int:
    return max(1, round(RING_WIDTH * min(images.shape[-2:])))


def _border(images: Tensor, width: int) -> Tensor:
    """Pixels of the border of (B, C, H, W) images: (B, C, number)."""
    sides = (
        images[:, :, :width],
        images[:, :, -width:],
        images[:, :, width:-width, :width],
        images[:, :, width:-width, -width:],
    )
    return torch.cat([side.flatten(2) for side in sides], dim=2)


def _background_distance(images: Tensor) -> tuple[Tensor, Tensor]:
    """Largest difference of a channel from the background: (B, 1, H, W), and at the border (B, number)."""
    border = _border(images, _ring_width(images))  # (B, 3, number)
    # the lower median; not median itself, whose indices are not deterministic on GPUs
    background = border.sort(dim=2).values[..., (border.shape[2] - 1) // 2]  # (B, 3)
    distance = (images - background[:, :, None, None]).abs_().amax(dim=1, keepdim=True)
    return distance, _border(distance, _ring_width(images)).squeeze(1)


def _fill_object(foreground: Tensor) -> Tensor:
    """Drop specks (opening), close gaps (closing) and fill holes of (B, 1, H, W) booleans; returns 0 and 1."""
    opened = _dilate(_erode(foreground, 1), 1)
    closed = _erode(_dilate(opened, 3), 2).float()  # one pixel of margin stays
    # Inside is what has object on its left, on its right, above and below.
    return (_enclosed(closed, dim=3) & _enclosed(closed, dim=2)).float()


def _dilate(maps: Tensor, reach: int) -> Tensor:
    """Dilate booleans by a square with sides of 2 * reach + 1."""
    return F.max_pool2d(maps.float(), 2 * reach + 1, stride=1, padding=reach) > 0


def _erode(maps: Tensor, reach: int) -> Tensor:
    return ~_dilate(~maps, reach)


def _enclosed(maps: Tensor, dim: int) -> Tensor:
    """Whether there is object on both sides along one axis; a running sum says what a running maximum would, faster."""
    before = maps.cumsum(dim)
    after = before.narrow(dim, maps.shape[dim] - 1, 1) - before + maps
    return (before > 0) & (after > 0)
