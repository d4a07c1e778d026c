"""The paper's schedule, where the user gives none."""

import inspect
import logging
from typing import TYPE_CHECKING, Any

from anomalib.data import AnomalibDataModule
from anomalib.post_processing import PostProcessor
from lightning.pytorch import Trainer

from anomalib_slsg.processing.post_processing import ProbabilityPostProcessor

if TYPE_CHECKING:
    from anomalib_slsg.lightning_model import Slsg

logger = logging.getLogger(__name__)

LIGHTNING_DEFAULT_EPOCHS = 1000
LIBRARIES = ("lightning", "pytorch_lightning", "anomalib", "anomalib_slsg")


def use_paper_batch_size(datamodule: Any, batch_size: int) -> int | None:
    """Give the data module the paper's batch size if it still has its own default.

    Whether the user has typed that very number cannot be told.

    Args:
        datamodule: The trainer's data module; nothing happens if it is not one of anomalib's.
        batch_size: Normal images per step.

    Returns:
        The batch size that it had, if it was changed.
    """
    if not isinstance(datamodule, AnomalibDataModule):
        return None
    parameter = inspect.signature(type(datamodule)).parameters.get("train_batch_size")
    before = datamodule.train_batch_size
    if parameter is None or not before == parameter.default != batch_size:
        return None
    logger.info(
        "Training with %d normal images a step instead of %s's default of %d; set data.train_batch_size to "
        "another value, or model.train_batch_size to any, to change it.",
        batch_size,
        datamodule.name,
        before,
    )
    datamodule.train_batch_size = batch_size
    return before


def follow_paper_schedule(trainer: Trainer, model: "Slsg") -> None:
    """Train for ``model.iterations`` steps if neither steps nor epochs are limited.

    Lightning turns "no limit given" into 1,000 epochs before models are asked; that number is taken for it.

    Args:
        trainer: The trainer.
        model: The model, with ``iterations``.
    """
    unlimited = trainer.max_steps == -1 and trainer.max_epochs in {LIGHTNING_DEFAULT_EPOCHS, -1, None}
    if unlimited:
        logger.info(
            "Training for %d iterations; --trainer.max_steps or --trainer.max_epochs changes it.", model.iterations
        )
        trainer.fit_loop.max_epochs = -1
        trainer.fit_loop.epoch_loop.max_steps = model.iterations


def warn_of_former_training(trainer: Trainer) -> None:
    """Say so if a trainer goes on counting where another training ended, so that little or nothing is left to do.

    Args:
        trainer: The trainer, which starts from no checkpoint.
    """
    epochs = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    counts = (trainer.global_step, trainer.max_steps, "steps"), (epochs, trainer.max_epochs or -1, "epochs")
    limited = [(done, limit, unit) for done, limit, unit in counts if limit > 0]
    done, limit, unit = max(limited, key=lambda count: count[0] / count[1], default=(0, 0, ""))
    if done == 0:
        return
    consequence = "Nothing is trained" if done >= limit else f"Only {limit - done} {unit} are trained"
    logger.warning(
        "%s: this trainer has done %d of its %d %s before. Make a new engine, or trainer, for another training.",
        consequence,
        done,
        limit,
        unit,
    )


def skip_idle_validation(trainer: Trainer, model: "Slsg") -> bool:
    """Turn validation off when neither a metric nor the post-processor learns from it, and nothing else waits for it.

    Where validation comes at other times than after each epoch, Lightning has checkpoints and early stopping wait for
    it, and so do callbacks that the user has told to. A user's callbacks with hooks of validation, and hooks of classes
    made from :class:`Slsg`, are called.

    Args:
        trainer: The trainer.
        model: The model.

    Returns:
        True if validation was turned off.
    """
    post_processor = model.post_processor
    learns = isinstance(post_processor, PostProcessor) and not isinstance(post_processor, ProbabilityPostProcessor)
    measures = len(getattr(model.evaluator, "val_metrics", ())) > 0
    # the whole number 1 is the user's, or fast_dev_run's, and means one batch
    untouched = isinstance(trainer.limit_val_batches, float) and trainer.limit_val_batches == 1.0
    watched = any(map(_watches, [model, *trainer.callbacks]))  # type: ignore[attr-defined]
    if learns or measures or not untouched or watched or _is_waited_for(trainer):
        return False
    logger.info("Validation while training is skipped: no metric or threshold depends on it.")
    trainer.limit_val_batches = 0
    return True


def _is_waited_for(trainer: Trainer) -> bool:
    # there is no interval in epochs where it is one of time
    if trainer.check_val_every_n_epoch != 1 or getattr(trainer, "val_check_interval", None) != 1.0:
        return True
    after_epochs = [
        getattr(callback, name, None)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        for name in ("_save_on_train_epoch_end", "_check_on_train_epoch_end")
    ]
    return any(each is False for each in after_epochs)


def _watches(model_or_callback: object) -> bool:
    """Whether it has a hook of validation that is neither Lightning's nor anomalib's."""
    return any(
        name.startswith(("on_validation", "validation_step")) and kind.__module__.partition(".")[0] not in LIBRARIES
        for kind in type(model_or_callback).__mro__
        for name in vars(kind)
    )
