"""Transforms after which a map covers another part of the image than the image's masks do."""

from collections.abc import Iterator
from typing import Any

from torch import nn

DISPLACING = ("Crop", "Pad")


def displacing_transform(model: Any, dataset: Any = None) -> str | None:
    """Find what crops or pads images before a model sees them.

    Args:
        model: An anomalib model, whose pre-processor may do so.
        dataset: Its data set, whose augmentations may.

    Returns:
        The name of the first such transform; None if images are at most resized as a whole.
    """
    transforms = (
        getattr(getattr(model, "pre_processor", None), "transform", None),
        getattr(dataset, "augmentations", None),
    )
    names = (type(part).__name__ for transform in transforms if transform is not None for part in _parts(transform))
    return next((name for name in names if any(word in name for word in DISPLACING)), None)


def _parts(transform: nn.Module) -> Iterator[nn.Module]:
    yield transform
    # Compose keeps its transforms in a plain list, which modules() does not enter
    for part in (*getattr(transform, "transforms", ()), *transform.children()):
        yield from _parts(part)
