"""What fitting changes about the user's trainer, data module and process, and gives back."""

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer

from anomalib_slsg.data.training_images import stand_down, stand_in
from anomalib_slsg.memory import keep_freed_memory, return_freed_memory
from anomalib_slsg.schedule import (
    follow_paper_schedule,
    skip_idle_validation,
    use_paper_batch_size,
    warn_of_former_training,
)

if TYPE_CHECKING:
    from anomalib_slsg.lightning_model import Slsg

logger = logging.getLogger(__name__)


class FitSettings(Callback):
    """Makes what the paper wants of trainer and data module the default, and undoes it, however fitting ends.

    Lightning tears models down only after success; a notebook whose user stops a cell goes on with the same objects.
    """

    def __init__(self) -> None:
        self._undo = ExitStack()

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

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give back after success."""
        del trainer, pl_module, stage
        self._undo.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give back after an error or an interruption."""
        del trainer, pl_module, exception
        self._undo.close()
