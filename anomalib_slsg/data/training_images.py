"""A data module's training set, read from memory once its images are there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from anomalib.data import AnomalibDataModule, ImageItem
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from anomalib_slsg.data.normal_images import only_resizes


class TrainingImages(Dataset):
    """Wraps a training set of normal images: reads from files until it is given the images, then from memory.

    Args:
        dataset: anomalib's training set; its other attributes stay reachable.
        repeat: How many times an epoch shows each image.
    """

    def __init__(self, dataset: Any, repeat: int = 1) -> None:
        self.dataset = dataset
        self.repeat = repeat
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
        """Count the images of an epoch."""
        return self.repeat * len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Get a training image as anomalib's data sets give it, without the empty mask.

        Args:
            index: Its place in the epoch, from 0.

        Returns:
            The item.
        """
        index %= len(self.dataset)
        if self.images is None:
            return self.dataset[index]
        path = self.dataset.samples.iloc[index].image_path
        return ImageItem(image=self.images[index].float() / 255, gt_label=torch.tensor(0), image_path=path)

    def __getattr__(self, name: str) -> Any:
        """Get what this class does not have from the training set."""
        # "dataset" is missing while unpickling; special methods must not come from the wrapped set, as Python 3.10 asks
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


@contextmanager
def stand_in(datamodule: AnomalibDataModule, repeat: int, generator: torch.Generator) -> Iterator[None]:
    """Wrap a data module's training set in :class:`TrainingImages`, and shuffle it with a generator of its own.

    Args:
        datamodule: The trainer's data module, set up.
        repeat: How many times an epoch shows each image.
        generator: CPU generator of the order. Not used with several processes, where Lightning's own sampler shuffles.

    Yields:
        Nothing; both are put back afterwards.
    """
    dataset, make_loader = datamodule.train_data, datamodule.train_dataloader
    images: Any = TrainingImages(dataset, repeat)

    def make_ordered_loader() -> DataLoader:
        loader: DataLoader = make_loader()
        if isinstance(loader.sampler, RandomSampler):
            loader.sampler.generator = generator
        return loader

    datamodule.train_data = images
    datamodule.train_dataloader = make_ordered_loader  # type: ignore[method-assign]
    try:
        yield
    finally:
        images.images = None  # the trainer keeps its loader, and with it this set
        datamodule.train_data = dataset
        del datamodule.train_dataloader
