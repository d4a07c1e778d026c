"""Colour jitter: brightness and saturation of each image, within bounds."""

import torch
from torch import Tensor

from anomalib_slsg.simulation.augmentation import colour_jitter

GREY_WEIGHTS = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)


def _images(number: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.3 + 0.4 * torch.rand(number, 3, 4, 5, dtype=torch.float64, generator=generator)


def _grey(images: Tensor) -> Tensor:
    return (images * GREY_WEIGHTS).sum(dim=1, keepdim=True)


def test_luminance_and_chroma_are_scaled_by_one_factor_per_image() -> None:
    images = _images()
    jittered = colour_jitter(images, 0.1, torch.Generator().manual_seed(1))
    brightness = _grey(jittered) / _grey(images)
    saturation = (jittered - _grey(jittered)) / (images - _grey(images)) / brightness
    for factor in (brightness, saturation):
        per_image = factor.flatten(1)
        torch.testing.assert_close(per_image, per_image[:, :1].expand_as(per_image))
        factors = per_image[:, 0]
        assert factors.min() >= 0.9 - 1e-9
        assert factors.max() <= 1.1 + 1e-9
        assert factors.min() < 0.93
        assert factors.max() > 1.07
    assert abs(torch.corrcoef(torch.stack([brightness[:, 0, 0, 0], saturation[:, 0, 0, 0]]))[0, 1]) < 0.5


def test_result_stays_in_range() -> None:
    primaries = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 2, 2)
    images = torch.cat([torch.zeros(8, 3, 2, 2), torch.ones(8, 3, 2, 2), primaries])
    jittered = colour_jitter(images, 0.9, torch.Generator().manual_seed(0))
    assert jittered.min() >= 0
    assert jittered.max() <= 1
    assert jittered.shape == images.shape


def test_generator_decides() -> None:
    images = _images()
    first, again, other = (colour_jitter(images, 0.1, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_strength_zero_changes_nothing() -> None:
    images = _images()
    assert torch.equal(colour_jitter(images, 0, torch.Generator()), images)
