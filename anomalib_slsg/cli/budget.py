"""A training that ends in time."""

import dataclasses
import time
from collections import deque
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from anomalib_slsg.data.training_images import kept_for_calibration
from anomalib_slsg.lightning_model import Slsg
from anomalib_slsg.options import plain
from anomalib_slsg.report.photographs import MOST
from anomalib_slsg.training.optimizer import half_cosine
from anomalib_slsg.training.schedule import limit_training

TIMED = 4  # steps, before the length is first planned; the one that starts everything up is not among them
REMEMBERED = 50  # steps whose time counts: the machine may get other work, or be rid of it
LEAST_ITERATIONS = 100  # of SegNet; fewer teach it too little to be asked
WRITING = 0.05  # seconds for the pictures of a test image
LOOKING = 0.03  # seconds for the report's look at a training image
CLOSING = 5.0  # seconds for files


class TimeBudget(Callback):
    """Plans the length of SegNet's training by the time that its steps take, anew after each of them.

    Normality has been fitted by then. The learning rate falls to zero over the length that is planned. Where normality
    judges nothing, SegNet gets ``LEAST_ITERATIONS`` even if that takes longer.

    Args:
        deadline: When everything is to be over, on the clock ``time.monotonic``.
        tests: How many images are judged afterwards.

    Attributes:
        iterations: How many are planned in the end; 0 if SegNet is left out, or nothing is planned yet.
    """

    def __init__(self, deadline: float, tests: int) -> None:
        self._deadline, self._tests = deadline, tests
        self._ends: deque[float] = deque(maxlen=REMEMBERED + 1)
        self._after_an_epoch = self._afterwards = 0.0
        self._most = 0
        self.iterations = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, and plan after a few steps."""
        assert isinstance(pl_module, Slsg)
        self._ends.append(time.monotonic())
        timed = len(self._ends) - 1
        if timed < TIMED:
            return
        if not self.iterations:
            an_image = self._time_of_image(pl_module, batch)
            normal = len(trainer.datamodule.train_data)  # type: ignore[attr-defined]
            self._after_an_epoch = an_image * len(kept_for_calibration(normal))
            self._afterwards = CLOSING + LOOKING * min(MOST, normal) + self._tests * (an_image + WRITING)
            self._most = trainer.max_steps
        a_step = (self._ends[-1] - self._ends[0]) / timed + self._after_an_epoch / max(1, trainer.num_training_batches)
        left = max(0.0, self._deadline - time.monotonic() - self._afterwards)
        iterations = min(self._most, trainer.global_step + int(left / a_step))
        if pl_module.model.normality is None or not pl_module.model.normality.fitted:
            iterations = max(iterations, LEAST_ITERATIONS)  # nothing else would judge images
        if iterations < LEAST_ITERATIONS:
            leave_out_segnet(pl_module)
            iterations = trainer.global_step
            self.iterations = 0
        else:
            self.iterations = iterations
        limit_training(trainer, -1, iterations)
        for each in trainer.lr_scheduler_configs:
            each.scheduler.lr_lambdas = [half_cosine(iterations)]  # type: ignore[union-attr]

    def _time_of_image(self, model: Slsg, batch: Any) -> float:
        model.model.eval()
        start = time.monotonic()
        model(batch.image)
        seconds = (time.monotonic() - start) / len(batch.image)
        model.on_train_epoch_start()  # back to training
        return seconds


def leave_out_segnet(model: Slsg) -> None:
    """Let normality judge alone, also in checkpoints, as where ``optimizer.iterations`` is 0 from the start."""
    model.model.segments = False
    nothing = dataclasses.replace(model.options.optimizer, iterations=0)
    model.save_hyperparameters({**model.hparams, "optimizer": plain(nothing)})
