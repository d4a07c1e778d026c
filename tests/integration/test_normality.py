"""The options ``normality.places`` and ``normality.composition`` from training to deployment."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from anomalib.data import PredictDataset
from anomalib.deploy import CompressionType

from anomalib_slsg import Slsg
from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.normality.options import NormalityOptions
from anomalib_slsg.normality.places import Places
from anomalib_slsg.normality.rounding import imitate_bfloat16
from anomalib_slsg.simulation import AnomalySimulator
from tests.support.deployed import assert_deployed_alike, kind_before, operations_of
from tests.support.models import NO_PRETRAINING

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

pytestmark = pytest.mark.slow

BOTH = NormalityOptions(places=True, composition=True)


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
        assert (expected.pred_score - model.model.image_score(expected.anomaly_map)).max() > 1e-3  # of composition

    resumed = make_model(normality=BOTH, auto_bfloat16=False)
    make_engine(tmp_path / "second", max_steps=3, logger=False).fit(resumed, make_folder(), ckpt_path=str(checkpoint))
    assert resumed.model.normality.places is not None
    torch.testing.assert_close(resumed.model.normality.places.mean, places.mean)
    assert resumed.model.normality.composition is not None
    torch.testing.assert_close(resumed.model.normality.composition.examples, composition.examples)

    predictions = make_engine(tmp_path / "predictions").predict(loaded, dataset=PredictDataset(folder_tree / "bad"))
    assert predictions
    for compression, tolerance in ((None, 1e-3), (CompressionType.INT8_PTQ, 2e-2)):
        exported = loaded.to_openvino(
            tmp_path / str(compression), compression_type=compression, datamodule=make_folder()
        )
        assert_deployed_alike(exported, predictions, tolerance, labels=False)
    assert 0 < _rounded_share(exported) < 0.7  # the decoder's convolutions, not the encoder's


def _rounded_share(exported: Path) -> float:
    """Share of the convolutions that take 8 bits."""
    convolutions = [one for one in operations_of(exported) if one.get_type_name() == "Convolution"]
    rounded = [one for one in convolutions if kind_before(one) == "FakeQuantize"]
    return len(rounded) / len(convolutions)


@pytest.mark.parametrize(
    ("name", "measure", "separation", "verdict"),
    [
        ("places", Places, 0.77, "on"),
        ("places", Places, 0.766, "off"),
        ("composition", Composition, 0.80, "on"),
        ("composition", Composition, 0.796, "off"),
    ],
)
def test_by_default_it_is_added_where_it_tells_simulated_anomalies(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    measure: type[Places | Composition],
    separation: float,
    verdict: str,
) -> None:
    compared: list[tuple[torch.Tensor, torch.Tensor]] = []

    def separate(_: Places | Composition, normal: torch.Tensor, anomalous: torch.Tensor) -> float:
        compared.append((normal, anomalous))
        return separation

    monkeypatch.setattr(measure, "separation", separate)
    pasted: list[tuple[torch.Tensor, torch.Tensor]] = []
    simulate = AnomalySimulator.forward

    def note(simulator: AnomalySimulator, images: torch.Tensor, others: torch.Tensor, *rest: Any) -> Any:
        pasted.append((images, others))
        return simulate(simulator, images, others, *rest)

    monkeypatch.setattr(AnomalySimulator, "forward", note)
    model = make_model(pretraining=NO_PRETRAINING)
    with caplog.at_level("INFO"):
        make_engine(tmp_path, max_steps=1, logger=False).fit(model, make_folder())
    assert getattr(model.model.normality, name).fitted == (verdict == "on")
    said = f"model.normality.{name}: {verdict} (AUROC of simulated anomalies {separation:.2f}, needs"
    assert f"{said} {measure.least_separation:.2f})." in caplog.text
    ((normal, anomalous),) = compared
    assert len(normal) == 8
    draws = torch.stack(anomalous.split(8))
    assert len(draws) == 13  # so that there are 100 anomalies or more
    changed = (normal - draws).abs().amax(dim=(2, 3, 4)) > 1e-3
    assert changed.float().mean() > 0.8  # a simulated anomaly may be hardly visible
    assert (draws[1:] - draws[:-1]).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3  # other anomalies each time
    for images, others in pasted[:13]:  # before training
        # of the same fold, not of those that judge
        torch.testing.assert_close(others, images[[4, 5, 6, 7, 0, 1, 2, 3]])


def test_rounding_is_learnt_with_the_features_of_the_same_images(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On any machine, whatever it computes in; the features themselves are of images as new ones are given."""
    learnt: list[tuple[torch.Tensor, torch.Tensor]] = []
    for measure in (Places, Composition):

        def fit(
            part: Any, features: torch.Tensor, rounding: torch.Tensor, *rest: Any, original: Any = measure.fit
        ) -> None:
            learnt.append((features, rounding))
            original(part, features, rounding, *rest)

        monkeypatch.setattr(measure, "fit", fit)
    model = make_model(pretraining=NO_PRETRAINING, normality=BOTH, auto_bfloat16=False)
    make_engine(tmp_path, max_steps=1, logger=False).fit(model, make_folder())
    datamodule = make_folder()
    datamodule.setup()
    assert datamodule.train_data[0].image.shape[-2:] != (32, 32)  # resized images are not of 8 bits
    images = torch.stack([model.pre_processor.transform(item.image) for item in datamodule.train_data])
    encoder, composition = model.model.seg_net.encoder.eval(), model.model.normality.composition
    assert composition is not None

    def features_of(network: torch.nn.Module, seen: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return composition.gather([network(model.model.normalise(seen))])

    exact = features_of(encoder, images)
    of_bytes = (images * 255).round() / 255
    rounded = torch.empty_like(exact)
    for turn, precise_stem in enumerate((True, False)):
        imitation = imitate_bfloat16(encoder, precise_stem)
        rounded[turn::2] = features_of(imitation, of_bytes[turn::2])
        # either alone would be something else
        assert not torch.allclose(rounded[turn::2], features_of(imitation, images[turn::2]), rtol=1e-3, atol=1e-3)
        assert not torch.allclose(rounded[turn::2], features_of(encoder, of_bytes[turn::2]), rtol=1e-3, atol=1e-3)
    assert len(learnt) == 2
    for features, rounding in learnt:
        torch.testing.assert_close(features, exact, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features + rounding, rounded, rtol=1e-4, atol=1e-4)


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
    assert not model.model.normality.places.fitted
    assert "model.normality is left out: it needs at least two normal images, and there is one" in caplog.text
    assert "There is one training image. Logical anomalies, which mix two, are left out" in caplog.text
