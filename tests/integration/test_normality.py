"""Normality from training to deployment, beside SegNet and alone."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from anomalib.data import PredictDataset
from anomalib.deploy import CompressionType

from anomalib_slsg import Slsg
from anomalib_slsg.data.training_images import kept_for_calibration
from anomalib_slsg.networks import SegNet
from anomalib_slsg.training.optimizer import OptimizerOptions
from tests.support.deployed import assert_deployed_alike, kind_before, operations_of
from tests.support.models import (
    NO_NORMALITY,
    NO_PRETRAINING,
    assert_same_weights,
    tiny_normality,
    tiny_slsg,
    weights_of,
)
from tests.support.watching import SeenImages

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

pytestmark = pytest.mark.slow

BOTH = tiny_normality()


def test_trained_saved_resumed_and_deployed(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # anomalib's inferencer keeps a cache of compiled models in the working folder
    model = make_model(normality=BOTH, auto_bfloat16=False)
    engine = make_engine(tmp_path / "first", max_steps=2, logger=False)
    engine.fit(model, make_folder())
    places = model.model.normality.places
    assert places is not None
    assert places.fitted
    composition = model.model.normality.composition
    assert composition is not None
    assert composition.fitted
    checkpoint = next((tmp_path / "first").rglob("model.ckpt"))
    loaded = Slsg.load_from_checkpoint(checkpoint, visualizer=False).eval()
    datamodule = make_folder()
    datamodule.setup()
    images = model.pre_processor.transform(next(iter(datamodule.test_dataloader())).image)
    with torch.no_grad():
        expected = model.eval().model(images)
        torch.testing.assert_close(loaded.model(images).anomaly_map, expected.anomaly_map, atol=1e-5, rtol=0)
        torch.testing.assert_close(loaded.model(images).pred_score, expected.pred_score, atol=1e-5, rtol=0)

    resumed = make_model(normality=BOTH, auto_bfloat16=False)
    make_engine(tmp_path / "second", max_steps=3, logger=False).fit(resumed, make_folder(), ckpt_path=str(checkpoint))
    assert resumed.model.normality.places is not None
    torch.testing.assert_close(resumed.model.normality.places.mean, places.mean)
    assert resumed.model.normality.composition is not None
    torch.testing.assert_close(resumed.model.normality.composition.examples, composition.examples)

    predictions = make_engine(tmp_path / "predictions").predict(loaded, dataset=PredictDataset(folder_tree / "bad"))
    assert predictions
    exported = loaded.to_openvino(
        tmp_path / "exported", compression_type=CompressionType.INT8_PTQ, datamodule=make_folder()
    )
    assert_deployed_alike(exported, predictions, 2e-2, labels=False, maps=5e-2)
    assert 0.3 < _rounded_share(exported) < 0.9  # SegNet's convolutions, not the frozen backbone's


def _rounded_share(exported: Path) -> float:
    """Share of the convolutions that take 8 bits."""
    convolutions = [one for one in operations_of(exported) if one.get_type_name() == "Convolution"]
    rounded = [one for one in convolutions if kind_before(one) == "FakeQuantize"]
    return len(rounded) / len(convolutions)


def test_one_image_is_not_enough(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "only.png").symlink_to(next((folder_tree / "good").iterdir()))
    model = make_model(pretraining=NO_PRETRAINING)
    make_engine(tmp_path / "results", max_steps=1, logger=False).fit(model, make_folder(normal_dir=tmp_path / "good"))
    assert not model.model.normality.fitted
    assert "model.normality is left out: it needs at least two normal images, and there is one" in caplog.text
    assert "There is one training image. Logical anomalies, which mix two, are left out" in caplog.text


def test_alone_one_image_is_an_error(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", folder_tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "only.png").symlink_to(next((folder_tree / "good").iterdir()))
    model = make_model(optimizer=OptimizerOptions(iterations=0))
    with pytest.raises(ValueError, match=r"normality alone, without SegNet .* needs two normal images"):
        make_engine(tmp_path / "results", logger=False).fit(model, make_folder(normal_dir=tmp_path / "good"))


def test_alone_it_is_a_whole_model(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)  # anomalib's inferencer keeps a cache of compiled models in the working folder
    model = make_model(optimizer=OptimizerOptions(iterations=0))
    before = weights_of(model.model.seg_net)
    engine = make_engine(tmp_path / "fitted", logger=False)
    with caplog.at_level("INFO"):
        engine.fit(model, make_folder())
    assert "Pre-training skipped: optimizer.iterations is 0." in caplog.text
    assert_same_weights(weights_of(model.model.seg_net), before)
    checkpoint = next((tmp_path / "fitted").rglob("model.ckpt"))
    loaded = Slsg.load_from_checkpoint(checkpoint, visualizer=False).eval()
    predictions = make_engine(tmp_path / "predictions").predict(loaded, dataset=PredictDataset(folder_tree / "bad"))
    assert torch.cat([each.anomaly_map for each in predictions]).std() > 0
    without_the_option = make_engine(tmp_path / "again").predict(
        make_model(), dataset=PredictDataset(folder_tree / "bad"), ckpt_path=str(checkpoint)
    )
    for each, again in zip(predictions, without_the_option, strict=True):
        torch.testing.assert_close(again.pred_score, each.pred_score)
    assert_deployed_alike(loaded.to_openvino(tmp_path / "exported"), predictions, 1e-3, labels=False)
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(SegNet, "log_odds", None)  # it is not asked
        loaded.model(torch.rand(1, 3, 32, 32))


def test_nothing_that_judges_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.iterations is 0 and normality\.measures is empty, so nothing"):
        tiny_slsg(optimizer=OptimizerOptions(iterations=0), normality=NO_NORMALITY)


def test_the_threshold_is_calibrated_by_images_kept_from_training(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", folder_tree: Path, tmp_path: Path
) -> None:
    """Forty images, of which ten are kept: one above the threshold, the next at it, kept ones as they are judged."""
    _copy_times(5, folder_tree / "good", tmp_path / "good")
    model, datamodule, seen = (
        make_model(pretraining=NO_PRETRAINING),
        make_folder(normal_dir=tmp_path / "good"),
        SeenImages(),
    )
    make_engine(tmp_path / "results", max_steps=20, logger=False, callbacks=[seen]).fit(model, datamodule)
    kept = kept_for_calibration(40)
    paths = [str(path) for path in datamodule.train_data.samples.image_path]
    assert seen.images.keys() == {path for number, path in enumerate(paths) if number not in kept}
    images = torch.stack([datamodule.train_data[int(index)].image for index in kept])
    with torch.no_grad():
        result = model.eval().model((model.pre_processor.transform(images) * 255).round() / 255)
    (card,) = (tmp_path / "results").rglob("calibration.json")
    assert json.loads(card.read_text()) == model.model.calibration.card()
    calibration = model.model.calibration
    assert (calibration.card()["images"], calibration.card()["kept"]) == (40, 10)
    images, pixels = calibration.images - calibration.image_shift, calibration.pixels - calibration.pixel_shift
    for scores, found in ((images, result.pred_score), (pixels, result.anomaly_map.flatten(1).amax(dim=1))):
        assert scores.sort().values[38] == 0
        torch.testing.assert_close(found, torch.sigmoid(scores[30:]), atol=1e-4, rtol=0)
    _copy_times(2, folder_tree / "good", tmp_path / "fewer")  # a checkpoint goes on with other images
    checkpoint = next((tmp_path / "results").rglob("model.ckpt"))
    resumed = make_model(pretraining=NO_PRETRAINING)
    fewer = make_folder(normal_dir=tmp_path / "fewer")
    make_engine(tmp_path / "resumed", max_steps=21, logger=False).fit(resumed, fewer, ckpt_path=str(checkpoint))
    assert resumed.model.calibration.card()["images"] == 16
    assert len(resumed.model.normality.held_out.images) == 15


@pytest.mark.parametrize("measure", ["whole", "composition"])
def test_alone_without_a_map_it_is_calibrated_too(
    measure: str,
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
) -> None:
    _copy_times(2, folder_tree / "good", tmp_path / "good")
    model = make_model(optimizer=OptimizerOptions(iterations=0), normality=tiny_normality(measure))
    engine = make_engine(tmp_path / "fitted", logger=False)
    engine.fit(model, make_folder(normal_dir=tmp_path / "good"))
    assert model.model.calibration.card()["images"] == 16
    predictions = engine.predict(model, dataset=PredictDataset(folder_tree / "bad"))
    assert predictions
    for batch in predictions:
        assert (batch.anomaly_map == 0.5).all()
        assert batch.pred_score.isfinite().all()


def _copy_times(times: int, source: Path, target: Path) -> None:
    target.mkdir()
    for number in range(times):
        for path in source.iterdir():
            shutil.copy(path, target / f"{number}{path.name}")
