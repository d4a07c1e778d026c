"""anomalib's image readers, replaced on request by one that keeps 16 bits and names broken files."""

import copy
import importlib
import logging
from collections.abc import Iterable
from typing import Any

from anomalib.data import NumpyImageItem
from anomalib.visualization.image import item_visualizer, visualizer
from PIL import Image

from anomalib_slsg.utils.images import is_deep, read_image, read_rgb

logger = logging.getLogger(__name__)

ANOMALIB_READERS = (
    "anomalib.data.datasets.base.image",
    "anomalib.data.datasets.image.mvtec_loco",
    "anomalib.data.predict",
    "anomalib.data.utils.synthetic",
    "anomalib.deploy.inferencers.openvino_inferencer",
    "anomalib.deploy.inferencers.torch_inferencer",
)


def read_deep_images() -> None:
    """Make anomalib's image data sets, inferencers and heat maps read with :mod:`anomalib_slsg.utils.images`.

    anomalib 2.7 hands 16-bit images to Pillow, which clips them to white, and reports a broken file without its name.
    It has no option for another reader, so this replaces the function in each of its modules that reads images. Call it
    once, at the top of a program: processes that load data and are not forked, as on Windows and macOS, import the
    program's file anew and need the call, too.
    """
    for name in ANOMALIB_READERS:
        importlib.import_module(name).read_image = read_image  # type: ignore[attr-defined]
    visualizer.visualize_image_item = _visualize_deep_or_plain


def warn_of_deep_images(paths: Iterable[str]) -> None:
    """Warn that anomalib's own reader clips images of more than 8 bits, if it is in use and the first image is such.

    Args:
        paths: Files of images.
    """
    first = next(iter(paths), None)
    reader = importlib.import_module(ANOMALIB_READERS[0]).read_image
    if first is not None and reader is not read_image and is_deep(first):
        logger.warning(
            "'%s' has more than 8 bits, and anomalib's reader shows such images white: call "
            "anomalib_slsg.read_deep_images() at the top of your program.",
            first,
        )


def _visualize_deep_or_plain(item: Any, *args: Any, **kwargs: Any) -> Image.Image | None:
    """Draw a heat map as anomalib does, which reads the image's file anew, but show 16 bits as they are."""
    if item.image_path is not None and is_deep(item.image_path):
        path, item = item.image_path, copy.copy(item)
        # of NumPy, or of PyTorch
        item.image = read_rgb(path) if isinstance(item, NumpyImageItem) else read_image(path, as_tensor=True)
        item.image_path = None
    return item_visualizer.visualize_image_item(item, *args, **kwargs)
