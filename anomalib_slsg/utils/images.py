"""Reading of photographs: any mode and depth, and errors that name the file."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import to_dtype, to_image

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
        raise ValueError(f"'{path}' is truncated or not a readable image ({error}); repair or remove it") from error


def _deep_to_rgb(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey values to 8 bits; Pillow's own conversion clips them at 255 and shows white."""
    values = np.asarray(image, dtype=np.float32)
    largest = float(values.max(initial=0.0))
    # the file says how deep 16 bits are; of 32 bits, only what is in them does, and interpolation overshoots
    deep = image.mode.startswith("I;16") or largest > 2 * 255
    full_scale = 65535.0 if deep else 1.0 if image.mode == "F" and largest <= 2 else 255.0
    grey = np.clip(values / full_scale * 255.0, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey, mode="L").convert("RGB")


def is_deep(path: str | Path) -> bool:
    """Whether an image has more than 8 bits for each value."""
    with Image.open(path) as image:
        return image.mode in DEEP_MODES


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())
