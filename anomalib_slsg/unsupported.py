"""Trainer settings that this model cannot be fitted with, refused before anything is learnt."""

from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, StochasticWeightAveraging, WeightAveraging

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
            "processes would wait for each other in the pre-training; leave it out, the encoder stays as it is anyway"
        )
        raise ValueError(msg)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LearningRateFinder | BatchSizeFinder):
            msg = (
                f"the callback {type(callback).__name__} is not supported: it trains before there are images and a "
                "pre-trained encoder; set model.learning_rate and model.train_batch_size"
            )
            raise ValueError(msg)
        if isinstance(callback, StochasticWeightAveraging):
            msg = (
                "the callback StochasticWeightAveraging is not supported: it forgets the encoder's batch norm, which "
                "stays as it is while SegNet is trained; leave it out"
            )
            raise ValueError(msg)
        if isinstance(callback, WeightAveraging) and model.model.seg_net.statistics:
            msg = (
                f"the callback {type(callback).__name__} copies the model before normal features are learnt; use it "
                "with model.feature_distance=false and model.composition=false"
            )
            raise ValueError(msg)
