"""The normal training images with random access, for pre-training, simulation and normality."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from anomalib.data import ImageBatch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms.v2 import Resize

from anomalib_slsg.utils.progress import progress_bar

logger = logging.getLogger(__name__)

GIBIBYTE = 2**30
IMAGES_AT_A_TIME = 8


class NormalImages:
    """Decoded and resized training images, kept in memory when they fit the budget and read again when they do not.

    Args:
        dataset: Data set whose items have ``image`` and ``image_path``.
        collate: Makes an :class:`ImageBatch` of items.
        transform: Applied to each batch of images, for instance the pre-processor's resize.
        num_workers: Worker processes that read all images, or many.
        cache_gibibytes: Largest size of the cache. Images whose data set augments them, and not only resizes, are
            never cached: augmentations draw anew for every reading.
        show_progress: Show a progress bar while all images are read, or many.

    Raises:
        ValueError: If the data set is empty, or its images differ in size and nothing resizes them.
    """

    def __init__(
        self,
        dataset: Dataset,
        collate: Callable[[list], ImageBatch],
        transform: Callable[[Tensor], Tensor] | None = None,
        num_workers: int = 0,
        cache_gibibytes: float = 2.0,
        show_progress: bool = False,
    ) -> None:
        self._dataset = dataset
        self._collate = collate
        self._transform = transform
        self._num_workers = num_workers
        self._show_progress = show_progress
        self._length = len(dataset)  # type: ignore[arg-type]
        if self._length == 0:
            raise ValueError("the training set holds no images; check the data module's root and folder names")
        first = self._read([0])
        needed = first.numel() * self._length / GIBIBYTE
        self._cache: Tensor | None = None
        augmented = not all(only_resizes(getattr(each, "augmentations", None)) for each in _with_inner_ones(dataset))
        if not augmented and needed <= cache_gibibytes:
            self._cache = self._fill_cache()
        else:
            size = f"they need {needed:.1f} GiB (cache_gibibytes is {cache_gibibytes:.1f})"
            reason = "the data set augments them" if augmented else size
            logger.info("The %d training images are read again when needed: %s.", self._length, reason)
        self._index_of_path = {str(Path(path)): index for index, path in enumerate(_paths(dataset))}

    @property
    def cache(self) -> Tensor | None:
        """All images, of shape (N, 3, H, W), uint8, if they fit the budget."""
        return self._cache

    def __len__(self) -> int:
        """Count the images."""
        return self._length

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Get some images.

        Args:
            indices: Indices of shape (B,).

        Returns:
            Images in [0, 1] of shape (B, 3, H, W), float32, on the CPU.
        """
        if self._cache is not None:
            return _from_bytes(self._cache[indices])
        return self._read(indices.tolist())

    def others(self, paths: list[str] | None, number: int, generator: torch.Generator) -> Tensor:
        """Draw for each image of a batch another image of the training set (section 3.2, logical source).

        Args:
            paths: Files of the batch's images, if known.
            number: Images in the batch.
            generator: CPU generator.

        Returns:
            Images of shape (number, 3, H, W); never the image itself where its path is known and there is another.
        """
        drawn = torch.randint(self._length, (number,), generator=generator)
        if paths is not None and self._length > 1:
            own = torch.tensor([self._index_of_path.get(str(Path(path)), -1) for path in paths])
            shifted = torch.randint(self._length - 1, (number,), generator=generator)
            drawn = torch.where(own >= 0, shifted + (shifted >= own), drawn)
        return self[drawn]

    def sample(self, number: int) -> Tensor:
        """Take images spread evenly over the collection.

        Args:
            number: How many, at most.

        Returns:
            Images of shape (min(number, len), 3, H, W).
        """
        return self[self.spread_evenly(number)]

    def spread_evenly(self, most: int | None = None) -> Tensor:
        """Choose images spread evenly over the collection.

        Args:
            most: How many, at most; all if left out.

        Returns:
            Indices of shape (min(most, len),).
        """
        return spread_evenly(self._length, self._length if most is None else most)

    def in_parts(self, indices: Tensor) -> Iterator[Tensor]:
        """Take some images, few at a time.

        Args:
            indices: Indices of shape (B,).

        Yields:
            Images in [0, 1], of shape (B', 3, H, W) with B' of at most 8, float32, on the CPU. Parts are of the same
            size or nearly so, so that they weigh the same in an average and none holds a single image of several.
        """
        for part in indices.tensor_split(-(-len(indices) // IMAGES_AT_A_TIME)):
            yield self[part]

    def _read(self, indices: list[int]) -> Tensor:
        return self._resized(self._collate([self._dataset[index] for index in indices]))

    def _fill_cache(self) -> Tensor:
        cache = torch.empty(0)
        sizes, filled = set(), 0
        for images in self._batches(self._dataset):
            sizes.add(tuple(images.shape[-2:]))
            if len(sizes) > 1:
                continue
            if filled == 0:
                cache = torch.empty((self._length, *images.shape[1:]), dtype=torch.uint8)
            cache[filled : filled + len(images)] = _to_bytes(images)
            filled += len(images)
        if len(sizes) > 1:
            listed = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
            raise ValueError(
                f"the training images have different sizes ({listed}); set model.image_size, or resize them yourself"
            )
        return cache

    def _batches(self, dataset: Dataset) -> Iterator[Tensor]:
        loader = DataLoader(
            dataset,
            batch_size=IMAGES_AT_A_TIME,
            collate_fn=self._collate,
            num_workers=self._num_workers,
            generator=torch.Generator().manual_seed(torch.initial_seed()),  # not the one that training draws from
        )
        with progress_bar(self._show_progress, transient=True) as bar:
            for batch in bar.track(loader, description="Reading training images"):
                yield self._resized(batch)

    def _resized(self, batch: ImageBatch) -> Tensor:
        images = cast("Tensor", batch.image)
        return self._transform(images) if self._transform else images


def spread_evenly(number: int, most: int) -> Tensor:
    """Choose indices below ``number`` that are spread evenly, at most ``most`` of them."""
    return torch.linspace(0, number - 1, min(most, number)).round().long()


def _with_inner_ones(dataset: Any) -> Iterator[Any]:
    """A data set and those that it takes its items from, as PyTorch's ``Subset`` does."""
    while dataset is not None:
        yield dataset
        dataset = getattr(dataset, "dataset", None)


def _paths(dataset: Any) -> list[str]:
    """Files of a data set's images, in their order; none if they are not known."""
    if isinstance(dataset, Subset):
        paths = _paths(dataset.dataset)
        return [paths[index] for index in dataset.indices] if paths else []
    samples = getattr(dataset, "samples", None)
    return list(samples["image_path"]) if samples is not None and "image_path" in samples else []


def only_resizes(transform: nn.Module | None) -> bool:
    """Tell whether a transform, if there is one, does nothing but resize.

    Args:
        transform: A data set's augmentations, or a pre-processor's transform.

    Returns:
        Whether it is nothing else.
    """
    return transform is None or isinstance(transform, Resize)


def _to_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _from_bytes(images: Tensor) -> Tensor:
    return images.float() / 255
