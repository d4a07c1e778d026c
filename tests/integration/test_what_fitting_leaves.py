"""Trainer, data module and model after fitting, however it ended, and when they are used again."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from anomalib.data import Folder, ImageBatch
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EMAWeightAveraging,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.trainer.states import TrainerFn
from torchvision.transforms.v2 import CenterCrop, Compose, Resize

from anomalib_slsg import Slsg
from anomalib_slsg.data.training_images import TrainingImages
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.training.optimizer import OptimizerOptions
from tests.support.models import NO_NORMALITY, NO_PRETRAINING, seeded_slsg, tiny_normality, weights_of
from tests.support.training import drawn_loco
from tests.support.trees import copy_images
from tests.support.watching import SeenImages

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel


class Mishap(Callback):
    """Ends the training at its first step by an error."""

    def on_train_batch_start(self, *args: Any) -> None:
        msg = "mishap"
        raise ZeroDivisionError(msg)


def _fit(model: Slsg, engine: Any, datamodule: Folder, fails: bool) -> None:
    if fails:
        with pytest.raises(ZeroDivisionError, match="mishap"):
            engine.fit(model, datamodule)
    else:
        engine.fit(model, datamodule)


@pytest.mark.parametrize("fails", [False, True], ids=["success", "error"])
def test_everything_is_given_back(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, fails: bool
) -> None:
    model, datamodule = make_model(pretraining=NO_PRETRAINING), make_folder()
    default = datamodule.train_batch_size
    engine = make_engine(tmp_path, max_steps=1, callbacks=[Mishap()] if fails else [])
    _fit(model, engine, datamodule, fails)
    assert not isinstance(datamodule.train_data, TrainingImages)
    assert datamodule.train_batch_size == default
    assert engine.trainer.limit_val_batches == 1.0
    with pytest.raises(RuntimeError, match="only while the model is being fitted"):
        _ = model.normal_images


def test_the_next_model_has_its_own_size_and_batches(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """The images of an interrupted fit, resized for another model, must not come back."""
    datamodule, seen = make_folder(), SeenImages()
    _fit(make_model(pretraining=NO_PRETRAINING), make_engine(tmp_path, callbacks=[Mishap()]), datamodule, fails=True)
    model = make_model(pretraining=NO_PRETRAINING, image_size=(64, 64), optimizer=OptimizerOptions(batch_size=2))
    make_engine(tmp_path, max_epochs=1, callbacks=[seen]).fit(model, datamodule)
    assert datamodule.train_data is not None
    assert len(seen.images) == 8
    for path, image in seen.images.items():
        rgb = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image.numpy(), rgb, atol=0.5 / 255 + 1e-6)


def test_a_pre_processor_is_applied_once(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """A crop of a crop would show less."""
    crop = Compose([Resize((48, 48), antialias=True), CenterCrop((32, 32))])
    seen = SeenImages()
    model = make_model(pretraining=NO_PRETRAINING, pre_processor=PreProcessor(transform=crop))
    make_engine(tmp_path, max_epochs=1, callbacks=[seen]).fit(model, make_folder())
    assert len(seen.images) == 8
    for path, image in seen.images.items():
        rgb = torch.from_numpy(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        torch.testing.assert_close(image, crop(rgb.float() / 255), atol=1 / 255, rtol=0)


def test_other_images_bring_other_measures(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A model of one product that is fitted to another must not judge it by the first."""
    dark = tmp_path / "dark"
    copy_images(folder_tree / "good", dark, change=lambda image: image // 2)
    model = make_model(normality=tiny_normality("places"))
    make_engine(tmp_path / "first", max_steps=1, logger=False).fit(model, make_folder())
    places = model.model.normality.places
    assert places is not None
    first = places.mean.clone()
    with caplog.at_level("INFO"):
        make_engine(tmp_path / "second", max_steps=1, logger=False).fit(model, make_folder(normal_dir=dark))
    assert places.fitted
    assert not torch.allclose(places.mean, first, rtol=1e-2)
    assert "Pre-training skipped: the encoder is pre-trained already." in caplog.text


@pytest.mark.parametrize("limits", [{"max_steps": 1}, {"max_epochs": 1}], ids=str)
def test_a_second_fit_in_one_engine_is_refused(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, limits: dict
) -> None:
    """Its trainer counts on, so that a second model would stay as it is, or be trained in part."""
    engine = make_engine(tmp_path, logger=False, **limits)
    engine.fit(make_model(pretraining=NO_PRETRAINING), make_folder())
    steps = engine.trainer.global_step
    model, datamodule = make_model(pretraining=NO_PRETRAINING), make_folder()
    before, default = weights_of(model.model), datamodule.train_batch_size
    told = f"this trainer has trained {steps} steps before; make a new Engine for each training"
    with pytest.raises(ValueError, match=f"^{told}$"):
        engine.fit(model, datamodule)
    assert datamodule.train_batch_size == default
    assert engine.trainer.global_step == steps
    after = weights_of(model.model)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (LearningRateFinder(), "trains before there are images"),
        (BatchSizeFinder(batch_arg_name="train_batch_size"), "trains before there are images"),
        (StochasticWeightAveraging(0.1), "averages the encoder's batch norm"),
        (WeightAveraging(), "averages the encoder's batch norm"),
        (EMAWeightAveraging(), "averages the encoder's batch norm"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Callback) else "",
)
def test_callbacks_that_cannot_work_are_refused(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    callback: Callback,
    reason: str,
) -> None:
    engine = make_engine(tmp_path, max_steps=1, logger=False, callbacks=[callback])
    told = f"the callback {type(callback).__name__} is not supported: it {reason}"
    with pytest.raises(ValueError, match=f"^{told}.*; leave it out$"):
        engine.fit(make_model(pretraining=NO_PRETRAINING), make_folder())
    assert engine.trainer.global_step == 0
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("interrupted", [True, False], ids=["interrupted", "tested"])
def test_a_second_model_has_its_own_pre_training(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupted: bool,
) -> None:
    """As after stopping a notebook's cell, or after testing a trained model; the trainer keeps callbacks."""
    steps = []
    step = InpaintingGAN.step

    def counted(*arguments: Any) -> Any:
        steps.append(None)
        if interrupted and len(steps) == 1:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(InpaintingGAN, "step", counted)
    engine = make_engine(tmp_path, max_steps=1, logger=False)
    first = make_model(pretraining=PretrainingOptions(epochs=3))
    if interrupted:
        with pytest.raises(SystemExit):
            engine.fit(first, make_folder())
    else:
        engine.test(first, make_folder())
    steps.clear()
    interrupted = False
    engine.fit(make_model(pretraining=PretrainingOptions(epochs=1)), make_folder())
    assert len(steps) == 2


