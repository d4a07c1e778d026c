"""A data module's training set, read from memory once its images are there."""

from typing import Any

import torch
from anomalib.data import AnomalibDataModule, ImageItem
from torch import Tensor, nn
from torch.utils.data import Dataset

from anomalib_slsg.data.normal_images import only_resizes


class TrainingImages(Dataset):
    """Stands in for a training set of normal images and behaves like it, until it is given the images.

    Args:
        dataset: anomalib's training set; its other attributes stay reachable.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.images: Tensor | None = None

    def keep(self, images: Tensor, transform: nn.Module | None = None) -> None:
        """Give these images from now on.

        A pre-processor's transform other than resizing, for instance a crop, would change images a second time. A set
        that has one goes on being read from files.

        Args:
            images: All images of the set, resized, of shape (N, 3, H, W), uint8.
            transform: The pre-processor's, which made these images and which the trainer applies to every batch.
        """
        if only_resizes(transform) and hasattr(self.dataset, "samples"):
            self.images = images

    @property
    def augmentations(self) -> Any:
        """The training set's own, which anomalib's data modules set anew."""
        return self.dataset.augmentations

    @augmentations.setter
    def augmentations(self, value: Any) -> None:
        self.dataset.augmentations = value

    def __len__(self) -> int:
        """Count the images."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Get a training image as anomalib's data sets give it, without the empty mask.

        Args:
            index: Its place in the set.

        Returns:
            The item.
        """
        if self.images is None:
            return self.dataset[index]
        path = self.dataset.samples.iloc[index].image_path
        return ImageItem(image=self.images[index].float() / 255, gt_label=torch.tensor(0), image_path=path)

    def __getattr__(self, name: str) -> Any:
        """Get what this class does not have from the training set."""
        # while being unpickled; and how to pickle is this class's own, for which Python 3.10 asks here
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


def stand_in(datamodule: Any) -> None:
    """Put :class:`TrainingImages` in the place of a data module's training set.

    Args:
        datamodule: The trainer's data module; nothing happens if it is not one of anomalib's.
    """
    if isinstance(datamodule, AnomalibDataModule) and not isinstance(datamodule.train_data, TrainingImages):
        images: Any = TrainingImages(datamodule.train_data)
        datamodule.train_data = images


def stand_down(datamodule: Any) -> None:
    """Put the training set back.

    Args:
        datamodule: The trainer's data module.
    """
    if isinstance(datamodule, AnomalibDataModule) and isinstance(datamodule.train_data, TrainingImages):
        datamodule.train_data.images = None  # the trainer keeps its loader, and with it this set
        datamodule.train_data = datamodule.train_data.dataset
