"""A data module's training set: some images kept for calibration, the rest read from memory once they are there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from anomalib.data import AnomalibDataModule, ImageItem
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from anomalib_slsg.data.normal_images import only_resizes
from anomalib_slsg.data.training_order import TrainingOrder, in_order

LEAST_KEPT, ENOUGH_IMAGES = 10, 40  # so many images are kept at the least where there are enough of them
RUN = 2  # kept images that follow each other


class TrainingImages(Dataset):
    """Wraps a training set of normal images: reads from files until it is given the images, then from memory.

    Args:
        dataset: anomalib's training set; its other attributes stay reachable.
        repeat: How many times an epoch shows each image.
        kept: Indices of the images that are kept from training.
    """

    def __init__(self, dataset: Any, repeat: int = 1, kept: Sequence[int] = ()) -> None:
        self.dataset = dataset
        self.repeat = repeat
        indices = torch.arange(len(dataset))
        self.kept_indices = torch.tensor(kept, dtype=torch.long)
        self.training_indices = indices[~torch.isin(indices, self.kept_indices)]
        self.images: Tensor | None = None

    @property
    def for_training(self) -> Dataset:
        """The images that are trained with, as the data set gives them."""
        return Subset(self.dataset, self.training_indices.tolist()) if len(self.kept_indices) else self.dataset

    @property
    def for_calibration(self) -> Dataset | None:
        """The images that are kept, as the data set gives them, if there are any."""
        return Subset(self.dataset, self.kept_indices.tolist()) if len(self.kept_indices) else None

    def keep(self, images: Tensor, transform: nn.Module | None = None) -> None:
        """Give these images from now on.

        A pre-processor's transform other than resizing, for instance a crop, would change images a second time. A set
        that has one goes on being read from files.

        Args:
            images: All images that are trained with, resized, of shape (N, 3, H, W), uint8.
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
        return self.repeat * len(self.training_indices)

    def __getitem__(self, index: int) -> Any:
        """Get a training image as anomalib's data sets give it, without the empty mask.

        Args:
            index: Its place in the epoch, from 0.

        Returns:
            The item.
        """
        place = index % len(self.training_indices)
        index = int(self.training_indices[place])
        if self.images is None:
            return self.dataset[index]
        path = self.dataset.samples.iloc[index].image_path
        return ImageItem(image=self.images[place].float() / 255, gt_label=torch.tensor(0), image_path=path)

    def __getattr__(self, name: str) -> Any:
        """Get what this class does not have from the training set."""
        # "dataset" is missing while unpickling; special methods must not come from the wrapped set, as Python 3.10 asks
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


def kept_for_calibration(number: int) -> list[int]:
    """Choose the images that are kept from training: a tenth, and at least ten where there are forty or more.

    They are spread evenly, so that all kinds are among them where files are sorted by kind, in pairs of neighbours:
    photographs of one part often follow each other, and a kept image that resembles a training image more than new
    ones do would promise too much.

    Args:
        number: How many images there are.

    Returns:
        Ascending indices.
    """
    count = max(LEAST_KEPT if number >= ENOUGH_IMAGES else 0, number // 10)
    runs = torch.arange(number).tensor_split(max(1, -(-count // RUN)))
    chosen = [run[len(run) // 2 :][:RUN] for run in runs]
    return torch.cat(chosen)[:count].tolist()


def images_that_keep(kept: int) -> int:
    """Tell how many images there have to be for so many of them to be kept for calibration, at least one."""
    return 10 * kept if kept > LEAST_KEPT else min(10 * kept, ENOUGH_IMAGES)


@contextmanager
def stand_in(
    datamodule: AnomalibDataModule,
    repeat: int,
    make_order: Callable[[DataLoader], TrainingOrder],
    kept: Sequence[int] = (),
) -> Iterator[None]:
    """Wrap a data module's training set in :class:`TrainingImages`, and give it an order of its own.

    Args:
        datamodule: The trainer's data module, set up.
        repeat: How many times an epoch shows each image.
        make_order: Makes the order of a loader that shuffles.
        kept: Indices of the images that are kept from training.

    Yields:
        Nothing; both are put back afterwards.
    """
    dataset, make_loader = datamodule.train_data, datamodule.train_dataloader
    images: Any = TrainingImages(dataset, repeat, kept)
    datamodule.train_data = images
    datamodule.train_dataloader = lambda: in_order(make_loader(), make_order)  # type: ignore[method-assign]
    try:
        yield
    finally:
        images.images = None  # the trainer keeps its loader, and with it this set
        datamodule.train_data = dataset
        del datamodule.train_dataloader
