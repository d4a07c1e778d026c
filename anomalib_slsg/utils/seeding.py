"""Random streams that depend on the seed, the rank and a place in the training, and on nothing else."""

import torch
from lightning.pytorch import Trainer


def common_seed(trainer: Trainer, given: int | None = None) -> int:
    """Give the model's seed, or PyTorch's of the first process, which every process draws unless the user sets it.

    Args:
        trainer: The trainer, whose processes all have to ask.
        given: The model's, if it has one; PyTorch's may since have become that of another model.

    Returns:
        The seed.
    """
    return trainer.strategy.broadcast(torch.initial_seed() if given is None else given)


def stream(seed: int, *place: int) -> torch.Generator:
    """Make the generator of one place in the training, the same whether or not training was interrupted before it.

    Args:
        seed: Seed of the run.
        place: Whole numbers that tell the place, for instance phase, step and rank.

    Returns:
        A CPU generator.
    """
    mixed = seed
    for number in place:
        # the multiplier of Knuth's 64-bit linear congruential generator spreads neighbouring places apart
        mixed = (mixed * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(mixed)
