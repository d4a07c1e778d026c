"""Writes drawn images as a folder tree of MVTec LOCO, whole or recognisably unfinished."""

import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.typing import MatLike

from anomalib_slsg.data.file_lock import exclusive
from anomalib_slsg.synthetic_loco.drawing import UNITS, Image
from anomalib_slsg.synthetic_loco.sample import GOOD, LOGICAL, STRUCTURAL_TYPE, Defect, Request, defect_types, draw
from anomalib_slsg.synthetic_loco.scenes import SCENES

MIN_IMAGE_SIZE = 64
# Raised whenever the same parameters would give other pictures; it was not for the few bottles whose crack could not be
# seen, of which none has the default seed.
FORMAT = 1
_HIGHEST_PIXEL_VALUE = 255
_COMPLETE, _INCOMPLETE = "complete.json", "incomplete.json"
# Unlike ".png", this is no ending that anomalib looks for.
_TEMPORARY = ".part"


@dataclass(frozen=True)
class TreePlan:
    """What one category's tree holds.

    Attributes:
        root: Folder of the data set; the category's folder lies in it.
        category: One of ``SCENES``.
        image_size: Side of the images in pixels, at least 64.
        train_images: Number of normal images for training, at least 1.
        validation_images: Number of normal images for validation, at least 1.
        test_images: Number of test images of each type (good, logical, structural), at least 1.
        data_seed: Seed of the drawing, at least 0.

    Raises:
        ValueError: An option is no whole number or out of its range; the message names it.
    """

    root: Path
    category: str
    image_size: int
    train_images: int
    validation_images: int
    test_images: int
    data_seed: int

    def __post_init__(self) -> None:
        """Check the options."""
        if self.category not in SCENES:
            msg = f"category: there is no {self.category!r}; choose one of {', '.join(SCENES)}."
            raise ValueError(msg)
        least = {
            "image_size": MIN_IMAGE_SIZE,
            "train_images": 1,
            "validation_images": 1,
            "test_images": 1,
            "data_seed": 0,
        }
        for option, minimum in least.items():
            try:
                value = operator.index(getattr(self, option))  # of NumPy's, too, which JSON does not take
            except TypeError as error:
                msg = f"{option}: {getattr(self, option)!r} is no whole number."
                raise ValueError(msg) from error
            object.__setattr__(self, option, value)
            if value < minimum:
                msg = f"{option}: {value} is too small; choose at least {minimum}."
                raise ValueError(msg)

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
    """Whether the plan's tree is there, whole.

    Raises:
        ValueError: A whole tree is there, but one of another plan, or has lost images since.
    """
    manifest = plan.folder / _COMPLETE
    if not manifest.is_file():
        return False
    _check_record(plan, manifest)
    for file in map(plan.image_file, plan.requests()):
        if not file.is_file():
            msg = f"{file} has been removed from a whole tree; delete the folder {plan.folder} to have it drawn again."
            raise ValueError(msg)
    return True


def write_tree(plan: TreePlan, advance: Callable[[], None] = lambda: None) -> bool:
    """Write the plan's tree, unless it is there already.

    A lock keeps other processes out; the second of two finds the tree whole. Every file comes to its name by a
    rename, and the manifest gets its final name after the last file. What an interrupted run left is drawn again from
    the start: equal requests give equal files, and drawing takes less thought than trusting files of unknown fate.

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
    with exclusive(plan.root / f".{plan.category}.lock"):
        if is_complete(plan):
            return False
        _claim_folder(plan)
        config = defects_config(plan.category, plan.image_size)
        _write(plan.folder / "defects_config.json", json.dumps(config, indent=1).encode())
        values = {entry["defect_name"]: entry["pixel_value"] for entry in config}
        for request in plan.requests():
            image, defects = draw(request)
            _write_sample(plan, request, image, defects, values)
            advance()
        (plan.folder / _INCOMPLETE).replace(plan.folder / _COMPLETE)
    return True


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
            "pixel_value": _HIGHEST_PIXEL_VALUE - number,
            "saturation_threshold": defect.saturation if defect.relative else max(1, round(defect.saturation * scale)),
            "relative_saturation": defect.relative,
        }
        for number, defect in enumerate(defect_types(category))
    ]


def _claim_folder(plan: TreePlan) -> None:
    """Make the folder ours: refuse what others have put there, remove stray temporaries, and leave the record."""
    plan.folder.mkdir(exist_ok=True)
    manifest = plan.folder / _INCOMPLETE
    if manifest.is_file():
        _check_record(plan, manifest)
    elif any(path.is_file() and path.suffix != _TEMPORARY for path in plan.folder.rglob("*")):
        msg = f"{plan.folder} holds files that SyntheticLOCO has not written; choose another root."
        raise ValueError(msg)
    # The lock is held, so no living process has temporaries here.
    for path in plan.folder.rglob(f"*{_TEMPORARY}"):
        path.unlink()
    _write(manifest, json.dumps(plan.record(), indent=1).encode())


def _check_record(plan: TreePlan, manifest: Path) -> None:
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{manifest} cannot be read as JSON; delete the folder {plan.folder} to have it drawn again."
        raise ValueError(msg) from error
    wanted = plan.record()
    if found == wanted:
        return
    found = found if isinstance(found, dict) else {}
    differing = [
        f"{name} {found.get(name)} instead of {value}" for name, value in wanted.items() if found.get(name) != value
    ]
    msg = (
        f"{plan.folder} was drawn with other parameters ({', '.join(differing) or 'of another version'}). "
        "Choose another root, or delete that folder to have it drawn again."
    )
    raise ValueError(msg)


def _write_sample(
    plan: TreePlan, request: Request, image: Image, defects: list[Defect], values: dict[str, int]
) -> None:
    name = f"{request.index:03d}"
    for number, defect in enumerate(defects):
        mask = (defect.mask * np.uint8(values[defect.type.name])).astype(np.uint8)
        _write_png(plan.folder / "ground_truth" / request.kind / name / f"{number:03d}.png", mask)
    _write_png(plan.image_file(request), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def _write_png(path: Path, pixels: MatLike) -> None:
    # Noise hardly compresses: run lengths are as small as anything else, and the fastest.
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(".png", pixels, fast)
    if not done:
        msg = f"OpenCV could not encode {path}."
        raise OSError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, data.tobytes())


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + _TEMPORARY)
    temporary.write_bytes(data)
    temporary.replace(path)
