"""Trainer, data module and model after fitting, however it ended, and when they are used again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import Folder, ImageBatch
from anomalib.engine import Engine
from anomalib.models import Padim
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint as LightningCheckpoint
from torchvision.transforms.v2 import CenterCrop, Compose, Resize

from anomalib_slsg import GenerativePretraining, Slsg
from anomalib_slsg.data.training_images import TrainingImages
from anomalib_slsg.pretraining.callback import FILE_NAME
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.options import PretrainingOptions
from tests.support.models import seeded_slsg
from tests.support.training import drawn_loco
from tests.support.trees import copy_images
from tests.support.watching import SeenImages

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

pytestmark = pytest.mark.slow


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
    model, datamodule = make_model(pretraining=None), make_folder()
    default = datamodule.train_batch_size
    engine = make_engine(tmp_path, max_steps=1, callbacks=[Mishap()] if fails else [])
    _fit(model, engine, datamodule, fails)
    assert not isinstance(datamodule.train_data, TrainingImages)
    assert datamodule.train_batch_size == default
    assert engine.trainer.limit_val_batches == 1.0
    with pytest.raises(RuntimeError, match="only while the model is being fitted"):
        _ = model.normal_images


def test_freed_memory_is_kept_no_longer(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    returned_blocks: Callable[[int, int], int],
    tmp_path: Path,
) -> None:
    """Of blocks that the C library by itself never keeps."""
    while_training = []

    class Look(Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            while_training.append(returned_blocks(64 * 2**20, 2**28))

    make_engine(tmp_path, max_steps=1, callbacks=[Look()]).fit(make_model(pretraining=None), make_folder())
    assert while_training == [0]
    assert returned_blocks(64 * 2**20, 2**32) > 0


def test_the_next_model_has_its_own_size_and_batches(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """The images of an interrupted fit, resized for another model, must not come back."""
    datamodule, seen = make_folder(), SeenImages()
    _fit(make_model(pretraining=None), make_engine(tmp_path, callbacks=[Mishap()]), datamodule, fails=True)
    model = make_model(pretraining=None, image_size=(64, 64), train_batch_size=2)
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
    model = make_model(pretraining=None, pre_processor=PreProcessor(transform=crop))
    make_engine(tmp_path, max_epochs=1, callbacks=[seen]).fit(model, make_folder())
    assert len(seen.images) == 8
    for path, image in seen.images.items():
        rgb = torch.from_numpy(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        torch.testing.assert_close(image, crop(rgb.float() / 255), atol=1 / 255, rtol=0)


def test_other_images_bring_other_distances(
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
    model = make_model(feature_distance=True)
    make_engine(tmp_path / "first", max_steps=1, logger=False).fit(model, make_folder())
    distance = model.model.seg_net.feature_distance
    assert distance is not None
    first = distance.mean.clone()
    with caplog.at_level("INFO"):
        make_engine(tmp_path / "second", max_steps=1, logger=False).fit(model, make_folder(normal_dir=dark))
    assert distance.fitted
    assert not torch.allclose(distance.mean, first, rtol=1e-2)
    assert "Pre-training skipped: this model's encoder is pre-trained already." in caplog.text


@pytest.mark.parametrize(
    ("before", "limits", "told"),
    [
        ({"max_steps": 1}, {}, "Nothing is trained: this trainer has done 1 of its 1 steps before. Make a new engine"),
        ({"max_epochs": 1}, {}, "Nothing is trained: this trainer has done 1 of its 1 epochs before."),
        (
            {"max_steps": 1},
            {"max_steps": 3},
            "Only 2 steps are trained: this trainer has done 1 of its 3 steps before.",
        ),
    ],
    ids=str,
)
def test_an_engine_is_told_to_be_used_up(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    before: dict[str, int],
    limits: dict[str, int],
    told: str,
) -> None:
    """Its trainer counts on, so that a second model would stay as it is, or be trained in part."""
    engine = make_engine(tmp_path, logger=False, **before)
    engine.fit(make_model(pretraining=None), make_folder())
    assert "this trainer has done" not in caplog.text
    if limits:
        engine.trainer.fit_loop.epoch_loop.max_steps = limits["max_steps"]
    engine.fit(make_model(pretraining=None), make_folder())
    assert told in caplog.text


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
    engine.trainer.fit_loop.epoch_loop.max_steps = 2
    engine.fit(make_model(pretraining=None), make_folder())
    assert len(steps) == 2


def test_the_user_s_pre_training_stays(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    given = GenerativePretraining(PretrainingOptions(epochs=1))
    engine = make_engine(tmp_path, max_steps=1, logger=False, callbacks=[given])
    for _ in range(2):
        engine.fit(make_model(), make_folder())
        assert [c for c in engine.trainer.callbacks if isinstance(c, GenerativePretraining)] == [given]


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
    engine.fit(make_model(pretraining=None, iterations=1), make_folder())
    assert engine.trainer.global_step == 1
    assert engine.trainer.max_steps == -1


def test_other_models_fit_with_the_same_engine(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """The engine keeps its callbacks, whatever model comes next."""
    engine = make_engine(tmp_path, max_steps=2, limit_train_batches=1)
    engine.fit(make_model(), make_folder())
    other = Padim(layers=["layer1"], pre_trained=False, n_features=8, visualizer=False)
    engine.fit(other, make_folder())
    assert isinstance(engine.trainer.lightning_module, Padim)


def test_each_model_s_verdicts_are_its_own_post_processor_s(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """An engine keeps those of earlier models among its callbacks, and the first verdict stays."""
    engine = make_engine(tmp_path, max_steps=2, limit_train_batches=1)
    engine.predict(make_model(), datamodule=make_folder())
    other = Padim(layers=["layer1"], pre_trained=False, n_features=8, visualizer=False)
    engine.fit(other, make_folder())
    other.post_processor.enable_normalization = False
    other.post_processor.image_sensitivity = -9  # a threshold of 10
    maps, scores = torch.full((1, 1, 8, 8), 7.0), torch.tensor([7.0])
    batch = ImageBatch(image=torch.zeros(1, 3, 8, 8), anomaly_map=maps, pred_score=scores)
    for callback in engine.trainer.callbacks:
        if isinstance(callback, PostProcessor):
            callback.on_predict_batch_end(engine.trainer, other, batch)
    assert batch.pred_label.item() is False
    again = make_model()
    engine.predict(again, datamodule=make_folder())
    left = [callback for callback in engine.trainer.callbacks if isinstance(callback, PostProcessor)]
    assert left == [again.post_processor]


def test_another_model_leaves_an_interrupted_pre_training(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, max_steps=1, logger=False)
    engine.fit(make_model(pretraining=None), make_folder())
    file = Path(engine.trainer.default_root_dir) / "weights" / "lightning" / FILE_NAME
    file.write_bytes(b"of an interrupted pre-training")
    engine.fit(Padim(layers=["layer1"], pre_trained=False, n_features=8, visualizer=False), make_folder())
    assert file.exists()


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
        model = make_model(pretraining=None, cache_gibibytes=gibibytes, feature_distance=False, composition=False)
        engine.fit(model, make_folder(num_workers=1))
        assert engine.trainer.train_dataloader.num_workers == 1
    assert working == [0, 1]


@pytest.fixture
def fit_segnet(make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder") -> Callable[..., Engine]:
    """Fit a tiny model without pre-training in a folder; give its options, and the trainer's by name."""

    def fit(folder: Path, options: Mapping[str, Any] | None = None, **arguments: Any) -> Engine:
        engine = make_engine(folder, logger=False, **arguments)
        engine.fit(make_model(pretraining=None, **(options or {})), make_folder())
        return engine

    return fit


