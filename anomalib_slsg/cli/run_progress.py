"""The progress of SegNet's training as one bar, in place of the trainer's bar for each epoch."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import Progress, TaskID

from anomalib_slsg.cli.budget import TimeBudget
from anomalib_slsg.utils.progress import progress_bar


class RunProgress(ProgressBar):
    """Shows how many iterations are done, and the time that is left for all of them.

    Args:
        budget: Decides how many there are, if they are chosen by time.
    """

    is_enabled = True  # bars within the training ask for it

    def __init__(self, budget: TimeBudget | None) -> None:
        super().__init__()
        self._budget = budget
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Show the bar, once the pre-training's is gone."""
        if self._bar is None:
            self._bar = progress_bar(transient=True)
            self._task = self._bar.add_task("Training SegNet", total=None, completed=trainer.global_step)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move it."""
        assert self._bar is not None
        if self._budget is None or self._budget.iterations:
            self._bar.update(self._task, total=trainer.max_steps)
        self._bar.update(self._task, completed=trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove it."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove it."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
