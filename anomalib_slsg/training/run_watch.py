"""What follows each step of both phases: a diverged training ends, a signal stops it, its state is saved."""

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

logger = logging.getLogger(__name__)

PHASES = ("pretraining", "training")  # whose states are pretraining.ckpt and training.ckpt
SAVE_SECONDS = 300
SAVE, DIVERGED = 1, 1000  # what one process wants all to do; between them, signals


class RunWatch(Callback):
    """Keeps what was learnt, in one way for both phases.

    Every few minutes, and when the user (Ctrl-C) or the system (SIGTERM) stops the run, its state goes into a file
    beside the model's checkpoints, which the model's own replace at the end. A signal counts at the end of a step,
    when the state is consistent, and stops all processes after the same one; a second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._forget()

    def _forget(self) -> None:
        self._process, self._saved = os.getpid(), time.monotonic()
        self._signal = self._steps = 0
        self._finite = torch.tensor(True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier fit."""
        if stage == "fit":
            self._forget()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals. Within Lightning's own handler, processes wait for each other, which may be elsewhere."""
        if threading.current_thread() is threading.main_thread():
            # a program around this one may have handlers that Python does not know, and cannot put back
            known = [each for each in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(each) is not None]
            self._handlers = {each: signal.signal(each, self._on_signal) for each in known}

    def after_step(self, trainer: Trainer, losses: Iterable[Tensor], phase: str, save: bool = False) -> None:
        """Do what is due after a step; all processes call this together.

        Args:
            trainer: The trainer.
            losses: The step's losses.
            phase: One of ``PHASES``.
            save: Save the state in any case.

        Raises:
            FloatingPointError: If a loss is not finite. Processors are asked at once, other devices now and then.
            KeyboardInterrupt: If the user has pressed Ctrl-C.
            SIGTERMException: If the system has asked to stop.
        """
        self._steps += 1
        self._note(losses)
        several = trainer.world_size > 1
        log_every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        asks = several or trainer.strategy.root_device.type == "cpu" or self._steps % max(1, log_every) == 0
        due = save or time.monotonic() - self._saved > SAVE_SECONDS
        wish = DIVERGED if asks and not self._finite else self._signal or SAVE * due
        if several:
            mine = torch.tensor(wish, device=trainer.strategy.root_device)
            wish = int(cast("Tensor", trainer.strategy.reduce(mine, reduce_op="max")))
        if wish == DIVERGED:
            raise _diverged()
        if wish:
            self._save(trainer, phase)
        if wish == signal.SIGTERM:
            raise SIGTERMException
        if wish == signal.SIGINT:
            raise KeyboardInterrupt

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Do what is due, but for the end of an epoch, and for gradients that are being accumulated."""
        losses = [outputs["loss"]] if outputs else []
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches or _is_over(trainer):
            self._note(losses)
        else:
            self.after_step(trainer, losses, PHASES[1])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do what is due, but for the end of the training, which has its own checkpoint."""
        if not _is_over(trainer) and trainer.current_epoch + 1 != trainer.max_epochs:
            self.after_step(trainer, [], PHASES[1])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to write a diverged training, perhaps over a good one."""
        network: Any = pl_module.model
        if not self._finite or not all(each.isfinite().all() for each in network.state_dict().values()):
            raise _diverged()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the saved states, also that of the run which this one has continued: the model's checkpoint counts."""
        self._release()
        folder = _folder(trainer)
        if folder is None or not trainer.is_global_zero:
            return
        states = {f"{phase}.ckpt" for phase in PHASES}
        trained = [each for each in folder.glob("[!.]*.ckpt") if each.name not in states]
        if not trained:
            return  # what the user has written instead is not known
        _remove(folder, states)
        continued = Path(trainer.ckpt_path or "")
        is_of_a_sibling = continued.parents[3:4] == folder.parents[2:3]  # a copy elsewhere is the user's
        if continued.name in states and is_of_a_sibling:
            _remove(continued.parent, {continued.name})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop where a signal has come in the last step."""
        if self._signal:
            raise SIGTERMException if self._signal == signal.SIGTERM else KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say how to go on."""
        self._release()
        if isinstance(exception, SIGTERMException):
            exception.code = 128 + signal.SIGTERM
        if not isinstance(exception, KeyboardInterrupt | SIGTERMException) or not trainer.is_global_zero:
            return
        folder = _folder(trainer)
        files = [] if folder is None else list(folder.glob("[!.]*.ckpt"))
        if files:
            logger.warning("Stopped. It goes on with: %s", _command(max(files, key=lambda each: each.stat().st_mtime)))

    def _note(self, losses: Iterable[Tensor]) -> None:
        for loss in losses:
            self._finite = self._finite.to(loss.device) & loss.detach().isfinite().all()

    def _save(self, trainer: Trainer, phase: str) -> None:
        if (folder := _folder(trainer)) is not None:
            trainer.save_checkpoint(folder / f"{phase}.ckpt")
            if phase == PHASES[1] and trainer.is_global_zero:
                _remove(folder, {f"{PHASES[0]}.ckpt"})
        self._saved = time.monotonic()

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, handler)
        self._handlers, self._finite = {}, torch.tensor(True)  # models are copied with their callbacks

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a process that reads images, which ends with its parent
        if number == signal.SIGINT and (self._signal or not self._steps):
            raise KeyboardInterrupt
        self._signal = number
        logger.warning("Stopping after this step.")


def _diverged() -> FloatingPointError:
    return FloatingPointError(
        "the training has diverged, its loss or its weights are not finite; lower model.optimizer.learning_rate, "
        "model.pretraining.generator_learning_rate or the weights of model.loss. Older checkpoints are as they were."
    )


def _folder(trainer: Trainer) -> Path | None:
    """Where states are saved; nowhere in trials and without checkpoints."""
    folder = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(folder) if folder and not trainer.fast_dev_run else None  # type: ignore[attr-defined]


def _is_over(trainer: Trainer) -> bool:
    return trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps


def _remove(folder: Path, names: set[str]) -> None:
    """Remove states, and what killed processes have left of files that they were writing."""
    for path in [*(folder / name for name in names), *folder.glob(".*.[0-9]*.ckpt")]:
        path.unlink(missing_ok=True)


def _command(file: Path) -> str:
    program, *arguments = sys.argv
    going_on = {"anomalib": "fit", "slsg": "train"}.get(Path(program).stem)
    if going_on and arguments:
        return shlex.join([Path(program).stem, going_on, *arguments[1:], "--ckpt_path", str(file)])
    return f"engine.fit(model, datamodule=datamodule, ckpt_path={str(file)!r})"
