"""Random streams that depend on the seed, the rank and a place in the training, and on nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, *place: int) -> torch.Generator:
    """Make the generator of one place in the training, the same whether or not training was interrupted before it.

    Args:
        seed: Seed of the run, not negative.
        place: Whole numbers that tell the place, for instance phase, step and rank; not negative.

    Returns:
        A CPU generator.
    """
    state = np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Draw PyTorch's random numbers, such as initial weights, from a stream of their own.

    Args:
        generator: The stream; PyTorch's own if left out.

    Yields:
        Nothing; afterwards PyTorch's CPU generator is as it was, if a stream was given.
    """
    with torch.random.fork_rng(devices=[], enabled=generator is not None):
        if generator is not None:
            torch.default_generator.manual_seed(generator.initial_seed())
        yield
