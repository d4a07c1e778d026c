"""Areas by score of one image: all that sPRO needs to keep of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomalib_slsg.metrics.anomaly_maps import Array, check_aspect, resize_map
from anomalib_slsg.metrics.ground_truth import GroundTruth, read_ground_truth
from anomalib_slsg.metrics.spro import AreaByScore, area_by_score, saturate, saturation_area

# Tables of at most this many scores are kept as they are.
EXACT_SCORES = 32_768
# Relative change of any area in longer ones: far below what a curve of a few thousand points shows.
IMAGE_RESOLUTION = 2.0**-10


class ImageAreas(NamedTuple):
    """Areas by score of one image.

    Attributes:
        group: Name of the image's folder.
        normal: Pixels that are free of every defect.
        defects: Name and saturated table of each defect.
    """

    group: str
    normal: AreaByScore
    defects: list[tuple[str, AreaByScore]]


def image_areas(values: Array, image_path: Path, map_name: object = None) -> ImageAreas:
    """Compare a map with the masks of its image, at the masks' resolution.

    Args:
        values: Checked anomaly map, of shape (h, w).
        image_path: The test image, in a tree of MVTec LOCO's format.
        map_name: What errors call a map that may be another image's, because it comes from a file; left out, the map
            is one that a model has made of the image, whatever aspect it was squeezed into.

    Returns:
        The image's tables.

    Raises:
        FileNotFoundError: If a file of the ground truth is missing.
        ValueError: If one is broken, or the map cannot be the image's.
    """
    truth = read_ground_truth(image_path)
    if map_name is not None:
        check_aspect((values.shape[0], values.shape[1]), truth.shape, map_name)
    return areas_of(resize_map(values, truth.shape), truth)


def areas_of(values: Array, truth: GroundTruth) -> ImageAreas:
    """Sort a map's pixels into normal ones and defects.

    Args:
        values: Map of the masks' shape (H, W).
        truth: The image's ground truth.

    Returns:
        The image's tables.
    """
    if not truth.defects:
        return ImageAreas(truth.group, _areas(values), [])
    defective = np.logical_or.reduce([defect.mask for defect in truth.defects])
    defects = []
    for defect in truth.defects:
        areas = _areas(values[defect.mask])
        threshold, relative = defect.type.saturation_threshold, defect.type.relative_saturation
        saturation = saturation_area(round(areas.total), threshold, relative)
        defects.append((defect.type.name, saturate(areas, saturation)))
    return ImageAreas(truth.group, _areas(values[~defective]), defects)


def _areas(scores: Array) -> AreaByScore:
    return area_by_score(scores, EXACT_SCORES, IMAGE_RESOLUTION)
