"""Sets trainer and data module up for the paper's training, and restores them afterwards."""

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from anomalib.data import AnomalibDataModule
from lightning.pytorch import Callback, LightningModule, Trainer

from anomalib_slsg.data.training_images import kept_for_calibration, stand_in
from anomalib_slsg.data.training_order import TrainingOrder
from anomalib_slsg.processing.post_processing import ProbabilityPostProcessor
from anomalib_slsg.training.checkpoint_io import keep_checkpoints_whole
from anomalib_slsg.training.loading import attached_trainer
from anomalib_slsg.training.optimizer import OptimizerOptions
from anomalib_slsg.training.run_folder import share_run_folder, update_latest
from anomalib_slsg.training.schedule import (
    has_default_batch_size,
    is_unlimited,
    limit_training,
    needs_no_validation,
    refuse_unknown_monitors,
    refuse_unsupported,
    repetitions,
)
from anomalib_slsg.utils.files import write_text
from anomalib_slsg.utils.seeding import stream

logger = logging.getLogger(__name__)

CARD = "calibration.json"
FIT_KEY = "slsg_fit"  # in checkpoints
ORDER_STREAM = 102  # of SegNet's batches, apart from the streams of pre-training and simulation


class FitSettings(Callback):
    """Applies the paper's settings where the user gave none, and restores the user's own when fitting ends.

    Also after errors and interrupts: in a notebook the same objects are used again, and Lightning calls ``teardown``
    only after success.

    Args:
        options: The length of the training, and its batch size, where the user gives none.
        seed: Seed of the fit; that of PyTorch's generator in the first process if left out.
        calibrates: Whether images are kept from training for calibration.
        begin: Does what comes before the pre-training, once the trainer has its images.
        free_images: Frees the memory of the training images.
    """

    def __init__(
        self,
        options: OptimizerOptions,
        seed: int | None,
        calibrates: bool,
        begin: Callable[[], None],
        free_images: Callable[[], None],
    ) -> None:
        self._options, self._given_seed, self._calibrates = options, seed, calibrates
        self._begin, self._free_images = begin, free_images
        self._undo = ExitStack()
        self.seed = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Change what the user has left open."""
        if stage == "fit":
            refuse_unsupported(trainer)
            share_run_folder(trainer)
        keep_checkpoints_whole(trainer)
        if stage != "fit":
            return
        self._undo.callback(self._free_images)
        given = torch.initial_seed() if self._given_seed is None else self._given_seed
        self.seed = trainer.strategy.broadcast(given)
        self._set_length(trainer)
        datamodule = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, AnomalibDataModule):
            self._set_data(trainer, datamodule)
        elif self._calibrates:
            logger.warning(
                "calibration is left out: images can be kept from training with one of anomalib's data modules only."
            )
        model: Any = pl_module
        learns = not isinstance(model.post_processor, ProbabilityPostProcessor | None)
        metrics = [each.name for each in getattr(model.evaluator, "val_metrics", ())]
        refuse_unknown_monitors(trainer, pl_module, metrics, model.model.segments)
        if not learns and needs_no_validation(trainer, len(metrics)):
            logger.info("Validation while training is skipped: no metric or threshold depends on it.")
            self._undo.callback(setattr, trainer, "limit_val_batches", trainer.limit_val_batches)
            trainer.limit_val_batches = 0

    def restart(self, model: LightningModule, options: OptimizerOptions, seed: int | None, calibrates: bool) -> None:
        """Take a checkpoint's options, which are known only after ``setup``.

        Args:
            model: The model that loads it.
            options: As for the constructor.
            seed: As for the constructor.
            calibrates: As for the constructor.
        """
        self._options, self._given_seed, self._calibrates = options, seed, calibrates
        trainer = attached_trainer(model)
        if trainer is not None and trainer.training:
            self._undo.close()
            self.setup(trainer, model, "fit")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note the seed."""
        checkpoint[FIT_KEY] = {"seed": self.seed}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over the seed of the training that goes on."""
        self.seed = checkpoint.get(FIT_KEY, {}).get("seed", self.seed)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin: the pre-training is a callback that stands behind this one."""
        if trainer.fit_loop.restarted_on_epoch_end:
            # Lightning would add another batch, or none, to the epoch whose end the checkpoint was written at
            trainer.fit_loop.epoch_loop.restarting = False
            trainer.fit_loop.reset_restart_stage()
        self._begin()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what the calibration promises, and write its card beside the checkpoints."""
        calibration = cast("Any", pl_module).model.calibration
        if not calibration.fitted or not trainer.is_global_zero:
            return
        logger.info(calibration.sentence())
        if folder := getattr(trainer.checkpoint_callback, "dirpath", None):
            card = json.dumps(calibration.card(), indent=2)
            write_text(Path(folder) / CARD, card)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give back after success."""
        self._undo.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give back after an error or an interruption."""
        update_latest(Path(trainer.default_root_dir))  # also where the data's own setup, which comes first, has failed
        self._undo.close()

    def _set_length(self, trainer: Trainer) -> None:
        self._undo.callback(limit_training, trainer, trainer.max_epochs, trainer.max_steps)
        steps = self._options.iterations
        if steps == 0:
            limit_training(trainer, -1, 1)  # nothing is trained, but Lightning calls its hooks and writes checkpoints
        elif is_unlimited(trainer):
            logger.info("Training for %d iterations; trainer.max_steps or trainer.max_epochs changes it.", steps)
            limit_training(trainer, -1, steps)

    def _set_data(self, trainer: Trainer, datamodule: AnomalibDataModule) -> None:
        if has_default_batch_size(datamodule) and datamodule.train_batch_size != self._options.batch_size:
            logger.info(
                "Training with %d normal images a step; model.optimizer.batch_size, data.train_batch_size change it.",
                self._options.batch_size,
            )
            self._undo.callback(setattr, datamodule, "train_batch_size", datamodule.train_batch_size)
            datamodule.train_batch_size = self._options.batch_size
        number = len(datamodule.train_data)
        kept = kept_for_calibration(number) if self._calibrates else ()
        if self._calibrates and not kept:
            logger.info("None of %d images is kept for calibration, so no rate of false alarms is promised.", number)
        repeat = repetitions(trainer, number - len(kept), datamodule.train_batch_size)
        make_order = partial(
            TrainingOrder,
            seed=lambda: stream(self.seed, ORDER_STREAM),  # a checkpoint that is loaded later brings its own
            batches_done=lambda: trainer.fit_loop.total_batch_idx + 1,
            limit=trainer.limit_train_batches,
            processes=trainer.world_size,
            process=trainer.global_rank,
        )
        self._undo.enter_context(stand_in(datamodule, repeat, make_order, kept))
