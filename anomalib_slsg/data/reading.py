"""anomalib's image readers, checked, or replaced on request by one that keeps 16 bits and names broken files."""

import copy
import importlib
import logging
from collections.abc import Iterable
from typing import Any

from anomalib.data import NumpyImageItem
from anomalib.visualization.image import item_visualizer, visualizer
from PIL import Image

from anomalib_slsg.utils.images import read_header, read_image, read_rgb

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

    anomalib 2.7 hands images to Pillow, which clips 16 bits to white, ignores how a camera was held and reports a
    broken file without its name.
    It has no option for another reader, so this replaces the function in each of its modules that reads images. Call it
    once, at the top of a program: processes that load data and are not forked, as on Windows and macOS, import the
    program's file anew and need the call, too.
    """
    for name in ANOMALIB_READERS:
        importlib.import_module(name).read_image = read_image  # type: ignore[attr-defined]
    visualizer.visualize_image_item = _visualize_deep_or_plain


def check_images(paths: Iterable[str]) -> None:
    """Look at the headers of images that anomalib's own reader is about to read, if it is in use.

    It clips more than 8 bits, which is warned of.

    Args:
        paths: Files of images.

    Raises:
        ValueError: If one is broken, larger than what is read, or has an orientation tag, which that reader ignores.
    """
    if importlib.import_module(ANOMALIB_READERS[0]).read_image is read_image:
        return
    headers = {path: read_header(path) for path in paths}
    for path, header in headers.items():
        if header.orientation != 1 and (header.deep or not header.is_tiff):  # Pillow turns TIFFs of 8 bits by itself
            raise ValueError(
                f"'{path}' has a camera's orientation tag, which anomalib's reader ignores: turn the pixels (mogrify "
                "-auto-orient), or call anomalib_slsg.read_deep_images() at the top of your program"
            )
    if deep := [path for path, header in headers.items() if header.deep]:
        logger.warning(
            "'%s' has more than 8 bits (%d images have), and anomalib's reader shows such images white or not at all: "
            "call anomalib_slsg.read_deep_images() at the top of your program.",
            deep[0],
            len(deep),
        )


def _visualize_deep_or_plain(item: Any, *args: Any, **kwargs: Any) -> Image.Image | None:
    """Draw a heat map as anomalib does, which reads the image's file anew, but show what Pillow alone does not."""
    path = item.image_path
    header = None if path is None else read_header(path)
    if header is not None and (header.deep or header.orientation != 1):
        item = copy.copy(item)
        # of NumPy, or of PyTorch
        item.image = read_rgb(path) if isinstance(item, NumpyImageItem) else read_image(path, as_tensor=True)
        item.image_path = None
    return item_visualizer.visualize_image_item(item, *args, **kwargs)
