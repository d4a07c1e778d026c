"""Random photometric operations on sources of simulated anomalies, those of DRAEM (paper section 3.2, [34])."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from kornia import color, enhance
from torch import Tensor


def _change_gamma(images: Tensor, amount: float) -> Tensor:
    return enhance.adjust_gamma(images, 2 ** (2 * amount - 1))


def _change_brightness(images: Tensor, amount: float) -> Tensor:
    return enhance.adjust_brightness(images, 0.6 * amount - 0.3)


def _change_sharpness(images: Tensor, amount: float) -> Tensor:
    """As kornia's ``sharpness``, whose convolution of one channel at a time takes many times as long on processors."""
    smooth = images.clone()  # the outermost pixels stay as they are
    rows = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # nine pixels
    smooth[..., 1:-1, 1:-1] = (box + 4 * images[..., 1:-1, 1:-1]) / 13
    return torch.lerp(smooth, images, 3 * amount).clamp(0, 1)


def _change_hue_and_saturation(images: Tensor, amount: float) -> Tensor:
    """Turn and scale the chroma plane of YUV: a shift of hue and saturation at a fraction of the price of HSV."""
    luma, u, v = color.rgb_to_yuv(images).unbind(dim=1)
    angle = 2 * math.pi * amount
    scale = 1 + 0.5 * math.cos(3 * angle)  # runs through [0.5, 1.5] while the angle runs through the circle
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    turned = torch.stack((luma, cosine * u - sine * v, sine * u + cosine * v), dim=1)
    return color.yuv_to_rgb(turned).clamp(0, 1)


def _solarize(images: Tensor, amount: float) -> Tensor:
    return enhance.solarize(images, (32 + 96 * amount) / 255)


def _posterize(images: Tensor, amount: float) -> Tensor:
    return enhance.posterize(images, 1 + int(4 * amount))  # 1 to 4 bits


def _invert(images: Tensor, _amount: float) -> Tensor:
    return 1 - images  # kornia's waits for the device, to which it copies the 1


def _stretch_contrast(images: Tensor, _amount: float) -> Tensor:
    return enhance.normalize_min_max(images).clamp(0, 1)


def _equalize(images: Tensor, _amount: float) -> Tensor:
    return enhance.equalize(images)


OPERATIONS: tuple[Callable[[Tensor, float], Tensor], ...] = (
    _change_gamma,
    _change_brightness,
    _change_sharpness,
    _change_hue_and_saturation,
    _solarize,
    _posterize,
    _invert,
    _stretch_contrast,
    _equalize,
)
"""Each takes images (B, 3, H, W) in [0, 1] and a strength in [0, 1), which it maps to its own range, and returns
images in [0, 1]."""


def random_photometric(images: Tensor, number: int, generator: torch.Generator | None = None) -> Tensor:
    """Apply distinct random operations to every image, in random order, with random strengths.

    Args:
        images: (B, 3, H, W) in [0, 1], at least 3x3 pixels.
        number: Operations per image, from 0 to ``len(OPERATIONS)``.
        generator: CPU generator of all random numbers; ``None``: torch's global one.

    Returns:
        (B, 3, H, W) in [0, 1]; a new tensor.

    Raises:
        ValueError: If ``number`` is not within [0, ``len(OPERATIONS)``].
    """
    if not 0 <= number <= len(OPERATIONS):
        raise ValueError(f"number of photometric operations must lie in [0, {len(OPERATIONS)}], got {number}")
    if number == 0 or len(images) == 0:
        return images.clone()
    order = torch.rand(len(images), len(OPERATIONS), generator=generator).argsort(dim=1)[:, :number].tolist()
    amounts = torch.rand(len(images), number, generator=generator).tolist()
    results = []
    # One image at a time: two images seldom share an operation, and gathering them costs more than it saves.
    for image, operations, strengths in zip(torch.split(images, 1), order, amounts, strict=True):
        for operation, strength in zip(operations, strengths, strict=True):
            image = OPERATIONS[operation](image, strength)  # noqa: PLW2901
        results.append(image)
    return torch.cat(results)
