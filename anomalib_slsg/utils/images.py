"""Reading of photographs: any mode and depth, upright, up to a size, and errors that name the file."""

import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
import torch
from PIL import Image, ImageOps
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import to_dtype, to_image

logger = logging.getLogger(__name__)

# what readers raise for broken files; UnidentifiedImageError is an OSError
_OF_PILLOW = (OSError, SyntaxError, ValueError, EOFError, RuntimeError)
UNREADABLE = (*_OF_PILLOW, LookupError, TypeError, ArithmeticError, struct.error, tifffile.TiffFileError)
MAX_MEGAPIXELS = 100  # 2.4 GB as an array of read_image; a file of a few kilobytes may claim any size
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
ORIENTATION, LARGEST_VALUE = 274, 281  # numbers of tags, the first in TIFF and in EXIF
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COLOURS = {tifffile.PHOTOMETRIC.MINISWHITE: 1, tifffile.PHOTOMETRIC.MINISBLACK: 1, tifffile.PHOTOMETRIC.RGB: 3}


class UnfitImageError(ValueError):
    """A whole file that is refused. The message names it and says what is special about it."""


class Header(NamedTuple):
    """What a file says of its image.

    Attributes:
        shape: Height and width of the upright image.
        deep: Whether values have more than 8 bits, or are signed.
        orientation: How the camera was held; 1 if upright or not known.
        is_tiff: Whether it is a TIFF, whatever its name.
    """

    shape: tuple[int, int]
    deep: bool
    orientation: int
    is_tiff: bool


def read_image(path: str | Path, as_tensor: bool = False) -> torch.Tensor | np.ndarray:
    """Read an image as RGB.

    Args:
        path: File of any format that Pillow reads, or a TIFF of grey or RGB; with or without alpha, of any depth. Of 16
            bits, all are taken to be in use: stretch the values of cameras that fill 10 or 12 of them. Of 32 bits and
            floating-point numbers, the largest value tells whether they reach to 1, 255 or 65535, which may be
            exceeded, but not twice over. Orientation tags of cameras are applied.
        as_tensor: Return a tensor instead of an array.

    Returns:
        Values in [0, 1]: a float32 image tensor of shape (3, H, W), or a float64 array of shape (H, W, 3).

    Raises:
        ValueError: If the file is broken, not an image, larger than ``MAX_MEGAPIXELS``, or of values that have no
            meaning, naming it.
    """
    rgb = read_rgb(path)
    return to_dtype(to_image(rgb), torch.float32, scale=True) if as_tensor else rgb / 255.0


def read_rgb(path: str | Path) -> np.ndarray:
    """Read an image as 8-bit RGB; :func:`read_image` with whole numbers.

    Args:
        path: File as of :func:`read_image`.

    Returns:
        Array of shape (H, W, 3), uint8.

    Raises:
        ValueError: As :func:`read_image`.
    """
    header = read_header(path)
    with naming(path):
        # of TIFF, Pillow reads few kinds of deep values as they are, and forgets the orientation of some
        if header.is_tiff and (header.deep or header.orientation != 1):
            image = Image.fromarray(_read_tiff(path))
            image.getexif()[ORIENTATION] = header.orientation
            ImageOps.exif_transpose(image, in_place=True)
            return np.array(image)
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode not in DEEP_MODES:
                return np.array(image.convert("RGB"))
            full = 65535 if image.mode.startswith("I;16") else None
            return _to_bytes(np.asarray(image), full, path)[..., None].repeat(3, axis=-1)


def read_header(path: str | Path) -> Header:
    """Look at a file without decoding it.

    Args:
        path: File as of :func:`read_image`.

    Returns:
        What it says of its image.

    Raises:
        ValueError: If the file is broken, not an image or larger than ``MAX_MEGAPIXELS``, naming it.
    """
    with naming(path):
        with Path(path).open("rb") as file:
            is_tiff = file.read(4) in TIFF_STARTS
        if is_tiff:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages.first
                height, width, orientation = page.imagelength, page.imagewidth, page.tags.valueof(ORIENTATION)
                deep = str(page.dtype) not in ("None", "bool", "uint8")
        else:
            with Image.open(path) as image:
                height, width, deep = image.height, image.width, image.mode in DEEP_MODES
                orientation = Image.Image.getexif(image).get(ORIENTATION)  # PNG's own method decodes the image
        check_size((height, width), path)
    orientation = orientation if orientation in range(2, 9) else 1
    return Header((height, width) if orientation < 5 else (width, height), deep, orientation, is_tiff)


