"""The model's pre-processor, which resizes; :class:`~anomalib_slsg.torch_model.SlsgModel` normalises."""

from collections.abc import Sequence

from anomalib.pre_processing import PreProcessor
from torch import nn
from torchvision.transforms.v2 import Normalize, Resize

from anomalib_slsg.processing.antialiased_resize import keep_antialiasing
from anomalib_slsg.torch_model import STRIDE, check_image_size
from anomalib_slsg.utils.transforms import parts
from anomalib_slsg.utils.validation import check_number


def default_pre_processor(image_size: tuple[int, int] | None) -> PreProcessor:
    """Make the default pre-processor.

    Args:
        image_size: Height and width in pixels; 256x256 if left out.

    Returns:
        The pre-processor.
    """
    height, width = image_size or (256, 256)
    pre_processor = PreProcessor(transform=Resize((height, width), antialias=True))
    keep_antialiasing(pre_processor)
    return pre_processor


def resolve_pre_processor(
    pre_processor: PreProcessor | bool, image_size: tuple[int, int] | None
) -> PreProcessor | nn.Module | bool:
    """Make what the options ask for.

    Args:
        pre_processor: anomalib's pre-processor, or a flag for the default.
        image_size: Height and width in pixels of the default one; left out if it is not asked for.

    Returns:
        The pre-processor, or ``False`` for none.

    Raises:
        ValueError: If the size is none of the network's, both are given, or images would be normalised twice.
    """
    transform = getattr(pre_processor, "transform", None)
    if image_size is not None:
        if not isinstance(image_size, Sequence) or len(image_size) != 2:
            msg = f"model.image_size must be a height and a width, got {image_size!r}"
            raise ValueError(msg)
        for side in image_size:
            check_number("model.image_size", side, STRIDE, whole=True)
        check_image_size(*image_size)
        if pre_processor is not True and resized_to(transform) != tuple(image_size):
            msg = "model.image_size and model.pre_processor contradict each other; resize in the pre-processor only"
            raise ValueError(msg)
    if pre_processor is True:
        return default_pre_processor(image_size)
    if any(isinstance(part, Normalize) for part in parts(transform)):
        msg = "model.pre_processor normalises, but SlsgModel takes images in [0, 1] and normalises itself; leave it out"
        raise ValueError(msg)
    if isinstance(pre_processor, PreProcessor):
        keep_antialiasing(pre_processor)
    return pre_processor


def fixes_size(pre_processor: object) -> bool:
    """Tell whether a pre-processor makes images of one size.

    Args:
        pre_processor: A model's pre-processor, if it has one.

    Returns:
        Whether one of its transforms has a height and a width.
    """
    sizes = (getattr(part, "size", None) for part in parts(getattr(pre_processor, "transform", None)))
    return any(isinstance(size, Sequence) and len(size) == 2 for size in sizes)


def resized_to(transform: nn.Module | None) -> tuple[int, ...] | None:
    """Tell the size of a transform that only resizes.

    Args:
        transform: A pre-processor's transform.

    Returns:
        Height and width, or the one number that it was given; ``None`` for other transforms.
    """
    return tuple(transform.size) if isinstance(transform, Resize) else None
