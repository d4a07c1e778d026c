"""Which images a folder has for training and for testing."""

from pathlib import Path
from typing import Any, NamedTuple

from anomalib.data import AnomalibDataModule, Folder, MVTecAD, MVTecLOCO
from anomalib.data.utils.split import random_split

from anomalib_slsg.utils.images import list_images

GOOD = "good"
MASKS = ("ground_truth", "mask", "masks")
LOCO = ("logical_anomalies", "structural_anomalies")
TEST_SHARE = 0.2  # of the good images, where none are there for testing
SEED = 0  # which ones: the same in each run
EXPECTED = (
    "it needs images of good parts in it, or a folder 'good' of them (and, to measure, other folders of bad ones), or "
    "'train/good' and 'test' as MVTec AD and MVTec LOCO have"
)


class Images(NamedTuple):
    """What a folder has.

    Attributes:
        datamodule: The data module, set up.
        test: Whether each image for testing is anomalous.
        sentence: Says what was found.
    """

    datamodule: AnomalibDataModule
    test: dict[Path, bool]
    sentence: str


def find_data(folder: Path) -> Images:
    """Recognise a folder.

    Args:
        folder: The folder.

    Returns:
        Its images.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has too few images of good parts, or none that can be told from bad ones.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder '{folder}' does not exist")
    tree = folder / "train" / GOOD
    if tree.is_dir() and (folder / "test").is_dir():
        _check(tree)
        loco = any((folder / "test" / kind).is_dir() for kind in LOCO)
        place: dict[str, Any] = {"root": folder.resolve().parent, "category": folder.resolve().name, "num_workers": 0}
        datamodule: AnomalibDataModule
        datamodule = MVTecLOCO(**place) if loco else MVTecAD(**place, val_split_mode="none", seed=SEED)
        datamodule.setup()
        return _described(datamodule, f"a tree of {'MVTec LOCO' if loco else 'MVTec AD'}'s format")
    if not (folder / GOOD).is_dir():
        if any(map(list_images, _folders(folder))):
            raise ValueError(f"'{folder}' has folders of images, but none is called 'good': {EXPECTED}")
        return _described(good_images(folder, TEST_SHARE), "a folder of good images")
    bad = [each.name for each in _folders(folder) if each.name not in (GOOD, *MASKS) and list_images(each)]
    if not bad:
        return _described(good_images(folder / GOOD, TEST_SHARE), "a folder 'good'")
    _check(folder / GOOD)
    datamodule = Folder(folder.resolve().name, GOOD, folder, bad, val_split_mode="none", seed=SEED, num_workers=0)
    datamodule.setup()
    return _described(datamodule, f"a folder 'good' and bad images in {', '.join(map(repr, bad))}")


def good_images(folder: Path, test_share: float = 0.0) -> AnomalibDataModule:
    """Make the data module of a folder all of whose images are good.

    Args:
        folder: The folder.
        test_share: Share of them that is for testing.

    Raises:
        ValueError: If it has fewer than two images, or three where some are for testing.
    """
    _check(folder, 3 if test_share else 2)
    name = folder.resolve().name
    modes: dict[str, Any] = {"test_split_mode": "none", "val_split_mode": "none"}
    datamodule = Folder(name, folder.resolve(), seed=SEED, num_workers=0, **modes)
    datamodule.setup()
    if test_share:
        share = max(test_share, 1 / len(datamodule.train_data))  # one at the least
        datamodule.train_data, datamodule.test_data = random_split(datamodule.train_data, share, seed=SEED)
    return datamodule


def _check(folder: Path, least: int = 2) -> None:
    images = list_images(folder) if folder.is_dir() else []
    if len(images) < least:
        names = " and ".join(f"'{image.name}'" for image in images)
        found = ("no images", f"a single image ({names})", f"two images ({names})")[len(images)]
        third = " and a third to test with" if least == 3 else ""
        raise ValueError(f"'{folder}' has {found}, at least two are needed{third}: {EXPECTED}")


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir())


def _described(datamodule: AnomalibDataModule, kind: str) -> Images:
    samples = datamodule.test_data.samples
    test = {Path(path): bool(label) for path, label in zip(samples["image_path"], samples["label_index"])}
    bad = sum(test.values())
    sentence = (
        f"Found {kind}: {len(datamodule.train_data)} good images to learn from, {len(test) - bad} good and {bad} bad "
        "ones to test with."
    )
    if not bad:
        sentence += " Without bad images only false alarms are counted."
    return Images(datamodule, test, sentence)