def test_the_seed_is_that_of_the_fitted_model(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """Not of the one that was made last, as where several are made and then fitted in turn."""

    encoders = []
    for others in ([], [2]):
        model = seeded_slsg(1)
        for seed in others:
            seeded_slsg(seed)
        make_engine(tmp_path / str(len(others)), max_steps=1, logger=False).fit(model, make_folder())
        encoders.append(torch.cat([weight.flatten() for weight in model.model.seg_net.encoder.parameters()]))
    torch.testing.assert_close(*encoders, rtol=0, atol=0)


def test_the_schedule_is_the_fit_s_own(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path)
    engine.fit(make_model(pretraining=NO_PRETRAINING, optimizer=OptimizerOptions(iterations=1)), make_folder())
    assert engine.trainer.global_step == 1
    assert engine.trainer.max_steps == -1


def test_a_trial_pre_trains_nothing(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, caplog: Any
) -> None:
    model = make_model()
    make_engine(tmp_path / "trial", logger=False, fast_dev_run=True).fit(model, make_folder())
    with caplog.at_level("INFO"):
        make_engine(tmp_path / "fit", max_steps=1, logger=False).fit(model, make_folder())
    assert "Pre-training skipped" not in caplog.text
    assert model.encoder_ready


def test_workers_rest_while_images_are_in_memory(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """They would be started anew at every epoch."""
    working = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            working.append(trainer.train_dataloader.num_workers)

    for gibibytes in (1.0, 0.0):
        engine = make_engine(tmp_path / str(gibibytes), max_steps=1, callbacks=[Look()], logger=False)
        model = make_model(pretraining=NO_PRETRAINING, cache_gibibytes=gibibytes, normality=NO_NORMALITY)
        datamodule = make_folder(num_workers=1)
        engine.fit(model, datamodule)
        assert datamodule.train_dataloader().num_workers == 1
    assert working == [0, 1]


class Epochs(Callback):
    """Notes the length of the epochs and the steps at which a checkpoint is written; fails at a step if it is told."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.lengths: list[int | float] = []
        self.saved: list[int] = []
        self.seen: Counter[str] = Counter()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.lengths.append(trainer.num_training_batches)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 0:
            self.seen.update(batch.image_path)
        if trainer.global_step == self.fails_at:
            msg = "mishap"
            raise ZeroDivisionError(msg)

    def on_save_checkpoint(self, trainer: Any, *args: Any) -> None:
        self.saved.append(trainer.global_step)


@pytest.mark.parametrize("fails", [False, True], ids=["success", "error"])
def test_few_images_make_long_epochs_where_steps_are_counted(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, fails: bool
) -> None:
    """Else eight images would write a checkpoint every other step."""
    datamodule, epochs = make_folder(), Epochs(fails_at=51 if fails else None)
    datamodule.setup(TrainerFn.FITTING)
    images, size, make_loader = datamodule.train_data, datamodule.train_batch_size, datamodule.train_dataloader
    engine = make_engine(tmp_path, callbacks=[epochs], logger=False)
    steps = OptimizerOptions(iterations=60)
    _fit(make_model(pretraining=NO_PRETRAINING, normality=NO_NORMALITY, optimizer=steps), engine, datamodule, fails)
    assert engine.trainer.global_step == (51 if fails else 60)
    assert epochs.lengths == [50, 50]
    assert set(epochs.seen.values()) == {25}  # every image as often as the others
    assert len(epochs.seen) == 8
    assert epochs.saved == ([50] if fails else [50, 60])
    assert datamodule.train_data is images
    assert datamodule.train_batch_size == size
    assert datamodule.train_dataloader == make_loader
    assert len(datamodule.train_dataloader()) == 1  # of up to 32
    assert (engine.trainer.max_epochs, engine.trainer.max_steps) == (1000, -1)  # Lightning's own of no limit


def test_epochs_are_the_images_where_epochs_are_counted(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    epochs = Epochs()
    engine = make_engine(tmp_path, max_epochs=3, callbacks=[epochs], logger=False)
    engine.fit(make_model(pretraining=NO_PRETRAINING, normality=NO_NORMALITY), make_folder())
    assert epochs.lengths == [2, 2, 2]
    assert epochs.saved == [2, 4, 6]
    assert torch.load(engine.best_model_path, weights_only=False)["global_step"] == 6


def test_a_user_s_own_checkpoints_are_written_as_they_say(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    beside = ModelCheckpoint(
        tmp_path / "beside", filename="{step}", save_top_k=-1, every_n_train_steps=2, save_on_train_epoch_end=False
    )
    engine = make_engine(tmp_path / "results", max_steps=5, callbacks=[beside], logger=False)
    engine.fit(make_model(pretraining=NO_PRETRAINING, normality=NO_NORMALITY), make_folder())
    files = sorted((tmp_path / "beside").iterdir())
    assert [file.name for file in files] == ["step=2.ckpt", "step=4.ckpt"]
    names = [set(torch.load(file, weights_only=False)["callbacks"]) for file in files]
    # Lightning finds states again by them
    assert names[0] == names[1] >= {engine.trainer.checkpoint_callback.state_key, beside.state_key}
    assert torch.load(engine.best_model_path, weights_only=False)["global_step"] == 5


def test_a_user_s_way_of_making_batches_is_applied_once(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    def left_half(items: list[Any]) -> ImageBatch:
        batch = ImageBatch.collate(items)
        batch.image = batch.image[..., : batch.image.shape[-1] // 2]
        return batch

    seen, datamodule = SeenImages(), make_folder()
    datamodule.external_collate_fn = left_half
    model = make_model(pretraining=NO_PRETRAINING, image_size=None, pre_processor=False)
    make_engine(tmp_path, max_steps=1, callbacks=[seen], logger=False, limit_val_batches=0).fit(model, datamodule)
    assert {image.shape for image in seen.images.values()} == {(3, 64, 32)}


def test_loaders_are_tested_by_what_they_hold(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", mvtec_loco_tree: Path, tmp_path: Path
) -> None:
    """Lightning keeps the data module of the run before, whose metrics would look for masks that are not there."""
    engine, model = make_engine(tmp_path), make_model()
    loco = drawn_loco(mvtec_loco_tree)
    (before,) = engine.test(model, datamodule=loco)
    folder = make_folder()
    folder.setup()
    (after,) = engine.test(model, dataloaders=folder.test_dataloader())
    assert "image_AUROC_logical" in before
    assert set(after) == {"image_AUROC", "image_F1Score", "pixel_AUROC", "pixel_F1Score"}