class SavedSteps(Callback):
    """Notes the steps at which a checkpoint is written."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_save_checkpoint(self, trainer: Any, *args: Any) -> None:
        self.steps.append(trainer.global_step)


def test_few_images_do_not_write_a_checkpoint_every_other_step(
    fit_segnet: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs of eight images have two steps."""
    monkeypatch.setattr("anomalib_slsg.training.fit_settings.STEPS_BETWEEN_CHECKPOINTS", 4)
    saved = SavedSteps()

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = trainer.global_step == 5

    learning: dict[str, Any] = {"post_processor": PostProcessor()}  # from validation, which is skipped otherwise
    for limits, callbacks, options, expected in (
        ({"max_steps": 9}, [], {}, [4, 8, 9]),
        ({"max_epochs": 3}, [], {}, [4, 6]),
        ({"max_steps": 9}, [Stop()], {}, [4, 5]),
        ({"max_steps": 5}, [ModelCheckpoint(tmp_path / "own", every_n_epochs=1)], {}, [2, 4, 5]),
        ({"max_steps": 9}, [], learning, [4, 8, 9]),
        ({"max_epochs": 7, "check_val_every_n_epoch": 3}, [], learning, [6, 12, 14]),
        ({"max_epochs": 7, "check_val_every_n_epoch": 3}, [], {}, [6, 12, 14]),
    ):
        saved.steps.clear()
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        engine = fit_segnet(folder, options, callbacks=[saved, *callbacks], **limits)
        assert saved.steps == expected
        assert torch.load(engine.best_model_path, weights_only=False)["global_step"] == expected[-1]
        assert engine.trainer.checkpoint_callback.every_n_epochs == 1


