"""A training of SegNet that goes on from any of its steps is the same training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from anomalib.metrics import AUROC, Evaluator
from lightning.pytorch import Callback
from torch import Tensor

from tests.support.models import NO_NORMALITY, NO_PRETRAINING, weights_of

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

pytestmark = pytest.mark.slow


class Checkpoints(Callback):
    """Writes one after each step, each validation and each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trainer: Any, moment: str) -> None:
        trainer.save_checkpoint(self.folder / f"{moment}_{trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch:
            self.save(trainer, "step")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.save(trainer, "epoch")


@pytest.mark.parametrize(
    ("arguments", "workers", "validates"),
    [
        ({"max_epochs": 2}, 0, True),
        ({"max_epochs": 2}, 2, False),
        ({"max_steps": 3, "limit_train_batches": 2}, 0, False),
        ({"max_steps": 3, "limit_train_batches": 0.7}, 0, True),
        ({"max_steps": 4, "limit_train_batches": 3, "accumulate_grad_batches": 2}, 0, False),
        ({"max_steps": 3}, 2, False),
    ],
    ids=str,
)
def test_a_training_goes_on_from_any_step_as_the_same(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    arguments: dict[str, Any],
    workers: int,
    validates: bool,
) -> None:
    """Eight images in batches of three: epochs end with a smaller one."""

    def fit(seed: int, callbacks: list[Callback], checkpoint: Path | None = None) -> tuple[dict[str, Tensor], int]:
        metrics = [AUROC(fields=["pred_score", "gt_label"], prefix="image_")] if validates else []
        options = {"pretraining": NO_PRETRAINING, "normality": NO_NORMALITY, "evaluator": Evaluator(metrics)}
        model = make_model(seed=seed, **options)
        engine = make_engine(tmp_path, callbacks=callbacks, logger=False, **arguments)
        engine.fit(model, make_folder(num_workers=workers, train_batch_size=3), ckpt_path=checkpoint)
        return weights_of(model.model), engine.trainer.global_step

    folder = tmp_path / "checkpoints"
    expected, steps = fit(1, [Checkpoints(folder)])
    files = sorted(folder.iterdir())
    assert len(files) > steps
    for file in files:
        weights, last = fit(9, [], file)  # another seed, as in a new process
        assert last == steps
        differing = [name for name, tensor in expected.items() if not torch.equal(tensor, weights[name])]
        assert differing == [], file.name
