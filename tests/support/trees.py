"""Folders of small drawn images, as anomalib's data modules read them."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIDE = 64
LOCO_KINDS = ("logical_anomalies", "structural_anomalies")


def draw_part(generator: np.random.Generator, defect: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw a round green part on a grey ground, with a red bar across it when it is defective.

    Args:
        generator: Source of the place and of the camera's noise.
        defect: Draw the bar.

    Returns:
        Image of shape (64, 64, 3), BGR, and mask of shape (64, 64), 255 on the bar; both uint8.
    """
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    x, y = (int(value) for value in generator.integers(26, 38, 2))
    cv2.circle(image, (x, y), 16, (60, 120, 40), -1)
    if defect:
        cv2.rectangle(mask, (x - 8, y - 4), (x + 8, y + 4), 255, -1)
        image[mask > 0] = (20, 20, 230)
    noisy = image + generator.normal(0, 6, image.shape)
    return noisy.clip(0, 255).astype(np.uint8), mask


def write_image(path: Path, image: np.ndarray) -> Path:
    """Write an image, BGR or grey, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def claim_png(path: Path, side: int) -> Path:
    """Change a PNG's header, so that it claims to be a square of that side."""
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    return path


def write_images(folder: Path, number: int, generator: np.random.Generator) -> None:
    """Write good parts as 000.png, 001.png and so on."""
    for index in range(number):
        write_image(folder / f"{index:03d}.png", draw_part(generator, defect=False)[0])


def write_defects(folder: Path, number: int, generator: np.random.Generator, mask_name: Callable[[int], Path]) -> None:
    """Write defective parts as 000.png, 001.png and so on, and their masks where ``mask_name`` says."""
    for index in range(number):
        image, mask = draw_part(generator, defect=True)
        write_image(folder / f"{index:03d}.png", image)
        write_image(mask_name(index), mask)


def write_folder_tree(root: Path) -> Path:
    """Write a tree for anomalib's ``Folder``: good (8), good_test (4), bad (4) and mask."""
    generator = np.random.default_rng(0)
    write_images(root / "good", 8, generator)
    write_images(root / "good_test", 4, generator)
    write_defects(root / "bad", 4, generator, lambda index: root / "mask" / f"{index:03d}.png")
    return root


def write_mvtec_ad_tree(root: Path) -> Path:
    """Write a tree for anomalib's ``MVTecAD`` with the category ``part``."""
    generator, category = np.random.default_rng(1), root / "part"
    write_images(category / "train" / "good", 8, generator)
    write_images(category / "test" / "good", 3, generator)
    masks = category / "ground_truth" / "bar"
    write_defects(category / "test" / "bar", 3, generator, lambda index: masks / f"{index:03d}_mask.png")
    return root


def write_mvtec_loco_tree(root: Path) -> Path:
    """Write a tree for anomalib's ``MVTecLOCO`` with the category ``part``, without a configuration of its defects."""
    generator, category = np.random.default_rng(2), root / "part"
    write_images(category / "train" / "good", 8, generator)
    write_images(category / "validation" / "good", 2, generator)
    write_images(category / "test" / "good", 3, generator)
    for kind in LOCO_KINDS:
        for number in range(2):
            image, mask = draw_part(generator, defect=True)
            write_loco_image(category, kind, number, image, [mask])
    return root


def write_loco_image(
    category: Path, group: str, number: int, image: np.ndarray, masks: Sequence[np.ndarray] = ()
) -> Path:
    """Write a test image of MVTec LOCO's format and its masks, a folder of them for each defective image."""
    for index, mask in enumerate(masks):
        write_image(category / "ground_truth" / group / f"{number:03d}" / f"{index:03d}.png", mask)
    return write_image(category / "test" / group / f"{number:03d}.png", image)


def write_defects_config(category: Path, config: Any) -> None:
    """Write what saturates which defects of a category of MVTec LOCO's format."""
    category.mkdir(parents=True, exist_ok=True)
    (category / "defects_config.json").write_text(json.dumps(config))


def copy_loco_tree(
    source: Path, root: Path, config: Any = None, kinds: Sequence[str] = LOCO_KINDS, category: str = "part"
) -> Path:
    """Copy a tree of MVTec LOCO's format with some kinds of anomalies, and with a configuration if there is one."""
    shutil.copytree(source, root)
    for kind in set(LOCO_KINDS) - set(kinds):
        for folder in ("test", "ground_truth"):
            shutil.rmtree(root / category / folder / kind)
    if config is not None:
        write_defects_config(root / category, config)
    return root


def copy_images(
    source: Path,
    target: Path,
    names: Sequence[str] | None = None,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[Path]:
    """Copy a folder's images, or those of some names, into a new one, each changed if there is a function.

    Returns:
        The copies, in the order of their names.
    """
    target.mkdir(parents=True, exist_ok=True)
    paths = [path for path in sorted(source.iterdir()) if names is None or path.name in names]
    for path in paths:
        if change is None:
            shutil.copy(path, target)
        else:
            write_image(target / path.name, change(cv2.imread(str(path))))
    return [target / path.name for path in paths]


def resized(side: int) -> Callable[[np.ndarray], np.ndarray]:
    """A change for :func:`copy_images`: to a square of that side."""
    return lambda image: cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
