"""The training images of a fit, gathered from the trainer's loader."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from anomalib.data import AnomalibDataModule, ImageBatch
from anomalib.data.datasets import AnomalibVideoDataset
from anomalib.data.utils import LabelName
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.data.training_images import TrainingImages
from anomalib_slsg.training.loading import attached_trainer

logger = logging.getLogger(__name__)


class GatheredImages(NamedTuple):
    """Normal images of a fit.

    Attributes:
        training: Those that are trained with.
        kept: Those that are kept for calibration, if there are any.
    """

    training: NormalImages
    kept: NormalImages | None


def gather_images(
    loader: DataLoader, transform: nn.Module | None, cache_gibibytes: float, show_progress: bool
) -> GatheredImages:
    """Read the normal images, and hold them in memory if they fit.

    Args:
        loader: The trainer's loader of training images.
        transform: The pre-processor's transform, if there is one.
        cache_gibibytes: Largest size of what is held.
        show_progress: Show a progress bar.

    Returns:
        The images; the loader's own data set gives them from memory from now on, too.

    Raises:
        ValueError: If there are no images, they are clips of videos, or they differ in size.
    """
    dataset: Any = loader.dataset.dataset if isinstance(loader.dataset, TrainingImages) else loader.dataset
    if isinstance(dataset, AnomalibVideoDataset):
        raise ValueError(
            f"the training set, a {type(dataset).__name__}, has clips of videos; this model takes single images"
        )
    own: Any = loader.dataset if isinstance(loader.dataset, TrainingImages) else None

    def read(images: Any) -> NormalImages:
        return NormalImages(
            images,
            cast("Callable[[list], ImageBatch]", loader.collate_fn),
            transform=transform,
            num_workers=loader.num_workers,
            cache_gibibytes=cache_gibibytes,
            show_progress=show_progress,
        )

    images = read(dataset if own is None else own.for_training)
    held = None if own is None else own.for_calibration
    kept = None if held is None else read(held)
    is_own_collate = loader.collate_fn == getattr(loader.dataset, "collate_fn", None)
    if isinstance(loader.dataset, TrainingImages) and images.cache is not None and is_own_collate:
        loader.dataset.keep(images.cache, transform)
        loader.num_workers = 0  # processes would be started anew at every epoch for images that are in memory
    samples = getattr(dataset, "samples", None)
    labels = getattr(samples, "label_index", ())
    if anomalous := sum(label == LabelName.ABNORMAL for label in labels):
        logger.warning("%d of the training images are labelled anomalous, and will pass for normal.", anomalous)
    if len(images) == 1:
        logger.warning("There is one training image. Logical anomalies, which mix two, are left out; give more images.")
    return GatheredImages(images, kept)


def update_augmentations(model: LightningModule) -> None:
    """Have a trainer's data module resize images as the model's pre-processor does now, not as when it was set up.

    Args:
        model: The model; nothing happens if it has no trainer, as when it is loaded from Python.
    """
    trainer: Any = attached_trainer(model)
    datamodule = getattr(trainer, "datamodule", None)
    if isinstance(datamodule, AnomalibDataModule):
        # the base class's setup only updates augmentations now; a user's own might choose images anew
        AnomalibDataModule.setup(datamodule, trainer.state.fn)
