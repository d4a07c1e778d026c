"""Schedule: the paper's where the user gives none, the user's otherwise."""

from pathlib import Path
from typing import Any

import pytest
from anomalib.data import Folder, MVTecLOCO
from anomalib.metrics import AUROC, Evaluator
from anomalib.post_processing import PostProcessor
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)

from anomalib_slsg import Slsg
from anomalib_slsg.training.schedule import follow_paper_schedule, skip_idle_validation, use_paper_batch_size
from tests.support.models import tiny_slsg
from tests.support.training import quiet_trainer


def _model(**options: Any) -> Slsg:
    return tiny_slsg(iterations=77, **options)


@pytest.fixture(scope="module")
def model() -> Slsg:
    return _model()


@pytest.mark.parametrize("options", [{}, {"max_epochs": -1}], ids=["nothing said", "no limit asked for"])
def test_untold_trainer_follows_the_paper(model: Slsg, options: dict) -> None:
    trainer = quiet_trainer(**options)
    follow_paper_schedule(trainer, model)
    assert trainer.max_steps == 77
    assert trainer.max_epochs == -1


@pytest.mark.parametrize(
    ("options", "steps", "epochs"),
    [
        ({"max_steps": 5}, 5, None),
        ({"max_epochs": 3}, -1, 3),
        ({"max_steps": 5, "max_epochs": 3}, 5, 3),
        ({"max_steps": 9000}, 9000, None),
        ({"fast_dev_run": True}, 1, 1),
        ({"fast_dev_run": 3}, 3, 1),
    ],
    ids=str,
)
def test_users_limits_win(model: Slsg, options: dict, steps: int, epochs: int | None) -> None:
    trainer = quiet_trainer(**options)
    follow_paper_schedule(trainer, model)
    assert trainer.max_steps == steps
    assert trainer.max_epochs == epochs


def test_validation_that_nobody_reads_is_skipped(model: Slsg) -> None:
    trainer = quiet_trainer()
    assert skip_idle_validation(trainer, model)
    assert trainer.limit_val_batches == 0


@pytest.mark.parametrize("limit", [0.5, 2, 1, 0.0], ids=repr)
def test_users_validation_limit_wins(model: Slsg, limit: float) -> None:
    """The whole number 1 asks for one batch; only the default, 1.0, stands for all of them."""
    trainer = quiet_trainer(limit_val_batches=limit)
    assert not skip_idle_validation(trainer, model)
    assert trainer.limit_val_batches == limit


@pytest.mark.parametrize(
    "options",
    [
        {"post_processor": PostProcessor()},
        {"post_processor": PostProcessor(enable_normalization=False)},
        {"evaluator": Evaluator(val_metrics=[AUROC(fields=["pred_score", "gt_label"])])},
    ],
    ids=["normalisation", "thresholds", "metric"],
)
def test_validation_that_somebody_reads_stays(options: dict) -> None:
    trainer = quiet_trainer()
    assert not skip_idle_validation(trainer, _model(**options))
    assert trainer.limit_val_batches == 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"check_val_every_n_epoch": 20},
        {"check_val_every_n_epoch": None, "val_check_interval": 100},
        {"val_check_interval": 0.5},
        {"val_check_interval": "00:01:00:00"},
        {"callbacks": [ModelCheckpoint(save_on_train_epoch_end=False)]},
        {"callbacks": [EarlyStopping("train_loss", check_on_train_epoch_end=False)]},
    ],
    ids=["every 20 epochs", "every 100 steps", "twice an epoch", "every hour", "checkpoints", "early stopping"],
)
def test_validation_that_callbacks_wait_for_stays(model: Slsg, options: dict, tmp_path: Path) -> None:
    """Checkpoints would never be written, nor training stopped early."""
    trainer = quiet_trainer(enable_checkpointing=True, default_root_dir=tmp_path, **options)
    assert not skip_idle_validation(trainer, model)
    assert trainer.limit_val_batches == 1.0


def _name(callback: Callback) -> str:
    return type(callback).__name__


class Watching(Callback):
    def on_validation_batch_end(self, *args: Any) -> None:
        """Look at what was found."""


class WatchingBar(TQDMProgressBar):
    def on_validation_epoch_end(self, *args: Any) -> None:
        """Look at what was found."""


class Bar(TQDMProgressBar):
    """Whose hooks of validation are Lightning's."""


class Validating(Slsg):
    def validation_step(self, *args: Any, **kwargs: Any) -> None:
        """Log what early stopping waits for."""


def test_validation_of_a_user_s_own_kind_of_model_stays() -> None:
    model, trainer = tiny_slsg(of=Validating), quiet_trainer()
    assert not skip_idle_validation(trainer, model)
    assert trainer.limit_val_batches == 1.0


@pytest.mark.parametrize("callback", [Watching(), WatchingBar()], ids=_name)
def test_validation_that_a_user_s_callback_looks_at_stays(model: Slsg, callback: Callback) -> None:
    trainer = quiet_trainer(enable_progress_bar=True, callbacks=[callback])
    assert not skip_idle_validation(trainer, model)
    assert trainer.limit_val_batches == 1.0


@pytest.mark.parametrize("callback", [Bar(), RichProgressBar(), ModelCheckpoint(), LearningRateMonitor()], ids=_name)
def test_validation_that_nobody_but_lightning_looks_at_is_skipped(
    model: Slsg, callback: Callback, tmp_path: Path
) -> None:
    shown = {"enable_checkpointing": True, "enable_progress_bar": True}
    trainer = quiet_trainer(default_root_dir=tmp_path, callbacks=[callback], **shown)
    assert skip_idle_validation(trainer, model)


def test_default_batch_size_becomes_the_papers(tmp_path: Path) -> None:
    for datamodule in (Folder("parts", normal_dir="good", root=tmp_path), MVTecLOCO(tmp_path)):
        default = datamodule.eval_batch_size
        default_training = datamodule.train_batch_size
        assert use_paper_batch_size(datamodule, 4) == default_training
        assert datamodule.train_batch_size == 4
        assert datamodule.eval_batch_size == default


def test_users_batch_size_wins(tmp_path: Path) -> None:
    datamodule = Folder("parts", normal_dir="good", root=tmp_path, train_batch_size=7)
    assert use_paper_batch_size(datamodule, 4) is None
    assert datamodule.train_batch_size == 7


@pytest.mark.parametrize("datamodule", [None, object()], ids=["loaders alone", "foreign data module"])
def test_other_data_is_left_alone(datamodule: object) -> None:
    assert use_paper_batch_size(datamodule, 4) is None
