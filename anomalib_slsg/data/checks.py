"""Checks of a data module's files before anything is learned or measured."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anomalib.data import Folder, PredictDataset
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
            paths = image_paths(dataset)
            if len(kept := images_among(paths)) < len(paths):
                dataset.subsample(kept, inplace=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the images."""
        self._check(trainer.train_dataloader)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check images and masks."""
        self._check(trainer.test_dataloaders)
        for dataset in datasets(trainer.test_dataloaders):
            check_masks(dataset)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out what macOS keeps beside images, and check the rest."""
        for dataset in datasets(trainer.predict_dataloaders):
            if isinstance(dataset, PredictDataset):
                names = dataset.image_filenames
                dataset.image_filenames = [names[index] for index in images_among(names)]
        self._check(trainer.predict_dataloaders)

    def _check(self, loaders: Any) -> None:
        check_images([path for dataset in datasets(loaders) for path in image_paths(dataset)])


def image_paths(dataset: Any) -> list[str]:
    """List the files of a data set's images, as its items name them; none if they are not known.

    Args:
        dataset: One of anomalib's, or a part of one.
    """
    if isinstance(dataset, PredictDataset):
        return [str(path) for path in dataset.image_filenames]
    samples = _samples(dataset)
    return [] if samples is None else list(samples["image_path"])


def check_masks(dataset: Any) -> None:
    """Look at the masks of a test set, and warn of what metrics of pixels would make of them.

    Args:
        dataset: One of anomalib's; nothing happens with others.

    Raises:
        ValueError: If a mask is broken, or lies in the alpha channel, which anomalib leaves out.
    """
    samples, found = _samples(dataset), dict[str, list[str]]()
    if samples is None or "mask_path" not in samples:
        return
    for image, label, masks in zip(samples["image_path"], samples["label_index"], samples["mask_path"]):
        for mask in masks if isinstance(masks, list) else [masks]:
            if label == LabelName.ABNORMAL and isinstance(mask, str) and mask:
                for fault in _faults(mask, image):
                    found.setdefault(fault, []).append(mask)
    for fault, paths in found.items():
        logger.warning("'%s' (%d masks are so) %s.", paths[0], len(paths), fault)


def _faults(path: str, image_path: str) -> Iterator[str]:
    with naming(path), Image.open(path) as mask:
        black, *others = mask.convert("L").histogram()
        levels = sum(map(bool, others))
        if "A" in mask.getbands() and levels + bool(black) == 1 and len(set(mask.getchannel("A").getextrema())) > 1:
            raise UnfitImageError(f"'{path}' is a mask in the alpha channel, which is not read: save it as a grey PNG")
        height, width = read_header(image_path).shape
        if levels == 0:
            yield "marks nothing, although its image is anomalous"
        if levels > 1:
            yield "has several grey levels, of which all above 0 count as defects; save masks as black and white PNG"
        if abs(mask.width * height - mask.height * width) > height + width:
            yield "has another aspect than its image, and is stretched"


def _samples(dataset: Any) -> Any:
    """The table of one of anomalib's data sets of images, also of one that another wraps."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return None if isinstance(dataset, AnomalibVideoDataset) else getattr(dataset, "samples", None)


def refuse_linked_folders(datamodule: Any) -> None:
    """Refuse links to folders below those of a data module, since anomalib passes over what is in them.

    Args:
        datamodule: The trainer's, if there is one.

    Raises:
        ValueError: If there is one.
    """
    root = getattr(datamodule, "root", None)
    folders = [] if root is None else [Path(root) / (datamodule.category or "")]
    if isinstance(datamodule, Folder):
        given = (datamodule.normal_dir, datamodule.abnormal_dir, datamodule.normal_test_dir, datamodule.mask_dir)
        named = [each for each in given if each is not None]
        lists = [[each] if isinstance(each, str | Path) else each for each in named]
        folders = [Path(root or "") / each for some in lists for each in some]
    for folder in folders:
        for parent, names, _ in os.walk(folder):
            for link in (Path(parent) / name for name in names):
                if link.is_symlink():
                    raise ValueError(
                        f"'{link}' is a link to a folder, which anomalib does not look into: put the images themselves "
                        "there, or give the data module the folder that it leads to"
                    )
