"""The order of the training images, which goes on where an interrupted training has stopped."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler
from torch.utils.data.distributed import DistributedSampler

# a loader cannot be given another sampler, so a new one is made with these of its attributes
LOADER_ARGUMENTS = (
    *("batch_size", "num_workers", "collate_fn", "pin_memory", "timeout", "drop_last", "worker_init_fn"),
    *("multiprocessing_context", "generator", "prefetch_factor", "persistent_workers"),
)


class TrainingOrder(DistributedSampler):
    """Shuffles by the seed and the number of batches so far, and by nothing else.

    Lightning leaves samplers of this kind alone, and begins with the first batch when it goes on in an epoch's middle.

    Args:
        loader: The loader whose order this is.
        seed: Gives the seed, at every epoch.
        batches_done: Gives the number of batches that were trained with.
        limit: The trainer's limit of an epoch's batches, a number of them or a share.
        processes: How many processes share the images.
        process: Which of them this is.
    """

    def __init__(
        self,
        loader: DataLoader,
        seed: Callable[[], torch.Generator],
        batches_done: Callable[[], int],
        limit: float = 1.0,
        processes: int = 1,
        process: int = 0,
    ) -> None:
        super().__init__(loader.dataset, processes, process)
        self._make_seed, self._batches_done, self._batch_size = seed, batches_done, loader.batch_size or 1
        batches = len(BatchSampler(self, self._batch_size, loader.drop_last))
        self._batches = max(1, min(batches, limit) if isinstance(limit, int) else int(batches * limit))

    def __iter__(self) -> Iterator[Any]:
        """Yield what is left of the epoch."""
        self.epoch, done = divmod(self._batches_done(), self._batches)
        self.seed = self._make_seed().initial_seed() >> 2  # the epoch is added, and the sum is a generator's seed
        return islice(super().__iter__(), done * self._batch_size, None)


class LateLoader(DataLoader):
    """Starts reading with the first batch that is taken.

    Lightning makes the iterator earlier: before it restores its counts, and before the images are in memory, which
    differ from those of the files by rounding.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches."""
        yield from super().__iter__()


def in_order(loader: DataLoader, make_order: Callable[[DataLoader], TrainingOrder]) -> DataLoader:
    """Give a loader that shuffles another order.

    Args:
        loader: The loader; a user's own order, or kind of loader, is left alone.
        make_order: Makes the order.

    Returns:
        A loader of the same data.
    """
    if type(loader) is not DataLoader or not isinstance(loader.sampler, RandomSampler):
        return loader
    arguments: dict[str, Any] = {name: getattr(loader, name) for name in LOADER_ARGUMENTS}
    return LateLoader(loader.dataset, sampler=make_order(loader), **arguments)
