"""Transforms after which a map covers another part of the image than the image's masks do."""

from typing import Any

from anomalib_slsg.transforms import parts

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
    names = (type(part).__name__ for transform in transforms for part in parts(transform))
    return next((name for name in names if any(word in name for word in DISPLACING)), None)
