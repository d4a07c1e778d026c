"""Writes drawn images as a folder tree of MVTec LOCO, which is there whole or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from cv2.typing import MatLike
from filelock import FileLock

from anomalib_slsg.synthetic_loco.drawing import UNITS
from anomalib_slsg.synthetic_loco.sample import GOOD, LOGICAL, STRUCTURAL_TYPE, Request, defect_types, draw
from anomalib_slsg.synthetic_loco.scenes import SCENES
from anomalib_slsg.utils.options import Options, choice, number
from anomalib_slsg.utils.pictures import write_png

MIN_IMAGE_SIZE = 64
# To be raised whenever the same parameters give other images.
FORMAT = 1
_HIGHEST_PIXEL_VALUE = 255
_MANIFEST = "complete.json"  # of a whole tree: all that its contents depend on


@dataclass(frozen=True)
class TreePlan(Options):
    """What one category's tree holds.

    Args:
        root: Folder of the data set; the category's folder lies in it.
        category: One of ``SCENES``.
        image_size: Side of the images in pixels, at least 64.
        train_images: Number of normal images for training, at least 1.
        validation_images: Number of normal images for validation, at least 1.
        test_images: Number of test images of each type (good, logical, structural), at least 1.
        data_seed: Seed of the drawing, at least 0. The same seed gives the same pixels with one version of OpenCV;
            others, and processors without AVX2, draw edges that differ by a few levels, and masks by a few pixels. More
            images leave the first ones as they are.

    Raises:
        ValueError: If a value lies outside its range. The message names the option.
    """

    group: ClassVar[str] = "data"
    root: Path = Path("./datasets/SyntheticLOCO")
    category: str = choice("tray", tuple(SCENES))
    image_size: int = number(256, f"[{MIN_IMAGE_SIZE}, inf)")
    train_images: int = number(120, "[1, inf)")
    validation_images: int = number(20, "[1, inf)")
    test_images: int = number(40, "[1, inf)")
    data_seed: int = number(0, "[0, inf)")

    @property
    def folder(self) -> Path:
        """The category's folder."""
        return self.root / self.category

    @property
    def total(self) -> int:
        """Number of images, masks not counted."""
        return self.train_images + self.validation_images + 3 * self.test_images

    def requests(self) -> Iterator[Request]:
        """All images in the order in which they are written."""
        sets = [("train", GOOD, self.train_images), ("validation", GOOD, self.validation_images)]
        sets += [("test", kind, self.test_images) for kind in (GOOD, LOGICAL, STRUCTURAL_TYPE)]
        for split, kind, count in sets:
            for index in range(count):
                yield Request(self.category, split, kind, index, self.image_size, self.data_seed)

    def image_file(self, request: Request) -> Path:
        """Where an image is."""
        return self.folder / request.split / request.kind / f"{request.index:03d}.png"

    def record(self) -> dict[str, Any]:
        """Give what the manifest says of a tree: all that its contents depend on."""
        return {"format": FORMAT} | {name: value for name, value in asdict(self).items() if name != "root"}


def is_complete(plan: TreePlan) -> bool:
    """Whether the plan's tree is there.

    Raises:
        ValueError: A tree is there, but one of another plan, or has lost images since; or other files are.
    """
    advice = "choose another root, or delete that folder to have it drawn again"
    if not (plan.folder / _MANIFEST).is_file():
        if plan.folder.is_dir() and any(plan.folder.iterdir()):
            raise ValueError(f"{plan.folder} holds files that SyntheticLOCO has not written; {advice}")
        return False
    try:
        found = json.loads((plan.folder / _MANIFEST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{plan.folder / _MANIFEST} cannot be read as JSON; {advice}") from error
    differing = [
        f"{name} {found.get(name)} instead of {value}"
        for name, value in plan.record().items()
        if found.get(name) != value
    ]
    if differing:
        raise ValueError(f"{plan.folder} was drawn with other parameters ({', '.join(differing)}); {advice}")
    missing = next((file for file in map(plan.image_file, plan.requests()) if not file.is_file()), None)
    if missing is not None:
        raise ValueError(f"{missing} has been removed from a whole tree; {advice}")
    return True


def write_tree(plan: TreePlan, advance: Callable[[], None] = lambda: None) -> bool:
    """Write the plan's tree, unless it is there already.

    A lock keeps other processes out; a process that waited finds the tree complete. The tree is drawn in a folder
    ``.unfinished`` and then renamed. What an interrupted run left there is deleted and drawn again.

    Args:
        plan: What to write.
        advance: Called after each image.

    Returns:
        True if the tree has been written, False if it was whole.

    Raises:
        ValueError: The folder holds another tree, one that has lost images, or files that are none of ours.
        OSError: A file cannot be written.
    """
    if is_complete(plan):
        return False
    plan.root.mkdir(parents=True, exist_ok=True)
    with FileLock(plan.root / f".{plan.category}.lock"):
        if is_complete(plan):
            return False
        unfinished = replace(plan, root=plan.root / ".unfinished")
        shutil.rmtree(unfinished.folder, ignore_errors=True)
        _draw(unfinished, advance)
        shutil.rmtree(plan.folder, ignore_errors=True)  # an empty one, which Windows does not replace
        unfinished.folder.replace(plan.folder)
    return True


def _draw(plan: TreePlan, advance: Callable[[], None]) -> None:
    config = defects_config(plan.category, plan.image_size)
    values = {entry["defect_name"]: entry["pixel_value"] for entry in config}
    for request in plan.requests():
        image, defects = draw(request)
        for position, defect in enumerate(defects):
            mask = (defect.mask * np.uint8(values[defect.type.name])).astype(np.uint8)
            masks = plan.folder / "ground_truth" / request.kind / f"{request.index:03d}"
            _write_png(masks / f"{position:03d}.png", mask)
        _write_png(plan.image_file(request), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        advance()
    (plan.folder / "defects_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (plan.folder / _MANIFEST).write_text(json.dumps(plan.record(), indent=1), encoding="utf-8")


def defects_config(category: str, image_size: int) -> list[dict[str, Any]]:
    """Give the category's ``defects_config.json`` as MVTec LOCO has it.

    Args:
        category: One of ``SCENES``.
        image_size: Side of the images; absolute saturation areas, in pixels, go with its square.

    Returns:
        Entries with ``defect_name``, ``pixel_value`` (255 and downwards), ``saturation_threshold`` (a share of the
        defect's area if relative, else pixels) and ``relative_saturation``.
    """
    scale = (image_size / UNITS) ** 2
    return [
        {
            "defect_name": defect.name,
            "pixel_value": _HIGHEST_PIXEL_VALUE - position,
            "saturation_threshold": defect.saturation if defect.relative else max(1, round(defect.saturation * scale)),
            "relative_saturation": defect.relative,
        }
        for position, defect in enumerate(defect_types(category))
    ]


def _write_png(path: Path, pixels: MatLike) -> None:
    # Noise hardly compresses: run lengths are as small as anything else, and the fastest.
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    write_png(path, pixels, fast)
