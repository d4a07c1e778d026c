"""Warnings about photographs that are unlike the others."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalib_slsg.report.photographs import look_at
from anomalib_slsg.report.pictures import ImageFiles
from anomalib_slsg.report.training_images import Photograph
from tests.support.trees import draw_part, write_image


@pytest.fixture
def photographs() -> dict[str, np.ndarray]:
    """Twelve photographs of good parts."""
    generator = np.random.default_rng(0)
    return {f"{index:03d}.png": draw_part(generator, defect=False)[0] for index in range(12)}


def _titles(folder: Path, photographs: dict[str, np.ndarray], bad: str = "") -> dict[str, list[tuple[str, ...]]]:
    images = []
    for index, (name, picture) in enumerate(photographs.items()):
        write_image(folder / name, picture)
        images.append(Photograph(name, index / 100, anomalous=name == bad))
    return {warned.title: warned.files for warned in look_at(images, ImageFiles(folder))}


def test_good_photographs_raise_no_warning(tmp_path: Path, photographs: dict[str, np.ndarray]) -> None:
    found = _titles(tmp_path, photographs)
    assert list(found) == ["The most unusual good ones"]
    assert found["The most unusual good ones"][0] == ("011.png (0.110)",)  # the highest score


def test_copies_are_found_after_compression_and_in_another_light(
    tmp_path: Path, photographs: dict[str, np.ndarray]
) -> None:
    photographs["copy.jpg"] = (photographs["003.png"] * 0.9).astype(np.uint8)
    assert _titles(tmp_path, photographs)["Nearly the same"] == [("003.png", "copy.jpg")]


@pytest.mark.parametrize(
    ("title", "change"),
    [
        ("Blurred", lambda image: cv2.GaussianBlur(image, (0, 0), 4)),
        ("Darker than the others", lambda image: image // 2),
        ("Brighter than the others", lambda image: 128 + image // 2),
    ],
)
def test_outliers_are_named_unless_they_are_known_to_be_anomalous(
    tmp_path: Path, photographs: dict[str, np.ndarray], title: str, change
) -> None:
    photographs["005.png"] = change(photographs["005.png"])
    assert ("005.png",) in _titles(tmp_path, photographs)[title]
    assert title not in _titles(tmp_path, photographs, bad="005.png")