def test_a_user_s_own_checkpoints_are_written_as_they_say(
    fit_segnet: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalib_slsg.training.fit_settings.STEPS_BETWEEN_CHECKPOINTS", 100)
    saved = SavedSteps()
    alike = ModelCheckpoint(tmp_path / "alike", filename="model")  # in the place of the engine's
    fit_segnet(tmp_path / "first", max_steps=5, callbacks=[saved, alike])
    assert saved.steps == [2, 4, 5]
    beside = LightningCheckpoint(tmp_path / "beside", filename="{step}", save_top_k=-1, mode="max")
    engine = fit_segnet(tmp_path / "second", max_steps=5, callbacks=[beside])
    files = sorted((tmp_path / "beside").iterdir())
    assert [file.name for file in files] == ["step=2.ckpt", "step=4.ckpt", "step=5.ckpt"]
    names = [set(torch.load(file, weights_only=False)["callbacks"]) for file in files]
    # Lightning finds states again by them
    assert names[0] == names[1] == names[2] >= {engine.trainer.checkpoint_callback.state_key, beside.state_key}


def test_an_engine_that_trained_longer_before_writes_checkpoints(
    fit_segnet: Callable[..., Engine],
    make_model: "MakeModel",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lightning remembers the number of the last one, also where a fit goes on from an earlier step."""
    monkeypatch.setattr("anomalib_slsg.training.fit_settings.STEPS_BETWEEN_CHECKPOINTS", 2)
    first = fit_segnet(tmp_path / "first", max_steps=1)
    saved = SavedSteps()
    engine = fit_segnet(tmp_path / "longer", max_steps=6, callbacks=[saved])
    saved.steps.clear()
    engine.fit(make_model(pretraining=None), make_folder(), ckpt_path=first.best_model_path)
    assert saved.steps == [4, 6]


def test_a_user_s_way_of_making_batches_is_applied_once(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    def left_half(items: list[Any]) -> ImageBatch:
        batch = ImageBatch.collate(items)
        batch.image = batch.image[..., : batch.image.shape[-1] // 2]
        return batch

    seen, datamodule = SeenImages(), make_folder()
    datamodule.external_collate_fn = left_half
    model = make_model(pretraining=None, image_size=None, pre_processor=False)
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
