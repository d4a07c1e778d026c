"""What the user says wins; where nothing is said, the paper's schedule does."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import pytest
import torch
from anomalib.data.datasets.image.folder import FolderDataset
from anomalib.loggers import AnomalibTensorBoardLogger
from anomalib.metrics import AUROC, Evaluator
from anomalib.post_processing import PostProcessor
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from anomalib_slsg import ProbabilityPostProcessor, Slsg
from anomalib_slsg.pretraining.pictures import heading_height
from anomalib_slsg.training.optimizer import OptimizerOptions
from tests.support.models import NO_PRETRAINING
from tests.support.training import drawn_loco
from tests.support.watching import PretrainingSteps

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.integration.conftest import Fitted, MakeEngine, MakeFolder, MakeModel


class StopAtOnce(Callback):
    """Notes the schedule at the first step and ends the training after it."""

    def __init__(self) -> None:
        self.limits: tuple[int, int | None]
        self.batch_size = 0
        self.scheduled_steps = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.limits = (trainer.max_steps, trainer.max_epochs)
        self.batch_size = len(batch.image)
        self.scheduled_steps = int(trainer.estimated_stepping_batches)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        trainer.should_stop = True


def image_auroc() -> AUROC:
    """A metric under a name of its own."""
    return AUROC(fields=["pred_score", "gt_label"], prefix="mine_")


def test_paper_s_schedule_without_limits(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    stop = StopAtOnce()
    make_engine(tmp_path, callbacks=[stop]).fit(make_model(pretraining=NO_PRETRAINING), make_folder())
    assert stop.limits == (3500, -1)
    assert stop.scheduled_steps == 3500
    assert stop.batch_size == 4


@pytest.mark.parametrize(
    ("trainer", "options", "data", "limits", "batch_size"),
    [
        ({"max_steps": 7}, {}, {}, (7, -1), 4),
        ({"max_epochs": 3}, {}, {}, (-1, 3), 4),
        ({}, {"optimizer": OptimizerOptions(iterations=11)}, {}, (11, -1), 4),
        ({"max_steps": 7}, {"optimizer": OptimizerOptions(batch_size=2)}, {}, (7, -1), 2),
        ({"max_steps": 7}, {}, {"train_batch_size": 3}, (7, -1), 3),
        ({"max_steps": 7}, {"optimizer": OptimizerOptions(batch_size=2)}, {"train_batch_size": 3}, (7, -1), 3),
    ],
    ids=["max_steps", "max_epochs", "iterations", "model's batch size", "data's batch size", "both batch sizes"],
)
def test_what_is_said_wins(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    trainer: dict[str, int],
    options: dict[str, OptimizerOptions],
    data: dict[str, int],
    limits: tuple[int, int],
    batch_size: int,
) -> None:
    stop = StopAtOnce()
    engine = make_engine(tmp_path, callbacks=[stop], **trainer)
    engine.fit(make_model(pretraining=NO_PRETRAINING, **options), make_folder(**data))
    steps, epochs = stop.limits
    assert (steps, epochs if epochs is not None else -1) == limits
    assert stop.batch_size == batch_size


def test_limit_train_batches_limits_both_phases(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    watcher = PretrainingSteps()
    engine = make_engine(tmp_path, max_epochs=2, limit_train_batches=1, logger=watcher, log_every_n_steps=1)
    engine.fit(make_model(), make_folder())
    assert watcher.steps == [1]
    assert engine.trainer.global_step == 2


def test_user_s_post_processor_learns_from_validation(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    own = PostProcessor()
    model = make_model(pretraining=NO_PRETRAINING, post_processor=own)
    engine = make_engine(tmp_path, max_epochs=1)
    engine.fit(model, make_folder())
    assert model.post_processor is own
    assert 0 <= own.image_min < own.image_max <= 1
    predictions = engine.predict(model, datamodule=make_folder(eval_batch_size=8))
    scores = torch.cat([batch.pred_score for batch in predictions])
    assert (scores.min(), scores.max()) != (pytest.approx(own.image_min), pytest.approx(own.image_max))
    assert scores.max() - scores.min() > 0.3  # stretched; an untrained network's own scores are close together


def test_what_a_user_s_post_processor_learnt_comes_back(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    model = make_model(pretraining=NO_PRETRAINING, post_processor=PostProcessor())
    engine = make_engine(tmp_path / "fitted", max_epochs=1)
    engine.fit(model, make_folder())
    expected = engine.predict(model, datamodule=make_folder())
    loaded = Slsg.load_from_checkpoint(engine.best_model_path)
    found = make_engine(tmp_path / "loaded").predict(loaded, datamodule=make_folder())
    scores = torch.cat([batch.pred_score for batch in found])
    torch.testing.assert_close(scores, torch.cat([batch.pred_score for batch in expected]), atol=1e-4, rtol=0)
    maps = torch.cat([batch.anomaly_map for batch in found])
    torch.testing.assert_close(maps, torch.cat([batch.anomaly_map for batch in expected]), atol=1e-4, rtol=0)


def test_user_s_adaptive_thresholds_are_learnt_without_normalisation(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    own = PostProcessor(enable_normalization=False)
    model = make_model(pretraining=NO_PRETRAINING, post_processor=own)
    make_engine(tmp_path, max_epochs=1).fit(model, make_folder())
    assert 0 <= own.image_threshold <= 1  # not a number before anything is learnt
    assert own.image_threshold != 0.5


def test_default_thresholds_stay_at_a_half_when_validation_runs(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    evaluator = Evaluator(val_metrics=[image_auroc()])
    model = make_model(pretraining=NO_PRETRAINING, evaluator=evaluator)
    engine = make_engine(tmp_path, max_epochs=1)
    engine.fit(model, make_folder())
    assert "mine_AUROC" in engine.trainer.callback_metrics
    assert model.post_processor.image_threshold == 0.5
    assert model.post_processor.pixel_threshold == 0.5


def test_default_thresholds_are_a_half(fitted: "Fitted", make_engine: "MakeEngine", tmp_path: Path) -> None:
    predictions = make_engine(tmp_path).predict(fitted.model, datamodule=fitted.datamodule)
    assert predictions
    for batch in predictions:
        assert torch.equal(batch.pred_label, batch.pred_score > 0.5)
        assert torch.equal(batch.pred_mask, batch.anomaly_map > 0.5)


def test_given_thresholds_are_those_of_labels_checkpoints_and_exports(
    fitted: "Fitted", make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    scores = torch.cat(
        [batch.pred_score for batch in make_engine(tmp_path).predict(fitted.model, datamodule=make_folder())]
    )
    threshold = scores.median().item()
    given = ProbabilityPostProcessor(image_threshold=threshold, pixel_threshold=0.125)
    fresh = make_model(post_processor=given)
    engine = make_engine(tmp_path)
    predictions = engine.predict(fresh, datamodule=make_folder(), ckpt_path=fitted.checkpoint)
    for batch in predictions:
        assert torch.equal(batch.pred_label, batch.pred_score > threshold)
        assert torch.equal(batch.pred_mask, batch.anomaly_map > 0.125)
    assert 0 < torch.cat([batch.pred_label for batch in predictions]).float().mean() < 1
    engine.trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = Slsg.load_from_checkpoint(tmp_path / "own.ckpt")
    assert loaded.post_processor.image_threshold == pytest.approx(threshold)
    assert loaded.post_processor.pixel_threshold == 0.125
    datamodule = make_folder()
    datamodule.setup()
    images = torch.stack([item.image for item in datamodule.test_data])
    exported = torch.load(loaded.to_torch(tmp_path), weights_only=False)["model"]
    labels = exported(images).pred_label.flatten()
    assert torch.equal(labels, loaded(images).pred_score.flatten() > threshold)
    assert 0 < labels.float().mean() < 1


def test_threshold_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"post_processor.pixel_threshold must lie in \[0, 1\], got 1.5"):
        ProbabilityPostProcessor(pixel_threshold=1.5)


def test_user_s_evaluator_gives_its_metrics_alone(
    make_model: "MakeModel", make_engine: "MakeEngine", mvtec_loco_tree: Path, tmp_path: Path
) -> None:
    datamodule = drawn_loco(mvtec_loco_tree)
    model = make_model(evaluator=Evaluator(test_metrics=[image_auroc()]))
    (metrics,) = make_engine(tmp_path).test(model, datamodule=datamodule, verbose=False)
    assert metrics.keys() == {"mine_AUROC"}


def test_validation_works_after_fitting_with_the_same_engine(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    model, engine = make_model(pretraining=NO_PRETRAINING), make_engine(tmp_path, max_steps=1)
    engine.fit(model, make_folder())
    seen: list[int] = []
    model.validation_step = lambda batch, *_: seen.append(len(batch.image))  # type: ignore[method-assign]
    engine.validate(model, datamodule=make_folder())
    assert seen == [8]


def test_anomalib_s_tensorboard_logger_gets_reconstructions_and_test_images(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    logger = AnomalibTensorBoardLogger(save_dir=str(tmp_path / "tensorboard"))
    engine = make_engine(tmp_path, max_steps=1, logger=logger)
    engine.fit(make_model(), make_folder())
    (file,) = (tmp_path / "tensorboard").rglob("events.out.tfevents.*")
    (picture,) = EventAccumulator(str(file)).Reload().Images("pretraining/reconstructions")
    assert (picture.height, picture.width) == (4 * (heading_height(32) + 32), 4 * 32)
    drawn = cv2.imread(str(Path(engine.trainer.default_root_dir) / "images" / "pretraining" / "epoch_001.png"))
    (tmp_path / "logged.png").write_bytes(picture.encoded_image_string)
    assert (cv2.imread(str(tmp_path / "logged.png")) == drawn).all()


@pytest.mark.parametrize(("fast", "wanted"), [(True, True), (True, False), (False, True)])
def test_precision_is_chosen_for_the_processor_and_said(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fast: bool,
    wanted: bool,
) -> None:
    monkeypatch.setattr("anomalib_slsg.utils.precision.cpu_multiplies_bfloat16", lambda: fast)
    model, types = make_model(auto_bfloat16=wanted), set()
    model.model.seg_net.squeeze.register_forward_hook(lambda *call: types.add(call[-1].dtype))
    with caplog.at_level("INFO", logger="anomalib_slsg"):
        make_engine(tmp_path, max_steps=1).fit(model, make_folder())
    assert ("Computing in bfloat16" in caplog.text) == (fast and wanted)
    assert types == {torch.bfloat16 if fast and wanted else torch.float32}


def test_files_of_training_images_are_read_once(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, monkeypatch: Any
) -> None:
    datamodule, read = make_folder(), []
    readers = sys.modules["anomalib.data.datasets.base.image"]
    from_file = readers.read_image
    monkeypatch.setattr(
        readers, "read_image", lambda path, *rest, **named: read.append(str(path)) or from_file(path, *rest, **named)
    )
    engine = make_engine(tmp_path, max_epochs=3)
    engine.fit(make_model(), datamodule)
    training = [path for path in read if "/good/" in path]
    # the first one twice: its size tells whether all fit into memory
    assert len(training) == len(set(training)) + 1 == len(datamodule.train_data) + 1
    assert isinstance(datamodule.train_data, FolderDataset)
