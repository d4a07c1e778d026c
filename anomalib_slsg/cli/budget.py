"""A training that ends in time."""

import dataclasses
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from anomalib_slsg.data.training_images import kept_for_calibration
from anomalib_slsg.lightning_model import Slsg
from anomalib_slsg.options import plain
from anomalib_slsg.report.photographs import MOST
from anomalib_slsg.training.schedule import limit_training

TIMED = 4  # steps; the first, which starts everything up, is not among them
LEAST_ITERATIONS = 100  # of SegNet; fewer teach it too little to be asked
SLACK = 1.1  # steps are slower where the machine has other work
WRITING = 0.05  # seconds for the pictures of a test image
LOOKING = 0.03  # seconds for the report's look at a training image
CLOSING = 5.0  # seconds for files


class TimeBudget(Callback):
    """Measures the first steps, and sets the length of the training by them. Normality has been fitted by then.

    Args:
        deadline: When everything is to be over, on the clock ``time.monotonic``.
        tests: How many images are judged afterwards.

    Attributes:
        iterations: How many there are; 0 if SegNet is left out.
    """

    def __init__(self, deadline: float, tests: int) -> None:
        self._deadline, self._tests = deadline, tests
        self._ends: list[float] = []
        self.iterations = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, and decide after a few steps."""
        assert isinstance(pl_module, Slsg)
        self._ends.append(time.monotonic())
        if len(self._ends) != TIMED + 1:
            return
        a_step = SLACK * (self._ends[-1] - self._ends[0]) / TIMED
        an_image = self._time_of_image(pl_module, batch)
        normal = len(trainer.datamodule.train_data)  # type: ignore[attr-defined]
        kept = len(kept_for_calibration(normal))
        every_step = a_step + an_image * kept / max(1, int(trainer.num_training_batches))  # calibrated in each epoch
        afterwards = CLOSING + LOOKING * min(MOST, normal) + self._tests * (an_image + WRITING)
        left = self._deadline - time.monotonic() - afterwards
        iterations = min(trainer.max_steps, trainer.global_step + max(0, int(left / every_step)))
        if iterations >= LEAST_ITERATIONS:
            self.iterations = iterations
            limit_training(trainer, -1, iterations)
            trainer.strategy.setup_optimizers(trainer)  # the learning rate falls over this length
        else:
            leave_out_segnet(pl_module)
            limit_training(trainer, -1, trainer.global_step)

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
