"""Trainer settings that are refused before anything is learnt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.data import Folder
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EMAWeightAveraging,
    LearningRateFinder,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from anomalib_slsg import Slsg
from anomalib_slsg.training.unsupported import refuse_unsupported


def _model(**options: Any) -> Slsg:
    return Slsg("regnetx_002", encoder_weights=None, **options)


def _trainer(*callbacks: Callback) -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=list(callbacks))


@pytest.mark.parametrize(
    "callback",
    [LearningRateFinder(), BatchSizeFinder(), StochasticWeightAveraging(0.01), EMAWeightAveraging()],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_that_spoil_a_fit_are_refused_by_name(callback: Callback) -> None:
    with pytest.raises(ValueError, match=type(callback).__name__):
        refuse_unsupported(_trainer(callback), _model())


def test_averages_that_subtract_flags_are_refused() -> None:
    model = _model(feature_distance=False, composition=False)
    with pytest.raises(ValueError, match="use EMAWeightAveraging"):
        refuse_unsupported(_trainer(WeightAveraging()), model)
    for averaging in (WeightAveraging(use_buffers=False), WeightAveraging(avg_fn=get_ema_avg_fn())):
        refuse_unsupported(_trainer(averaging), model)
        averaged = AveragedModel(model, use_buffers=averaging._use_buffers, **averaging._kwargs)
        for _ in range(2):
            averaged.update_parameters(model)


def test_weights_are_averaged_where_no_normal_features_are_learnt(folder_tree: Path, tmp_path: Path) -> None:
    model = _model(
        feature_distance=False, composition=False, pretraining=None, image_size=(32, 32), learning_rate=0.5, momentum=0
    )
    averaging = EMAWeightAveraging(decay=1.0)  # the average stays what it was after the first step
    weights = []

    class Look(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            weights.append(model.model.seg_net.decoder.head.weight.detach().clone())

    trainer = Trainer(
        accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[averaging, Look()], max_steps=3
    )
    data = Folder("parts", normal_dir="good", abnormal_dir="bad", root=folder_tree, num_workers=0)
    trainer.fit(model, datamodule=data)
    assert not torch.equal(weights[0], weights[-1])
    torch.testing.assert_close(model.model.seg_net.decoder.head.weight, weights[0])


class EvaluationBatchSizeFinder(BatchSizeFinder):
    """As in Lightning's documentation: it looks for the batch size of tests alone."""

    def on_fit_start(self, *args: Any) -> None:
        return


def test_finders_that_leave_fitting_alone_are_accepted() -> None:
    refuse_unsupported(_trainer(EvaluationBatchSizeFinder()), _model())


class FineTuneLearningRateFinder(LearningRateFinder):
    """As in Lightning's documentation: it looks at the start of epochs, where the schedule overrules what it finds."""

    def on_fit_start(self, *args: Any) -> None:
        return


def test_finders_of_rates_are_refused_whenever_they_look() -> None:
    with pytest.raises(ValueError, match="FineTuneLearningRateFinder is not supported"):
        refuse_unsupported(_trainer(FineTuneLearningRateFinder()), _model())


def test_synchronised_batch_norm_is_refused_where_there_are_processes_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = _trainer()
    trainer.strategy._layer_sync = TorchSyncBatchNorm()
    refuse_unsupported(trainer, _model())
    monkeypatch.setattr(Trainer, "world_size", 2)
    with pytest.raises(ValueError, match=r"trainer\.sync_batchnorm"):
        refuse_unsupported(trainer, _model())


def test_fitting_refuses_before_it_begins(folder_tree: Path, tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[LearningRateFinder()], max_steps=1
    )
    data = Folder("parts", normal_dir="good", abnormal_dir="bad", root=folder_tree, num_workers=0)
    with pytest.raises(ValueError, match="LearningRateFinder is not supported"):
        trainer.fit(_model(image_size=(32, 32)), datamodule=data)
