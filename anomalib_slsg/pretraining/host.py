"""What the pre-training asks of the model whose encoder it trains, and of what watches its steps."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from anomalib_slsg.networks.seg_net import SegNet


class ImageCollection(Protocol):
    """Normal training images."""

    def __len__(self) -> int:
        """Count them."""

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Get the images of indices (B,), in [0, 1], of shape (B, 3, H, W), on the CPU."""

    def sample(self, number: int) -> Tensor:
        """Get so many, spread evenly."""

    def in_parts(self, indices: Tensor) -> Iterator[Tensor]:
        """Yield the images of indices (B,), few at a time."""


class HostNetwork(Protocol):
    """The host's network, whose encoder is trained."""

    seg_net: SegNet
    segments: bool
    normalise: Callable[[Tensor], Tensor]
    fast_autocast: Callable[[], AbstractContextManager]


class Host(Protocol):
    """The model that is fitted.

    Attributes:
        model: Its network.
        device: Where it is.
        encoder_weights: What its encoder starts from.
        encoder_ready: Whether its encoder is pre-trained.
        fit_seed: Seed of all random streams of this fit, the same in all processes.
        normal_images: The training images.
        shows_progress: Whether this process shows progress bars.
    """

    model: HostNetwork
    device: torch.device
    encoder_weights: str | None
    encoder_ready: Tensor
    fit_seed: int
    normal_images: ImageCollection
    shows_progress: bool


class StepWatch(Protocol):
    """What follows each step."""

    def after_step(self, trainer: Trainer, losses: Iterable[Tensor], phase: str, save: bool = False) -> None:
        """Stop the run, or save its state, if that is due; save it in any case if so asked."""
