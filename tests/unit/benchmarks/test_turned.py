"""A turned copy of a tree: masks turn with their images, and nothing else changes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from anomalib.data import MVTecLOCO

from tests.unit.benchmarks.conftest import ROOT


def _turn(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.datasets.turned", "--source", str(source), "--target", str(target)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("train/good/000.png", "train/good/000"),
        ("ground_truth/logical_anomalies/000/001.png", "test/logical_anomalies/000"),  # MVTec LOCO
        ("ground_truth/crack/000_mask.png", "test/crack/000"),  # MVTec AD
    ],
)
def test_masks_belong_to_their_images(file: str, image: str) -> None:
    from benchmarks.datasets.turned import image_of

    assert image_of(Path(file)) == Path(image)


def test_every_image_has_an_angle_of_its_own() -> None:
    from benchmarks.datasets.turned import angle_of

    angles = np.array([angle_of(Path("train", "good", f"{index:03d}")) for index in range(400)])
    assert len(set(angles)) == 400
    quarters = np.histogram(angles, bins=4, range=(0, 360))[0]
    assert quarters.sum() == 400
    assert quarters.min() > 70


def test_masks_turn_as_images_do_and_nothing_leaves_the_picture() -> None:
    from benchmarks.datasets.turned import SHRINKAGE, turn

    mask = np.zeros((81, 81), dtype=np.uint8)
    mask[:20, 55:] = 253  # reaches into the corner
    image = np.where(mask[..., None] > 0, 200, 10).repeat(3, axis=2).astype(np.uint8)
    for degrees in (0.0, 33.0, 90.0, 222.0):
        turned = turn(mask, degrees, is_mask=True)
        assert set(np.unique(turned)) == {0, 253}
        assert (turned > 0).sum() == pytest.approx((mask > 0).sum() * SHRINKAGE**2, rel=0.1)
        seen = cv2.erode(turned, np.ones((5, 5)))  # the border of an image goes on outside, where a mask ends
        assert (turn(image, degrees, is_mask=False)[seen > 0] > 100).all()
    # anticlockwise: what was in the upper right corner is in the upper left one
    quarter = turn(mask, 90, is_mask=True)
    assert (quarter[:40, :40] > 0).sum() == (quarter > 0).sum()


def test_tree_of_loco(mvtec_loco_tree: Path, tmp_path: Path) -> None:
    source = tmp_path / "loco" / "part"
    shutil.copytree(mvtec_loco_tree / "part", source)
    areas = [{"saturation_threshold": 1100, "relative_saturation": False}]
    areas += [{"saturation_threshold": 0.5, "relative_saturation": True}]
    (source / "defects_config.json").write_text(json.dumps(areas))
    done = _turn(source, tmp_path / "turned" / "part")
    assert done.returncode == 0, done.stderr
    sizes = []
    for root in (source.parent, tmp_path / "turned"):
        data = MVTecLOCO(root=root, category="part", num_workers=0)
        data.setup()
        sizes.append((len(data.train_data), len(data.test_data)))
    assert sizes[0] == sizes[1]
    areas[0]["saturation_threshold"] = 550
    assert json.loads((tmp_path / "turned" / "part" / "defects_config.json").read_text()) == areas
    again = _turn(source, tmp_path / "turned" / "part")
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_broken_or_missing_images_are_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "train" / "good").mkdir(parents=True)
    assert "no PNG files" in _turn(source, tmp_path / "target").stderr
    (source / "train" / "good" / "000.png").write_bytes(b"no image")
    done = _turn(source, tmp_path / "target")
    assert done.returncode != 0
    assert "000.png is not an image" in done.stderr
    assert not (tmp_path / "target").exists()