def check_size(shape: tuple[int, ...], path: str | Path) -> None:
    """Refuse what would take more memory than its file lets expect.

    Args:
        shape: Height and width, and other lengths.
        path: The file.

    Raises:
        UnfitImageError: If there are more than ``MAX_MEGAPIXELS``.
    """
    if np.prod(shape, dtype=float) > MAX_MEGAPIXELS * 1e6:
        size = "x".join(map(str, shape[1::-1]))
        raise UnfitImageError(f"'{path}' has {size} pixels, more than {MAX_MEGAPIXELS} megapixels: cut or shrink it")


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name the file in the errors of what reads it."""
    try:
        yield
    except (UnfitImageError, FileNotFoundError):
        raise
    except Image.DecompressionBombError as error:
        raise UnfitImageError(f"'{path}' has more than {MAX_MEGAPIXELS} megapixels: cut or shrink it") from error
    except UNREADABLE as error:
        raise ValueError(f"'{path}' is truncated or not a readable image ({error}); repair or remove it") from error


def _read_tiff(path: str | Path) -> np.ndarray:
    """Read a TIFF's first image as 8-bit RGB, as it is stored."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        colours = COLOURS.get(page.photometric)
        if colours is None or page.samplesperpixel - colours not in (0, 1):  # alpha, perhaps
            kind = f"{getattr(page.photometric, 'name', page.photometric)} with {page.samplesperpixel} channels"
            raise UnfitImageError(f"'{path}' is a TIFF of {kind}; only grey and RGB are read: convert it")
        values, kind, told = page.asarray(), page.dtype.kind, page.tags.valueof(LARGEST_VALUE)
        # writers that put no depth there put the largest value in use, which says nothing of others
        bits = told.bit_length() if told in (1023, 4095, 16383) else page.bitspersample
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        values = values.reshape(page.imagelength, page.imagewidth, -1)[..., :colours]
    full = 2 ** (bits - (kind == "i")) - 1 if kind in "bui" and bits <= 16 else None
    values = _to_bytes(values, full, path)
    values = 255 - values if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE else values
    return np.broadcast_to(values, (*values.shape[:2], 3)).copy()


def _to_bytes(values: np.ndarray, full: int | None, path: str | Path) -> np.ndarray:
    """Scale values to 8 bits; where the file does not say how far they reach, what is in it does."""
    scales = (255, 65535) if values.dtype.kind in "iu" else (1, 255, 65535)
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UnfitImageError(f"'{path}' holds NaN or infinity: mend or remove it")
    smallest, largest = float(values.min(initial=0)), float(values.max(initial=0))
    full = full or next((scale for scale in scales if largest <= 2 * scale), None)  # interpolation overshoots
    if full is None or smallest < -full / 10:
        reach = f"values from {smallest:g} to {largest:g}"
        raise UnfitImageError(f"'{path}' has {reach}, no range of images: scale it to 0 to 1, 255 or 65535")
    return np.clip(values / full * 255, 0, 255).round().astype(np.uint8)


def list_images(folder: Path, pattern: str = "**/*") -> list[Path]:
    """All image files below a folder, sorted."""
    paths = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())
    return [paths[index] for index in images_among(paths)]


def images_among(paths: Sequence[str | Path]) -> list[int]:
    """Leave out what macOS keeps beside images on foreign disks, ``._x.png``, and log how many there are.

    Args:
        paths: Files of images.

    Returns:
        Indices of the others.
    """
    others = [index for index, path in enumerate(paths) if not Path(path).name.startswith("._")]
    if len(others) < len(paths):
        first = next(Path(path).absolute() for path in paths if Path(path).name.startswith("._"))
        logger.warning("Skipped %d files like '%s': notes of macOS, no images.", len(paths) - len(others), first)
    return others
