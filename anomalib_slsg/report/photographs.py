"""Warnings about photographs that are unlike the others of their folder: repeated, blurred, dark, bright, unusual."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anomalib_slsg.report.pictures import ImageFiles, shrink
from anomalib_slsg.report.training_images import Photograph
from anomalib_slsg.utils.progress import progress_bar

MOST = 1000  # photographs that are looked at
FEWEST = 8  # that tell what is usual
SIDE = 512  # at which sharpness is measured
HASH_SIDE = 32
ALIKE = 0.25  # of the usual distance between a photograph and the one most like it
UNUSUAL = 4.0  # robust standard deviations
LEAST_SPREAD = {"sharpness": 0.25, "exposure": 4.0}  # natural logarithm, and grey levels
LISTED = 8  # files that a warning names


@dataclass(frozen=True)
class Warned:
    """What may be wrong with some photographs.

    Args:
        title: What it is, in few words.
        advice: What to do about it.
        files: The first of them, each alone or with the one that it repeats.
        number: How many there are.
    """

    title: str
    advice: str
    files: list[tuple[str, ...]]
    number: int


def look_at(images: Sequence[Photograph], files: ImageFiles) -> list[Warned]:
    """Look for photographs that were better not among the others.

    Args:
        images: The images, of which those that are known to be anomalous may be as blurred and dark as they like.
        files: Reads them.

    Returns:
        What was found, without what was not.
    """
    chosen = [images[int(index)] for index in np.linspace(0, len(images) - 1, min(MOST, len(images))).round()]
    seen, sharpness, exposure, hashes = [], [], [], []
    with progress_bar(transient=True) as bar:
        for image in bar.track(chosen, description="Looking at photographs"):
            if (pixels := files.read(image.file)) is not None:
                grey = cv2.cvtColor(shrink(pixels, SIDE), cv2.COLOR_RGB2GRAY)
                seen.append(image)
                sharpness.append(np.log(cv2.Laplacian(grey, cv2.CV_32F).var() + 1))
                exposure.append(grey.mean())
                hashes.append(_hash(grey))
    names = [image.file for image in seen]
    good = np.array([image.anomalous is not True for image in seen], dtype=bool)
    sharper = _deviation(np.array(sharpness), good, LEAST_SPREAD["sharpness"])
    brighter = _deviation(np.array(exposure), good, LEAST_SPREAD["exposure"])
    scores = {image.file: image.score for image in images if image.anomalous is False and image.score is not None}
    unusual = sorted(scores.items(), key=lambda each: -each[1])
    found = [
        _warned(
            "Nearly the same", "Photographs that are repeated count twice: remove one of each.", _pairs(names, hashes)
        ),
        _warned("Blurred", "Remove them, or focus the camera.", _lowest(names, sharper)),
        _warned("Darker than the others", "Remove them, or keep the light even.", _lowest(names, brighter)),
        _warned("Brighter than the others", "Remove them, or keep the light even.", _lowest(names, -brighter)),
        _warned(
            "The most unusual good ones",
            "Look whether they are good: a defect among them teaches that it is normal.",
            [(f"{file} ({score:.3f})",) for file, score in unusual[:LISTED]],
        ),
    ]
    return [warned for warned in found if warned.number]


def _warned(title: str, advice: str, files: list[tuple[str, ...]]) -> Warned:
    return Warned(title, advice, files[:LISTED], len(files))


def _hash(grey: np.ndarray) -> np.ndarray:
    """A small picture without brightness and contrast."""
    small = cv2.resize(grey, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def _pairs(names: Sequence[str], hashes: Sequence[np.ndarray]) -> list[tuple[str, ...]]:
    """Pairs that are far more alike than photographs of the folder are to those most like them."""
    if len(names) < FEWEST:
        return []
    stacked = np.stack(hashes)
    distances = np.sqrt(np.clip(2 - 2 * stacked @ stacked.T, 0, None))
    np.fill_diagonal(distances, np.inf)
    usual = float(np.median(distances.min(axis=1)))
    first, second = np.nonzero(np.triu(distances < max(ALIKE * usual, 1e-3)))
    return [(names[one], names[other]) for one, other in zip(first.tolist(), second.tolist())]


def _deviation(values: np.ndarray, good: np.ndarray, least: float) -> np.ndarray:
    """How many robust standard deviations values of good photographs lie above the median; 0 for others."""
    if good.sum() < FEWEST:
        return np.zeros(len(values))
    median = np.median(values[good])
    spread = max(1.4826 * float(np.median(np.abs(values[good] - median))), least)
    return np.where(good, (values - median) / spread, 0.0)


def _lowest(names: Sequence[str], deviations: np.ndarray) -> list[tuple[str, ...]]:
    return [(names[index],) for index in np.argsort(deviations).tolist() if deviations[index] < -UNUSUAL]
