"""A copy of a data set in which every object lies at another angle.

``python -m benchmarks.datasets.turned --source datasets/SyntheticLOCO/tray --target datasets/turned/tray`` turns each
image of a tree laid out as MVTec AD or MVTec LOCO, its masks with it, by an angle of its own between 0 and 360 degrees
about the centre, and shrinks it so that nothing leaves the picture. Camera and part are then not aligned, as with
screws on a belt: what is remembered of single places of the image helps little.
"""

import json
import math
import shutil
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from jsonargparse import ArgumentParser
from rich.progress import track

SHRINKAGE = 1 / math.sqrt(2)  # a turned square fits into the circle inside the picture
MASKS = "ground_truth"


def angle_of(image: Path) -> float:
    """Draw the angle of an image from its name in the tree, so that masks and further runs agree.

    Args:
        image: Path below the tree, without suffix.

    Returns:
        Degrees in [0, 360).
    """
    digest = sha256(image.as_posix().encode()).digest()
    return 360 * int.from_bytes(digest[:8], "big") / 2**64


def image_of(file: Path) -> Path:
    """Tell which image a file of a tree shows or masks: its path without suffix.

    Args:
        file: Path below the tree: an image, or a mask, ``ground_truth/<kind>/000_mask.png`` or
            ``ground_truth/<kind>/000/000.png``.

    Returns:
        Path such as ``test/<kind>/000``.
    """
    if file.parts[0] != MASKS:
        return file.with_suffix("")
    of_loco = len(file.parts) == 4
    name = file.parts[2] if of_loco else file.stem.removesuffix("_mask")
    return Path("test", file.parts[1], name)


def turn(image: np.ndarray, degrees: float, is_mask: bool) -> np.ndarray:
    """Turn an image about its centre and shrink it; beyond its edge, its border goes on.

    Args:
        image: Of shape (H, W) or (H, W, 3), uint8.
        degrees: Anticlockwise.
        is_mask: Keep the values: nearest pixel, and nothing beyond the edge.

    Returns:
        An image of the same shape.
    """
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, SHRINKAGE)
    interpolation = cv2.INTER_NEAREST if is_mask else cv2.INTER_AREA
    border = cv2.BORDER_CONSTANT if is_mask else cv2.BORDER_REPLICATE
    return cv2.warpAffine(image, matrix, (width, height), flags=interpolation, borderMode=border)


def shrink_areas(defects_config: str) -> str:
    """Shrink the areas in pixels at which defects count as found, as the images are shrunk."""
    defects = json.loads(defects_config)
    for defect in defects:
        if not defect["relative_saturation"]:
            defect["saturation_threshold"] = round(defect["saturation_threshold"] * SHRINKAGE**2)
    return json.dumps(defects, indent=1)


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with train, test and ground_truth")
    parser.add_argument("--target", type=Path, required=True, help="folder to write; must not exist")
    parsed = parser.parse_args()
    if parsed.target.exists():
        parser.error(f"--target: {parsed.target} exists already; remove it or name another folder")
    files = sorted(file.relative_to(parsed.source) for file in parsed.source.rglob("*") if file.is_file())
    if not any(file.suffix == ".png" for file in files):
        parser.error(f"--source: no PNG files in {parsed.source}")
    building = parsed.target.with_name(parsed.target.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    for file in track(files, description="Turning"):
        written = building / file
        written.parent.mkdir(parents=True, exist_ok=True)
        if file.name == "defects_config.json":
            written.write_text(shrink_areas((parsed.source / file).read_text(encoding="utf-8")), encoding="utf-8")
            continue
        if file.suffix != ".png":
            shutil.copyfile(parsed.source / file, written)
            continue
        is_mask = file.parts[0] == MASKS
        image = cv2.imread(str(parsed.source / file), cv2.IMREAD_UNCHANGED)
        if image is None:
            msg = f"{parsed.source / file} is not an image"
            raise ValueError(msg)
        cv2.imwrite(str(written), turn(image, angle_of(image_of(file)), is_mask))
    building.rename(parsed.target)


if __name__ == "__main__":
    main()
