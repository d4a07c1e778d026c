"""Defects of a test image, read from a tree of MVTec LOCO's format."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_slsg.utils.images import list_images, read_header
from anomalib_slsg.utils.validation import check_choice, check_number

GOOD = "good"
DEFECTS_CONFIG = "defects_config.json"
GROUND_TRUTH = "ground_truth"


@dataclass(frozen=True)
class DefectType:
    """An entry of ``defects_config.json``.

    Attributes:
        name: Name of the defect.
        saturation_threshold: Area that has to be found, in pixels, or as a share of the defect's area.
        relative_saturation: Whether it is a share.
    """

    name: str
    saturation_threshold: float
    relative_saturation: bool


@dataclass(frozen=True)
class Defect:
    """One defect of one image.

    Attributes:
        type: Its type.
        mask: Boolean, of shape (H, W).
    """

    type: DefectType
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class GroundTruth:
    """What is known of one test image.

    Attributes:
        group: Name of its folder, for instance ``good`` or ``logical_anomalies``.
        shape: Height and width in pixels.
        defects: Its defects, none in good images.
    """

    group: str
    shape: tuple[int, int]
    defects: list[Defect]


def has_defects_config(image_path: Path) -> bool:
    """Tell whether an image belongs to a tree of MVTec LOCO's format, ``<category>/test/<folder>/<name>.png``."""
    return len(image_path.parents) > 2 and (image_path.parents[2] / DEFECTS_CONFIG).is_file()


def read_ground_truth(image_path: Path) -> GroundTruth:
    """Read what belongs to ``<category>/test/<group>/<name>.png``.

    Every PNG of ``<category>/ground_truth/<group>/<name>/`` is one defect, whose pixel value looks up its type in
    ``<category>/defects_config.json``.

    Args:
        image_path: The test image.

    Returns:
        Its group, size and defects.

    Raises:
        FileNotFoundError: If the image, a mask or the configuration is missing.
        ValueError: If a file is broken, a mask is empty, has several values, one that the configuration does not know,
            or another size than its image.
    """
    image_path = image_path.absolute()
    shape = image_shape(image_path)
    group = image_path.parent.name
    if group == GOOD:
        return GroundTruth(group, shape, [])
    category = image_path.parents[2]
    config = category / DEFECTS_CONFIG
    types = read_defects_config(config)
    files = _mask_files(category / GROUND_TRUTH / group / image_path.stem, image_path)
    return GroundTruth(group, shape, [_read_defect(file, shape, types, config) for file in files])


def read_defects_config(path: Path) -> dict[int, DefectType]:
    """Read ``defects_config.json``.

    Args:
        path: The file.

    Returns:
        Type of defect of each pixel value.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is broken.
    """
    if not path.is_file():
        raise FileNotFoundError(f"'{path}' is missing; it tells the type and the saturation of each mask's pixel value")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        types = {
            check_number("pixel_value", entry["pixel_value"], "[1, inf)", whole=True): _defect_type(entry)
            for entry in entries
        }
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"'{path}' is not a list of entries with defect_name, pixel_value, saturation_threshold and "
            f"relative_saturation ({reason})"
        ) from error
    if len(types) < len(entries):
        raise ValueError(f"'{path}' gives a pixel_value to two defects")
    return types


def image_shape(path: Path) -> tuple[int, int]:
    """Height and width of an image, without decoding it.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is not an image, or too large.
    """
    try:
        return read_header(path).shape
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the test image '{path}' is missing; its size and its folder tell the ground truth"
        ) from error


def _defect_type(entry: dict) -> DefectType:
    relative = check_choice("relative_saturation", entry["relative_saturation"], (True, False))
    threshold = check_number(
        "saturation_threshold", entry["saturation_threshold"], "(0, 1]" if relative else "(0, inf)"
    )
    return DefectType(str(entry["defect_name"]), threshold, relative)


def _mask_files(folder: Path, image_path: Path) -> list[Path]:
    files = [file for file in list_images(folder, "*") if file.suffix.lower() == ".png"]
    if not files:
        raise FileNotFoundError(
            f"'{folder}' holds no masks of '{image_path}'; each defect has one, 000.png, 001.png and so on"
        )
    return files


def _read_defect(file: Path, shape: tuple[int, int], types: dict[int, DefectType], config: Path) -> Defect:
    if (size := read_header(file).shape) != shape:  # of a mask, before it is decoded
        raise ValueError(f"the mask '{file}' has {_size(size)} pixels, its image {_size(shape)}")
    encoded = np.fromfile(file, np.uint8)  # OpenCV's own reader finds no files of other letters than the system's
    mask = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size > 0 else None
    if mask is None or mask.ndim != 2:
        raise ValueError(f"the mask '{file}' is {'not a readable PNG' if mask is None else 'not a grey image'}")
    value = int(mask.max())
    marked = mask > 0
    if value == 0 or np.any(mask[marked] != value):
        raise ValueError(
            f"the mask '{file}' {'marks nothing' if value == 0 else 'has more than one value; it is one defect'}"
        )
    if value not in types:
        raise ValueError(f"the mask '{file}' has the value {value}, which '{config}' does not list")
    return Defect(types[value], marked)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
