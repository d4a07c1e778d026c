"""Transforms after which maps do not belong to the masks on disk."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from torch import nn
from torchvision.transforms import v2

from anomalib_slsg.metrics.cropping import displacing_transform

WHOLE = v2.Resize((64, 64))


def _of_model(transform: nn.Module) -> str | None:
    return displacing_transform(SimpleNamespace(pre_processor=SimpleNamespace(transform=transform)))


def _of_data(transform: Callable) -> str | None:
    return displacing_transform(None, SimpleNamespace(augmentations=transform))


@pytest.mark.parametrize(
    "transform",
    [
        v2.CenterCrop(32),
        v2.Pad(4),
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomRotation(10),
        v2.RandomAffine(10),
        v2.RandomPerspective(),
        v2.ElasticTransform(),
        v2.RandomZoomOut(),
        v2.RandomResizedCrop(32),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_what_moves_the_image_is_named(transform: nn.Module) -> None:
    name = type(transform).__name__
    for given in (transform, v2.Compose([WHOLE, v2.Compose([transform])])):
        assert _of_model(given) == _of_data(given) == name


@pytest.mark.parametrize(
    "transform",
    [
        WHOLE,
        v2.ColorJitter(),
        v2.GaussianBlur(3),
        v2.Resize(None, max_size=64),
        v2.Compose([WHOLE, v2.CenterCrop((64, 64))]),  # as some of anomalib's models have it
    ],
    ids=str,
)
def test_what_leaves_the_image_whole_is_not(transform: nn.Module) -> None:
    assert _of_model(transform) is None


def test_a_crop_of_what_keeps_its_aspect_is_named() -> None:
    assert _of_model(v2.Compose([v2.Resize(64), v2.CenterCrop(64)])) == "CenterCrop"


def test_functions_are_transforms_of_unknown_parts() -> None:
    assert _of_data(lambda image: image) is None
