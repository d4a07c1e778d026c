"""Transforms after which a map covers another part of the image than the image's masks on disk do."""

from typing import Any

from torchvision.transforms.v2 import Resize

from anomalib_slsg.utils.transforms import parts

# parts of the names of torchvision's transforms; anomalib applies a data set's augmentations to its masks, too, but not
# to those on disk
DISPLACING = ("Crop", "Pad", "Flip", "Rotat", "Affine", "Perspective", "Elastic", "Zoom")


def displacing_transform(model: Any, dataset: Any = None) -> str | None:
    """Find what crops, pads, turns or distorts images before a model sees them.

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
    for transform in transforms:
        size = None
        for part in parts(transform):
            name = type(part).__name__
            # a crop to the size that images were just resized to leaves nothing out
            if any(word in name for word in DISPLACING) and not (name == "CenterCrop" and _side(part) == size):
                return name
            if isinstance(part, Resize):
                size = _side(part)
    return None


def _side(transform: Any) -> tuple[int, ...] | None:
    """Height and width that a transform gives; none where the image's aspect decides."""
    size = tuple(transform.size or ())  # none where only the longest side is said
    return size if len(size) == 2 else None
