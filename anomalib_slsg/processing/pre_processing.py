"""The model's pre-processor, which resizes; :class:`~anomalib_slsg.torch_model.SlsgModel` normalises."""

import logging
from collections.abc import Sequence
from typing import Any

from anomalib.pre_processing import PreProcessor
from torch import nn
from torchvision.transforms.v2 import Normalize, Resize

from anomalib_slsg.networks.encoder import STRIDE, check_image_size
from anomalib_slsg.processing.antialiased_resize import keep_antialiasing
from anomalib_slsg.utils.transforms import parts
from anomalib_slsg.utils.validation import check_number

logger = logging.getLogger(__name__)

CONFIG = "anomalib_pre_processor_config"  # in checkpoints
UNSAVED = "slsg_unsaved_pre_processor"


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
    pre_processor: PreProcessor | bool, image_size: int | tuple[int, int] | None
) -> PreProcessor | nn.Module | bool:
    """Make what the options ask for.

    Args:
        pre_processor: anomalib's pre-processor, or a flag for the default.
        image_size: Height and width in pixels of the default one, or one number for both; left out if it is not asked
            for.

    Returns:
        The pre-processor, or ``False`` for none.

    Raises:
        ValueError: If the size is none of the network's, both are given, or images would be normalised twice.
    """
    transform = getattr(pre_processor, "transform", None)
    size = None if image_size is None else height_and_width(image_size)
    if size is not None and pre_processor is not True and resized_to(transform) != size:
        raise ValueError(
            "model.image_size and model.pre_processor contradict each other; resize in the pre-processor only"
        )
    if pre_processor is True:
        return default_pre_processor(size)
    if any(isinstance(part, Normalize) for part in parts(transform)):
        raise ValueError(
            "model.pre_processor normalises, but SlsgModel takes images in [0, 1] and normalises itself; leave it out"
        )
    if isinstance(pre_processor, PreProcessor):
        keep_antialiasing(pre_processor)
    return pre_processor


def note_unsaved(pre_processor: object, checkpoint: dict[str, Any]) -> None:
    """Note in a checkpoint that it does not hold the pre-processor: anomalib keeps a few transforms only.

    Args:
        pre_processor: The model's pre-processor, if it has one.
        checkpoint: The checkpoint, as anomalib leaves it.
    """
    transform = getattr(pre_processor, "transform", None)
    kept = transform is None or checkpoint.get(CONFIG, {}).get("transform") is not None
    if pre_processor is not None and not (type(pre_processor) is PreProcessor and kept):
        checkpoint[UNSAVED] = " ".join(repr(transform or pre_processor).split())


def check_restorable(checkpoint: dict[str, Any], given: bool, name: object) -> None:
    """Refuse to load a checkpoint without the pre-processor that it was trained with.

    Args:
        checkpoint: The checkpoint; where a pre-processor is given, its own is taken out.
        given: Whether the model was given a pre-processor.
        name: What to call the checkpoint.

    Raises:
        ValueError: If none is given and the checkpoint could not keep its own.
    """
    if given:
        checkpoint.pop(CONFIG, None)
    elif UNSAVED in checkpoint:
        raise ValueError(
            f"'{name}' was trained with a pre-processor that checkpoints cannot hold, {checkpoint[UNSAVED]}: "
            "give it again (model.pre_processor; in Python as pre_processor=...)"
        )


def restore_pre_processor(restored: object, default: object, image_size: tuple[int, int] | None) -> None:
    """Finish what anomalib has restored of a checkpoint's pre-processor.

    Args:
        restored: The model's pre-processor now, if it has one.
        default: Its pre-processor before, which a trainer may have among its callbacks.
        image_size: The size that the model was made for, if it was given; the checkpoint's wins.
    """
    if isinstance(restored, PreProcessor):
        keep_antialiasing(restored)  # which anomalib leaves out
        size = resized_to(restored.transform)
        if image_size is not None and size is not None and image_size != size:
            logger.warning("model.image_size: the checkpoint's %s counts, not %s.", list(size), list(image_size))
    elif isinstance(default, PreProcessor):
        default.transform = default.export_transform = None


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Check the option ``image_size``.

    Args:
        image_size: Height and width in pixels, or one number for both.

    Returns:
        Height and width.

    Raises:
        ValueError: If it is something else, or the encoder cannot halve it four times.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"model.image_size must be a height and a width, or one number for both, got {image_size!r}")
    for side in size:
        check_number("model.image_size", side, f"[{STRIDE}, inf)", whole=True)
    check_image_size(size[0], size[1])
    return size[0], size[1]


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
