"""Reading of users' photographs: any mode and depth, and errors that name the file."""

import copy
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import AnomalibDataset, NumpyImageItem, PredictDataset
from anomalib.visualization.image import item_visualizer, visualizer
from PIL import Image
from torchvision.transforms.v2.functional import to_dtype, to_image

ANOMALIB_READERS = (
    "anomalib.data.datasets.base.image",
    "anomalib.data.datasets.image.mvtec_loco",
    "anomalib.data.predict",
    "anomalib.data.utils.synthetic",
    "anomalib.deploy.inferencers.openvino_inferencer",
    "anomalib.deploy.inferencers.torch_inferencer",
)
# what Pillow's readers raise for broken files; UnidentifiedImageError is an OSError
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, Image.DecompressionBombError)
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def read_image(path: str | Path, as_tensor: bool = False) -> torch.Tensor | np.ndarray:
    """Read an image as RGB.

    Args:
        path: File of any format that Pillow reads; grey, palette, RGB, with or without alpha, 8 or 16 bits. Of 16
            bits, all are taken to be in use: stretch the values of cameras that fill 10 or 12 of them. Of 32 bits and
            floating-point numbers, the largest value tells whether they reach to 1, 255 or 65535, which may be
            exceeded, but not twice over.
        as_tensor: Return a tensor instead of an array.

    Returns:
        Values in [0, 1]: a float32 image tensor of shape (3, H, W), or a float64 array of shape (H, W, 3).

    Raises:
        ValueError: If the file is broken or not an image, naming it.
    """
    rgb = read_rgb(path)
    return to_dtype(to_image(rgb), torch.float32, scale=True) if as_tensor else rgb / 255.0


def read_rgb(path: str | Path) -> np.ndarray:
    """Read an image as 8-bit RGB; :func:`read_image` with whole numbers.

    Args:
        path: File of any format that Pillow reads.

    Returns:
        Array of shape (H, W, 3), uint8.

    Raises:
        ValueError: If the file is broken or not an image, naming it.
    """
    try:
        with Image.open(path) as image:
            rgb = _deep_to_rgb(image) if image.mode in DEEP_MODES else image.convert("RGB")
            return np.array(rgb)
    except UNREADABLE as error:
        if isinstance(error, FileNotFoundError):
            raise
        msg = f"'{path}' is truncated or not a readable image ({error}); repair or remove it"
        raise ValueError(msg) from error


def _deep_to_rgb(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey values to 8 bits; Pillow's own conversion clips them at 255 and shows white."""
    values = np.asarray(image, dtype=np.float32)
    largest = float(values.max(initial=0.0))
    # the file says how deep 16 bits are; of 32 bits, only what is in them does, and interpolation overshoots
    deep = image.mode.startswith("I;16") or largest > 2 * 255
    full_scale = 65535.0 if deep else 1.0 if image.mode == "F" and largest <= 2 else 255.0
    grey = np.clip(values / full_scale * 255.0, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey, mode="L").convert("RGB")


def use_in_anomalib() -> None:
    """Make anomalib's image data sets, inferencers and heat maps read with :func:`read_image`.

    anomalib 2.7 hands 16-bit images to Pillow, which clips them to white, and reports a broken file without its name.
    Data sets carry this with them to the processes that load them, which start without it where they are not forked.
    """
    for name in ANOMALIB_READERS:
        importlib.import_module(name).read_image = read_image  # type: ignore[attr-defined]
    visualizer.visualize_image_item = _visualize_deep_or_plain
    datasets: tuple[Any, ...] = (AnomalibDataset, PredictDataset)
    for dataset in datasets:
        dataset.__getstate__ = _state_with_reading


class _Reading:
    """Unpickled in another process, it makes anomalib read with :func:`read_image` there, too."""

    def __setstate__(self, state: Any) -> None:
        # copies are made in this process, whose user may have put another reader in place since
        if getattr(AnomalibDataset, "__getstate__", None) is not _state_with_reading:
            use_in_anomalib()

    def __getstate__(self) -> tuple[str]:
        return ("used",)  # nothing is set where there is no state


def _state_with_reading(dataset: AnomalibDataset | PredictDataset) -> dict[str, Any]:
    return {**dataset.__dict__, "_reading": _Reading()}


def _visualize_deep_or_plain(item: Any, *args: Any, **kwargs: Any) -> Image.Image | None:
    """Draw a heat map as anomalib does, which reads the image's file anew, but show 16 bits as they are."""
    if item.image_path is not None and _is_deep(item.image_path):
        path, item = item.image_path, copy.copy(item)
        # of NumPy, or of PyTorch
        item.image = read_rgb(path) if isinstance(item, NumpyImageItem) else read_image(path, as_tensor=True)
        item.image_path = None
    return item_visualizer.visualize_image_item(item, *args, **kwargs)


def _is_deep(path: str | Path) -> bool:
    with Image.open(path) as image:
        return image.mode in DEEP_MODES
