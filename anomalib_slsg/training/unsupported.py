"""Trainer settings that this model cannot be fitted with, refused before anything is learnt."""

from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    StochasticWeightAveraging,
    WeightAveraging,
)

if TYPE_CHECKING:
    from anomalib_slsg.lightning_model import Slsg


def refuse_unsupported(trainer: Trainer, model: "Slsg") -> None:
    """Refuse what would fail late, or spoil the result without a word.

    Args:
        trainer: The trainer, which is about to fit.
        model: The model.

    Raises:
        ValueError: If it has such a setting.
    """
    if trainer.world_size > 1 and getattr(trainer.strategy, "_layer_sync", None) is not None:
        msg = (
            "trainer.sync_batchnorm is not supported: it takes the activations out of EfficientNets' batch norm, and "
            "processes would wait for each other in the pre-training; leave it out"
        )
        raise ValueError(msg)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        name = f"the callback {type(callback).__name__}"
        # those that look for the batch size of tests alone have another hook
        looks_for_batch_size = type(callback).on_fit_start is BatchSizeFinder.on_fit_start
        if isinstance(callback, LearningRateFinder) or looks_for_batch_size:
            msg = (
                f"{name} is not supported: it trains before there are images and a pre-trained encoder; set "
                "model.learning_rate and model.train_batch_size. If a Tuner added it, make a new trainer"
            )
            raise ValueError(msg)
        if isinstance(callback, StochasticWeightAveraging):
            msg = (
                f"{name} is not supported: it forgets the encoder's batch norm, which stays as it is while SegNet is "
                "trained; leave it out"
            )
            raise ValueError(msg)
        if isinstance(callback, WeightAveraging):
            _refuse_to_average(callback, name, model)


def _refuse_to_average(callback: WeightAveraging, name: str, model: "Slsg") -> None:
    if model.model.seg_net.statistics:
        msg = (
            f"{name} copies the model before normal features are learnt; use it with model.feature_distance=false and "
            "model.composition=false"
        )
        raise ValueError(msg)
    if callback._use_buffers and not {"avg_fn", "multi_avg_fn"} & callback._kwargs.keys():
        msg = f"{name} would subtract the flags among the model's buffers; use EMAWeightAveraging, or use_buffers=False"
        raise ValueError(msg)
