"""SegNet's optimiser: SGD (section 4.2) with cosine annealing to zero (not in the paper)."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from anomalib_slsg.utils.options import Options, number


@dataclass(frozen=True)
class OptimizerOptions(Options):
    """How SegNet is trained (section 4.2).

    Args:
        learning_rate: Initial rate of SGD, above 0. Cosine annealing lowers it to zero (not in the paper).
        momentum: Momentum of SGD, in [0, 1). Not in the paper.
        weight_decay: Weight decay of SGD, not negative. Not in the paper.
        iterations: Training steps if the trainer has neither ``max_steps`` nor ``max_epochs``. 1,000 epochs,
            Lightning's default, count as not given, and so do unlimited epochs. 0 leaves out SegNet and its
            pre-training, whatever the trainer says: normality judges alone.
        batch_size: Normal images per step; as many simulated ones are added. Used only if the data module still has
            its default batch size (32 in most).

    Raises:
        ValueError: If a value lies outside its range. The message names the option.
    """

    group: ClassVar[str] = "optimizer"
    learning_rate: float = number(0.04, "(0, inf)")
    momentum: float = number(0.9, "[0, 1)")
    weight_decay: float = number(3e-5, "[0, inf)")
    iterations: int = number(3500, "[0, inf)")
    batch_size: int = number(4, "[1, inf)")


def sgd_with_cosine(
    parameters: Iterable[nn.Parameter], options: OptimizerOptions, steps: float
) -> OptimizerLRScheduler:
    """Make the optimiser and its schedule, as Lightning takes them.

    Args:
        parameters: What is trained, if it asks for gradients.
        options: The rates.
        steps: Length of the training; where it is infinite, the options' counts.

    Returns:
        Optimiser and schedule.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = SGD(trainable, lr=options.learning_rate, momentum=options.momentum, weight_decay=options.weight_decay)
    total = max(1, int(steps) if math.isfinite(steps) else options.iterations)
    # CosineAnnealingLR restores its old length from checkpoints: the rate would rise again in prolonged training
    scheduler = LambdaLR(optimizer, half_cosine(total))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def half_cosine(total: int) -> Callable[[int], float]:
    """Make a schedule's factor of the learning rate, which falls from 1 to 0 over ``total`` steps."""
    return lambda step: (1 + math.cos(math.pi * min(step / total, 1))) / 2
