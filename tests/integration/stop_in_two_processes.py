"""Script of test_ranks: trains in two processes, of which one or both get a signal in a phase, if one is named."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger

from anomalib_slsg.pretraining.options import PretrainingOptions
from tests.support.models import NO_NORMALITY, tiny_slsg, weights_of
from tests.support.training import drawn_parts, quiet_engine
from tests.support.watching import PretrainingSteps


class SegNetSteps(Callback):
    """Does something within SegNet's second step."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def on_before_optimizer_step(self, trainer: object, pl_module: object, optimizer: object) -> None:
        if trainer.global_step == 1:
            self.action()


def main(tree: Path, results: Path, phase: str, name: str, rank: int, checkpoint: str | None = None) -> None:
    """Fit a tiny model; write its weights into ``weights.pt``. ``rank`` is that of the process, 2 for both."""
    model = tiny_slsg(normality=NO_NORMALITY, pretraining=PretrainingOptions(epochs=2, batch_size=2))

    def act() -> None:
        if rank in {int(os.environ.get("LOCAL_RANK", "0")), 2}:
            signal.raise_signal(signal.Signals[name])

    logger = PretrainingSteps(3, act) if phase == "pretraining" else DummyLogger()
    callbacks = [SegNetSteps(act)] if phase == "training" else []
    limits = {"max_steps": 4, "devices": 2, "strategy": "ddp", "log_every_n_steps": 1}
    engine = quiet_engine(results, logger=logger, callbacks=callbacks, **limits)
    engine.fit(model, datamodule=drawn_parts(tree, mask_dir=None, train_batch_size=2), ckpt_path=checkpoint)
    if engine.trainer.is_global_zero:
        torch.save(weights_of(model.model), results / "weights.pt")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), sys.argv[3], sys.argv[4], int(sys.argv[5]), *sys.argv[6:])
