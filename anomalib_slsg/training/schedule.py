"""What a fit asks of the trainer: the paper's schedule where the user gives none, and what cannot be fitted with."""

import inspect
import logging
from collections.abc import Sequence

from anomalib.data import AnomalibDataModule
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, StochasticWeightAveraging, WeightAveraging
from torch import nn

logger = logging.getLogger(__name__)

LIGHTNING_DEFAULT_EPOCHS = 1000
LOSSES = ("train_loss", "train_focal", "train_l1", "train_auxiliary")
LEAST_STEPS = 50  # per epoch, if length is given in steps: ending an epoch costs as much time as several steps

UNSUPPORTED = (
    ((LearningRateFinder, BatchSizeFinder), "trains before there are images and a pre-trained encoder"),
    ((StochasticWeightAveraging, WeightAveraging), "averages the encoder's batch norm and the normal features, too"),
)


def check_precision(precision: str) -> None:
    """Refuse precisions in which weights themselves have fewer or more bits.

    Args:
        precision: The trainer's precision.

    Raises:
        ValueError: If it is one of them.
    """
    if precision.endswith("-true") and precision != "32-true":
        raise ValueError(f"trainer.precision={precision} is not supported; use 32-true, bf16-mixed or 16-mixed")


def refuse_unsupported(trainer: Trainer) -> None:
    """Refuse what would fail late, or spoil the result without a word.

    Args:
        trainer: The trainer, which is about to fit.

    Raises:
        ValueError: If it has such a callback, or has trained before.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for kinds, reason in UNSUPPORTED:
            if isinstance(callback, kinds):
                raise ValueError(f"the callback {type(callback).__name__} is not supported: it {reason}; leave it out")
    if trainer.ckpt_path is None and trainer.global_step > 0:
        raise ValueError(
            f"this trainer has trained {trainer.global_step} steps before; make a new Engine for each training"
        )


def refuse_unknown_monitors(trainer: Trainer, model: LightningModule, metrics: Sequence[str], trains: bool) -> None:
    """Refuse callbacks that watch what nothing logs: they would fail late, or write no checkpoint.

    Args:
        trainer: The trainer, which is about to fit.
        model: The model.
        metrics: Names of the metrics that are computed on the validation set.
        trains: Whether SegNet is trained, and logs its losses.

    Raises:
        ValueError: If there is one. A user's own callbacks and models may log anything, and nothing is refused then.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    known = {"lightning", "anomalib", "anomalib_slsg"}
    if any(type(each).__module__.split(".")[0] not in known for each in (model, *callbacks)):
        return
    logged = [*(LOSSES if trains else ()), *(metrics if trainer.limit_val_batches != 0 else ())]
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor not in {None, "step", "epoch", *logged}:
            raise ValueError(
                f"{type(callback).__name__}: nothing logs monitor='{monitor}'; while training there are "
                f"{', '.join(logged) or 'no metrics'}. Give the metric to "
                "Slsg(evaluator=Evaluator(val_metrics=[...])), and validation data, or monitor one of these."
            )


def refuse_synchronised_norms(model: nn.Module) -> None:
    """Refuse batch norm that is synchronised between processes.

    Args:
        model: The model as the trainer has made it.

    Raises:
        ValueError: If it has such batch norm.
    """
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        raise ValueError(
            "trainer.sync_batchnorm is not supported: it drops the activations of EfficientNets; leave it out"
        )


def limit_training(trainer: Trainer, max_epochs: int | None, max_steps: int) -> None:
    """Set the length of the training after the trainer was made. Its loops read these limits at every step.

    Args:
        trainer: The trainer.
        max_epochs: Its number of epochs; -1 for no limit.
        max_steps: Its number of steps; -1 for no limit.
    """
    trainer.fit_loop.max_epochs = max_epochs
    trainer.fit_loop.epoch_loop.max_steps = max_steps


def is_unlimited(trainer: Trainer) -> bool:
    """Tell whether neither steps nor epochs are limited.

    Lightning has replaced a missing limit by 1,000 epochs before this is called, so 1,000 counts as no limit.

    Args:
        trainer: The trainer.
    """
    return trainer.max_steps == -1 and trainer.max_epochs in {LIGHTNING_DEFAULT_EPOCHS, -1, None}


def has_default_batch_size(datamodule: AnomalibDataModule) -> bool:
    """Tell whether a data module has its own default batch size.

    Whether the user has typed that very number cannot be told.

    Args:
        datamodule: The data module.
    """
    parameter = inspect.signature(type(datamodule)).parameters.get("train_batch_size")
    return parameter is not None and datamodule.train_batch_size == parameter.default


def needs_no_validation(trainer: Trainer, metrics: int) -> bool:
    """Tell whether nothing depends on validation while training: no metric, and nothing that monitors one.

    Args:
        trainer: The trainer.
        metrics: How many metrics are computed on the validation set.
    """
    monitored = any(getattr(each, "monitor", None) is not None for each in trainer.callbacks)  # type: ignore[attr-defined]
    # 1.0 means all batches; the integer 1, from the user or fast_dev_run, means one batch
    whole = isinstance(trainer.limit_val_batches, float) and trainer.limit_val_batches == 1.0
    every_epoch = trainer.check_val_every_n_epoch == 1 and getattr(trainer, "val_check_interval", None) == 1.0
    return metrics == 0 and not monitored and whole and every_epoch


def repetitions(trainer: Trainer, images: int, batch_size: int) -> int:
    """Choose how many times an epoch shows each image.

    Where the training's length is given in steps, epochs are only what checkpoints and progress bars follow: small
    training sets are repeated until an epoch has at least ``LEAST_STEPS`` steps.

    Args:
        trainer: The trainer, whose length is set.
        images: Number of training images.
        batch_size: Images of a step in each process.

    Returns:
        A whole number, 1 where epochs are counted.
    """
    counted = trainer.max_steps == -1 or trainer.max_epochs not in {-1, None}
    whole = isinstance(trainer.limit_train_batches, float) and trainer.limit_train_batches == 1.0
    if counted or not whole or images == 0:
        return 1
    wanted = min(LEAST_STEPS, trainer.max_steps) * batch_size * trainer.world_size
    return max(1, -(-wanted // images))
