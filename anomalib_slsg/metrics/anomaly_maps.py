"""Anomaly maps as they are compared with masks: finite, and of the masks' size."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from anomalib_slsg.utils.images import UNREADABLE, UnfitImageError, check_size

Array = NDArray[np.floating]

# Rows that are interpolated at a time: few enough to stay in the processor's cache.
ROWS = 32
# Pixels by which a side differs from the image's aspect at the most when both sides are multiples of 16.
ROUNDING = 8
ENDINGS = (".tiff", ".tif", ".npy")


def read_map(path: Path) -> Array:
    """Read an anomaly map.

    Args:
        path: TIFF or NPY of real numbers, of shape (H, W), or with axes of length 1 in addition.

    Returns:
        The map, of shape (H, W).

    Raises:
        ValueError: If the file is broken, or has another shape or content.
    """
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, mmap_mode="r", allow_pickle=False)  # reads no more than its header
            check_size(np.shape(values), path)
            values = np.array(values) if isinstance(values, np.ndarray) else values
        else:
            with tifffile.TiffFile(path) as file:
                check_size(file.series[0].shape, path)
                values = file.asarray()
    except UnfitImageError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"the anomaly map '{path}' cannot be read ({error})") from error
    if not isinstance(values, np.ndarray):
        raise ValueError(f"the anomaly map '{path}' cannot be read (it is an archive, not an array)")
    return check_map(values, path)


def check_map(values: np.ndarray, name: object) -> Array:
    """Check an anomaly map.

    Args:
        values: The map.
        name: What errors call it.

    Returns:
        The map, of shape (H, W), float32 unless it needs float64.

    Raises:
        ValueError: If it is not one matrix of finite numbers.
    """
    if values.size == 0 or (np.squeeze(values).ndim != 2 and values.ndim != 2):
        raise ValueError(
            f"the anomaly map '{name}' has the shape {values.shape}; it should be of height and width, not empty"
        )
    if values.dtype.kind not in "fiub":
        raise ValueError(f"the anomaly map '{name}' holds {values.dtype}, which is no kind of real number")
    values = values if values.ndim == 2 else np.squeeze(values)
    values = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    if not np.isfinite(values).all():
        raise ValueError(f"the anomaly map '{name}' holds NaN or infinity")
    return values


def check_aspect(map_shape: tuple[int, int], shape: tuple[int, int], name: object) -> None:
    """Check that a map can show the whole of an image.

    A map has its image's aspect, up to rounding to sides that networks can halve, or is square, since many models
    squeeze images of all aspects into a square.

    Args:
        map_shape: Height and width of the map.
        shape: Height and width of the masks.
        name: What errors call the map.

    Raises:
        ValueError: If the aspect is another.
    """
    (height, width), (full_height, full_width) = map_shape, shape
    across, down = abs(width - height * full_width / full_height), abs(height - width * full_height / full_width)
    fits = min(across, down) <= max(1, min(ROUNDING, min(height, width) / ROUNDING))
    if not fits and height != width:
        raise ValueError(
            f"the anomaly map '{name}' has {width}x{height} pixels, its image {full_width}x{full_height}; "
            "it should have the image's aspect or be square (AnomalyMapWriter writes it so with full_size)"
        )


def resize_map(values: Array, shape: tuple[int, int]) -> Array:
    """Resize a map by bilinear interpolation, corners not aligned.

    Equal neighbours give exactly their value, which OpenCV and PyTorch promise only up to rounding: rounding would
    put the ties of flat regions into a random order.

    Args:
        values: Map of shape (h, w).
        shape: Height H and width W.

    Returns:
        Map of shape (H, W) and of the same dtype.
    """
    if values.shape == shape:
        return values
    top, bottom, down = _neighbours(values.shape[0], shape[0])
    left, right, across = _neighbours(values.shape[1], shape[1])
    wide = values[:, left]
    wide += across.astype(values.dtype) * (values[:, right] - wide)  # (h, W)
    full = np.empty(shape, values.dtype)
    weights = down.astype(values.dtype)[:, None]
    for start in range(0, shape[0], ROWS):
        rows = slice(start, start + ROWS)
        above = wide[top[rows]]
        below = wide[bottom[rows]]
        below -= above
        below *= weights[rows]
        np.add(below, above, out=full[rows])  # (H, W)
    return full


@lru_cache(maxsize=64)
def _neighbours(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Give the two old places that each new one lies between, and its distance from the first."""
    centres = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    lower = centres.astype(np.intp)
    return lower, np.minimum(lower + 1, size - 1), centres - lower


def write_map(path: Path, values: Array) -> None:
    """Write a map as an uncompressed TIFF, which the data set's own evaluation reads too."""
    tifffile.imwrite(path, values)
