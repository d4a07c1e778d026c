"""Checks of a user's files before anything is learned or measured from them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule, AnomalibDataset, PredictDataset
from anomalib.data.datasets import AnomalibVideoDataset
from anomalib.data.utils import LabelName
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from anomalib_slsg.data.reading import check_images
from anomalib_slsg.utils.datasets import datasets
from anomalib_slsg.utils.images import UnfitImageError, images_among, naming, read_header

logger = logging.getLogger(__name__)


class FileChecks(Callback):
    """Leaves out files that are no images, and checks images and masks before a run reads them."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave out what macOS keeps beside images, before anything counts them."""
        datamodule: Any = getattr(trainer, "datamodule", None)
        for name in ("train_data", "val_data", "test_data"):
            dataset: Any = getattr(datamodule, name, None)
            paths = _paths(dataset)
            if len(kept := images_among(paths)) < len(paths):
                dataset.subsample(kept, inplace=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the images."""
        check_images(image_paths(trainer.train_dataloader))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check images and masks."""
        check_images(image_paths(trainer.test_dataloaders))
        for samples in map(_samples, datasets(trainer.test_dataloaders)):
            if samples is not None and "mask_path" in samples:
                _check_masks(samples)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out what macOS keeps beside images, and check the rest."""
        for dataset in datasets(trainer.predict_dataloaders):
            if isinstance(dataset, PredictDataset):
                names = dataset.image_filenames
                dataset.image_filenames = [names[index] for index in images_among(names)]
        check_images(image_paths(trainer.predict_dataloaders))


def image_paths(loaders: Any) -> list[str]:
    """List the files of the images that a trainer's loaders give, as their items name them.

    Args:
        loaders: One loader, or several in lists, or none.

    Returns:
        The files of anomalib's own data sets of images, and of parts of them; others do not tell.
    """
    return [path for dataset in datasets(loaders) for path in _paths(dataset)]


def refuse_linked_folders(datamodule: Any) -> None:
    """Refuse links to folders below those of a data module, since anomalib passes over what is in them.

    Args:
        datamodule: The trainer's, if there is one.

    Raises:
        ValueError: If there is one.
    """
    if not isinstance(datamodule, AnomalibDataModule):
        return  # nothing is known of its folders
    root, options = getattr(datamodule, "root", None), ("normal_dir", "abnormal_dir", "normal_test_dir", "mask_dir")
    given = [getattr(datamodule, option, None) or () for option in options]
    folders = [folder for each in given for folder in ([each] if isinstance(each, str | Path) else each)]
    if root is not None and not folders:
        folders = [datamodule.category or ""]
    for folder in folders:
        for parent, names, _ in os.walk(Path(root or "") / folder):
            for link in (Path(parent) / name for name in names):
                if link.is_symlink():
                    raise ValueError(
                        f"'{link}' is a link to a folder, which anomalib does not look into: put the images themselves "
                        "there, or give the data module the folder that it leads to"
                    )


def _paths(dataset: Any) -> list[str]:
    if isinstance(dataset, PredictDataset):
        return [str(path) for path in dataset.image_filenames]
    samples = _samples(dataset)
    return [] if samples is None else list(samples["image_path"])


def _samples(dataset: Any) -> Any:
    """The table of one of anomalib's data sets of images, also of one that another wraps."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    still = isinstance(dataset, AnomalibDataset) and not isinstance(dataset, AnomalibVideoDataset)
    return dataset.samples if still else None


def _check_masks(samples: Any) -> None:
    """Warn of what metrics of pixels would make of masks; refuse those that anomalib does not read."""
    found: dict[str, list[str]] = {}
    for image, label, masks in zip(samples["image_path"], samples["label_index"], samples["mask_path"]):
        for mask in masks if isinstance(masks, list) else [masks]:
            if label == LabelName.ABNORMAL and isinstance(mask, str) and mask:
                for fault in _faults(mask, read_header(image).shape):
                    found.setdefault(fault, []).append(mask)
    for fault, paths in found.items():
        logger.warning("The mask '%s' %s; %d masks are so.", paths[0], fault, len(paths))


def _faults(path: str, shape: tuple[int, int]) -> Iterator[str]:
    read_header(path)  # of a mask, too, which may be too large to be decoded
    with naming(path), Image.open(path) as mask:
        black, *others = map(bool, mask.convert("L").histogram())
        if "A" in mask.getbands() and black + sum(others) == 1 and len(set(mask.getchannel("A").getextrema())) > 1:
            raise UnfitImageError(f"'{path}' is a mask in the alpha channel, which is not read: save it as a grey PNG")
    if not any(others):
        yield "marks nothing, although its image is anomalous"
    if sum(others) > 1:
        yield "has several grey levels, of which all above 0 count as defects (save masks as black and white PNG)"
    if abs(mask.width * shape[0] - mask.height * shape[1]) > sum(shape):
        yield "has another aspect than its image, and is stretched"
