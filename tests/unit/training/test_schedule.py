"""Schedule: the paper's where the user gives none, the user's otherwise; and what cannot be fitted with."""

from pathlib import Path
from typing import Any

import pytest
from anomalib.data import Folder, MVTecLOCO
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    TQDMProgressBar,
)

from anomalib_slsg import Slsg
from anomalib_slsg.training import schedule
from tests.support.models import tiny_slsg
from tests.support.training import quiet_trainer


@pytest.mark.parametrize(
    ("options", "unlimited"),
    [
        ({}, True),
        ({"max_epochs": -1}, True),
        ({"max_steps": 5}, False),
        ({"max_epochs": 3}, False),
        ({"max_steps": 5, "max_epochs": 3}, False),
        ({"fast_dev_run": True}, False),
    ],
    ids=str,
)
def test_only_a_trainer_without_limits_is_unlimited(options: dict, unlimited: bool) -> None:
    assert schedule.is_unlimited(quiet_trainer(**options)) == unlimited


def test_lightning_takes_limits_after_it_was_constructed() -> None:
    """It has no public way to set them; this finds out when its loops move."""
    trainer = quiet_trainer()
    schedule.limit_training(trainer, -1, 77)
    assert (trainer.max_epochs, trainer.max_steps) == (-1, 77)
    schedule.limit_training(trainer, 3, -1)
    assert (trainer.max_epochs, trainer.max_steps) == (3, -1)


def test_validation_that_nobody_reads_is_not_needed() -> None:
    assert schedule.needs_no_validation(quiet_trainer(), 0)
    assert not schedule.needs_no_validation(quiet_trainer(), 1)


@pytest.mark.parametrize("limit", [0.5, 2, 1, 0.0], ids=repr)
def test_users_validation_limit_wins(limit: float) -> None:
    """The whole number 1 asks for one batch; only the default, 1.0, stands for all of them."""
    assert not schedule.needs_no_validation(quiet_trainer(limit_val_batches=limit), 0)


@pytest.mark.parametrize(
    "options",
    [
        {"check_val_every_n_epoch": 20},
        {"check_val_every_n_epoch": None, "val_check_interval": 100},
        {"val_check_interval": 0.5},
        {"val_check_interval": "00:01:00:00"},
        {"callbacks": [ModelCheckpoint(monitor="image_AUROC")]},
        {"callbacks": [EarlyStopping("train_loss")]},
    ],
    ids=["every 20 epochs", "every 100 steps", "twice an epoch", "every hour", "checkpoints", "early stopping"],
)
def test_validation_that_the_user_asks_for_is_needed(options: dict, tmp_path: Path) -> None:
    trainer = quiet_trainer(enable_checkpointing=True, default_root_dir=tmp_path, **options)
    assert not schedule.needs_no_validation(trainer, 0)


@pytest.mark.parametrize(
    "callback",
    [TQDMProgressBar(), ModelCheckpoint(), LearningRateMonitor()],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_that_monitor_nothing_need_no_validation(callback: Callback, tmp_path: Path) -> None:
    shown = {"enable_checkpointing": True, "enable_progress_bar": True}
    assert schedule.needs_no_validation(quiet_trainer(default_root_dir=tmp_path, callbacks=[callback], **shown), 0)


def test_default_batch_sizes_are_known(tmp_path: Path) -> None:
    assert schedule.has_default_batch_size(Folder("parts", normal_dir="good", root=tmp_path))
    assert schedule.has_default_batch_size(MVTecLOCO(tmp_path))
    assert not schedule.has_default_batch_size(Folder("parts", normal_dir="good", root=tmp_path, train_batch_size=7))


@pytest.mark.parametrize(
    ("options", "images", "expected"),
    [
        ({"max_steps": 100}, 8, 25),  # 200 images make 50 steps of 4
        ({"max_steps": 100}, 7, 29),
        ({"max_steps": 10}, 8, 5),  # an epoch is no longer than the training
        ({"max_steps": 100}, 200, 1),
        ({"max_steps": 100}, 1000, 1),
        ({"max_epochs": 3}, 8, 1),
        ({"max_epochs": 3, "max_steps": 100}, 8, 1),
        ({"max_steps": 100, "limit_train_batches": 2}, 8, 1),
    ],
    ids=str,
)
def test_few_images_are_repeated_where_the_length_is_given_in_steps(options: dict, images: int, expected: int) -> None:
    assert schedule.repetitions(quiet_trainer(**options), images, 4) == expected


@pytest.mark.parametrize(
    "callback",
    [LearningRateFinder(), BatchSizeFinder(), StochasticWeightAveraging(swa_lrs=0.01), EMAWeightAveraging()],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_that_would_spoil_the_result_are_refused(callback: Callback) -> None:
    with pytest.raises(ValueError, match=f"the callback {type(callback).__name__} is not supported: .*; leave it out"):
        schedule.refuse_unsupported(quiet_trainer(callbacks=[callback]))
    schedule.refuse_unsupported(quiet_trainer(callbacks=[LearningRateMonitor()]))


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true"])
def test_weights_of_other_types_are_refused(precision: str) -> None:
    with pytest.raises(ValueError, match=f"trainer.precision={precision} is not supported; use 32-true"):
        schedule.check_precision(precision)
    for supported in ("32-true", "bf16-mixed", "16-mixed"):
        schedule.check_precision(supported)


@pytest.mark.parametrize(
    "callback",
    [ModelCheckpoint(monitor="image_AUROC"), EarlyStopping("image_AUROC")],
    ids=lambda callback: type(callback).__name__,
)
def test_monitors_of_what_nothing_logs_are_refused(callback: Callback, tmp_path: Path) -> None:
    class LogsMore(Slsg):
        """A user's own."""

    def refuse(
        *metrics: str, trains: bool = True, beside: tuple[Callback, ...] = (), kind: type[Slsg] = Slsg, **options: Any
    ) -> None:
        model = tiny_slsg(of=kind)
        arguments = {"enable_checkpointing": True, "default_root_dir": tmp_path, **options}
        trainer = quiet_trainer(callbacks=[callback, *beside], **arguments)
        schedule.refuse_unknown_monitors(trainer, model, metrics, trains)

    message = rf"{type(callback).__name__}: nothing logs monitor='image_AUROC'.*Evaluator\(val_metrics=\[\.\.\.\]\)"
    with pytest.raises(ValueError, match=message):
        refuse()
    with pytest.raises(ValueError, match=message):
        refuse("image_AUROC", limit_val_batches=0)
    refuse("image_AUROC")
    refuse(beside=(Own(),))
    refuse(kind=LogsMore)
    callback.monitor = "train_loss"
    refuse()
    with pytest.raises(ValueError, match=r"nothing logs monitor='train_loss'.*there are no metrics"):
        refuse(trains=False)


class Own(Callback):
    """A user's own, which may log anything."""
