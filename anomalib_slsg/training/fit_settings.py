"""What fitting changes about the user's trainer, data module and process, and gives back."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from anomalib_slsg.data.training_images import TrainingImages, stand_down, stand_in
from anomalib_slsg.memory import keep_freed_memory, return_freed_memory
from anomalib_slsg.training.schedule import (
    follow_paper_schedule,
    skip_idle_validation,
    use_paper_batch_size,
    warn_of_former_training,
)

if TYPE_CHECKING:
    from anomalib_slsg.lightning_model import Slsg

logger = logging.getLogger(__name__)

STEPS_BETWEEN_CHECKPOINTS = 50  # epochs of few images are shorter, and writing takes longer than they do


class FitSettings(Callback):
    """Makes what the paper wants of trainer and data module the default, and undoes it, however fitting ends.

    Lightning tears models down only after success; a notebook whose user stops a cell goes on with the same objects.
    """

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._checkpoints: ModelCheckpoint | None = None
        self._saved = self._left_out = 0  # steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Change what the user has left open."""
        # anomalib's engine keeps its callbacks for the next model, of whatever kind
        if stage != "fit" or not hasattr(pl_module, "free_images"):
            return
        model: Slsg = pl_module  # type: ignore[assignment]
        datamodule = getattr(trainer, "datamodule", None)
        if trainer.strategy.root_device.type == "cpu" and keep_freed_memory():
            # kept while another model works in this process, as PatchCore does, it fragments and grows
            self._undo.callback(return_freed_memory)
            logger.info("Freed memory stays with this process while it fits, which saves clearing it at every step.")
        self._undo.callback(model.free_images)
        stand_in(datamodule)
        self._undo.callback(stand_down, datamodule)
        if (batch_size := use_paper_batch_size(datamodule, model.train_batch_size)) is not None:
            self._undo.callback(setattr, datamodule, "train_batch_size", batch_size)
        if skip_idle_validation(trainer, model):
            self._undo.callback(setattr, trainer, "limit_val_batches", 1.0)
        limits = trainer.fit_loop.max_epochs, trainer.fit_loop.epoch_loop.max_steps
        self._undo.callback(setattr, trainer.fit_loop, "max_epochs", limits[0])
        self._undo.callback(setattr, trainer.fit_loop.epoch_loop, "max_steps", limits[1])
        follow_paper_schedule(trainer, model)
        if trainer.ckpt_path is None:
            warn_of_former_training(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let workers rest, and take over when the engine's checkpoints are written; a user's are as the user says."""
        if not hasattr(pl_module, "free_images"):
            return
        loader: Any = trainer.train_dataloader
        images = getattr(loader, "dataset", None)
        if isinstance(images, TrainingImages) and images.images is not None:
            # processes would be started anew at every epoch, of which few images make hundreds
            self._undo.callback(setattr, loader, "num_workers", loader.num_workers)
            loader.num_workers = 0
        checkpoints = trainer.checkpoint_callback
        if isinstance(checkpoints, ModelCheckpoint) and _is_the_engines(checkpoints):
            self._checkpoints = checkpoints
            # what this fit starts from is there; a longer one of the same engine may have saved a later step
            self._saved = self._left_out = checkpoints._last_global_step_saved = trainer.global_step
            self._undo.callback(self._give_checkpoints_back)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out checkpoints, which would follow at once."""
        self._save_seldom(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out checkpoints, which would follow at once."""
        self._save_seldom(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is newer than the last checkpoint, if the training ended unforeseen."""
        if self._checkpoints is not None:
            checkpoints = self._checkpoints
            self._give_checkpoints_back()
            # it saves in one of the two, and not twice
            checkpoints.on_train_epoch_end(trainer, pl_module)
            checkpoints.on_validation_end(trainer, pl_module)

    def _save_seldom(self, trainer: Trainer) -> None:
        if self._checkpoints is None or trainer.state.fn != TrainerFn.FITTING:
            return
        # asked twice at an epoch's end, after validation and after all: it knows itself in which of the two it saves
        if self._checkpoints._last_global_step_saved != self._left_out:
            self._saved = self._checkpoints._last_global_step_saved
        if trainer.global_step - self._saved < STEPS_BETWEEN_CHECKPOINTS and not _is_last_epoch(trainer):
            # what counts as saved is not saved again; its options are part of its state's name
            self._left_out = self._checkpoints._last_global_step_saved = trainer.global_step

    def _give_checkpoints_back(self) -> None:
        if self._checkpoints is not None:
            if self._checkpoints._last_global_step_saved == self._left_out:
                self._checkpoints._last_global_step_saved = self._saved
            self._checkpoints = None

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give back after success."""
        del trainer, pl_module, stage
        self._undo.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give back after an error or an interruption."""
        del trainer, pl_module, exception
        self._undo.close()


def _is_the_engines(checkpoints: ModelCheckpoint) -> bool:
    """Whether the newest state is kept in one file, written after each epoch, as anomalib's engine has it."""
    said = checkpoints.filename, checkpoints.monitor, checkpoints.save_top_k, checkpoints.save_last
    folder = Path(checkpoints.dirpath or "").parts[-2:]  # above it other processes may have other names
    return (*said, checkpoints.every_n_epochs, folder) == ("model", None, 1, None, 1, ("weights", "lightning"))


def _is_last_epoch(trainer: Trainer) -> bool:
    counts = (trainer.global_step, trainer.max_steps), (trainer.current_epoch + 1, trainer.max_epochs or -1)
    return trainer.should_stop or any(0 < limit <= count for count, limit in counts)
