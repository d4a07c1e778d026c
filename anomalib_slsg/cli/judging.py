"""Judging many images: their scores, maps and pictures, in the folders that the images lie in."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from anomalib_slsg.cli.models import TrainedModel
from anomalib_slsg.report.judged import Judged, write_scores
from anomalib_slsg.utils.images import list_images, read_rgb
from anomalib_slsg.utils.pictures import write_png
from anomalib_slsg.utils.progress import progress_bar

MAPS, PICTURES = "maps", "heat_maps"
BLEND = 0.4  # share of the colours in a picture
RED = (0, 0, 255)  # BGR


class Judgement(NamedTuple):
    """What became of a number of images.

    Attributes:
        images: What was found in those that could be read.
        broken: What is wrong with the others.
    """

    images: list[Judged]
    broken: list[str]


def find_images(given: Sequence[Path]) -> list[Path]:
    """List files, and the images in folders and below them, each once.

    Raises:
        FileNotFoundError: If one is neither a file nor a folder.
        ValueError: If a folder has no images.
    """
    found: dict[Path, None] = {}
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"'{path}' does not exist")
        images = list_images(path) if path.is_dir() else [path]
        if not images:
            raise ValueError(f"no images in '{path}' or below it")
        found.update(dict.fromkeys(images))
    return list(found)


def judge_images(
    model: TrainedModel, images: Sequence[Path], common: Path, output: Path, truth: Mapping[Path, bool] | None = None
) -> Judgement:
    """Judge images, and write tables, maps and pictures.

    Args:
        model: What judges.
        images: The files.
        common: Folder above all of them.
        output: Where results go.
        truth: Whether images are anomalous, where that is known.

    Returns:
        What was found, and what could not be read.
    """
    judged, broken = [], []
    with progress_bar(transient=True) as progress:
        for path in progress.track(images, description="Judging"):
            try:
                rgb = read_rgb(path)
            except (ValueError, OSError) as error:
                broken.append(str(error))
                continue
            image = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
            found = model(image)
            enlarged = cv2.resize(found.anomaly_map, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            box, area = largest_region(enlarged)
            place = Path(os.path.relpath(path, common))
            folder = place.parent.as_posix()
            name = place if place.suffix.lower() == ".png" else place.with_name(f"{place.name}.png")
            write_png(output / MAPS / name, np.round(found.anomaly_map * 255).astype(np.uint8))
            write_png(output / PICTURES / name, draw(rgb, enlarged, box))
            judged.append(
                Judged(
                    file=str(path),
                    folder="" if folder == "." else folder,
                    score=found.score,
                    model=model.hash,
                    threshold=model.threshold,
                    anomalous=None if truth is None else truth[path],
                    box=box,
                    area=area,
                    milliseconds=round(found.milliseconds, 3),
                    opinions=found.opinions,
                    heat_map=(Path(MAPS) / name).as_posix(),
                    nearest=model.nearest(image) if found.score > model.threshold else None,
                )
            )
    write_scores(judged, output)
    return Judgement(judged, broken)


def common_folder(given: Sequence[Path]) -> Path:
    """The folder that given folders, and the folders of given files, lie in or are."""
    folders = [path if path.is_dir() else path.parent for path in given]
    return Path(os.path.commonpath([os.path.normpath(folder.absolute()) for folder in folders]))


def largest_region(anomaly_map: np.ndarray) -> tuple[tuple[int, int, int, int] | None, float]:
    """Find the largest connected region of a map above 0.5.

    Args:
        anomaly_map: Probabilities of shape (H, W).

    Returns:
        Its left, top, width and height in pixels, ``None`` without a region, and its share of the map.
    """
    _, _, statistics, _ = cv2.connectedComponentsWithStats((anomaly_map > 0.5).astype(np.uint8))
    regions = statistics[1:]  # the first is what is not above the threshold
    if len(regions) == 0:
        return None, 0.0
    left, top, width, height, area = map(int, regions[regions[:, cv2.CC_STAT_AREA].argmax()])
    return (left, top, width, height), area / anomaly_map.size


def draw(rgb: np.ndarray, anomaly_map: np.ndarray, box: tuple[int, int, int, int] | None) -> np.ndarray:
    """Draw a map over its image, blue for 0 and red for 1, and the box of the largest region; BGR."""
    colours = cv2.applyColorMap(np.round(anomaly_map.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_JET)
    picture = cv2.addWeighted(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), 1 - BLEND, colours, BLEND, 0)
    if box is not None:
        left, top, width, height = box
        cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), RED, 1)
    return picture
