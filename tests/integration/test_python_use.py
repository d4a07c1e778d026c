"""Slsg from Python: anomalib's engine, its data modules, checkpoints, seeds."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from anomalib.data import Folder, MVTecAD, PredictDataset
from anomalib.models import get_model
from anomalib.utils.serialization import anomalib_safe_globals

from anomalib_slsg import Slsg
from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.options import as_options
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.simulation import SimulationOptions
from tests.support.models import (
    NO_PRETRAINING,
    TINY_OPTIONS,
    assert_same_weights,
    seeded_slsg,
    weights_of,
)
from tests.support.training import drawn_loco

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.integration.conftest import Fitted, MakeEngine, MakeFolder, MakeModel

IMAGE_METRICS = {"image_AUROC", "image_F1Score"}
PIXEL_METRICS = {"pixel_AUROC", "pixel_F1Score"}


def test_folder_gives_image_and_pixel_metrics(fitted: "Fitted") -> None:
    (metrics,) = fitted.engine.test(fitted.model, datamodule=fitted.datamodule, verbose=False)
    assert metrics.keys() == IMAGE_METRICS | PIXEL_METRICS


def test_mvtec_ad(make_model: "MakeModel", make_engine: "MakeEngine", mvtec_ad_tree: Path, tmp_path: Path) -> None:
    datamodule = MVTecAD(root=mvtec_ad_tree, category="part", num_workers=0)
    engine, model = make_engine(tmp_path, max_steps=1), make_model()
    (metrics,) = engine.train(model, datamodule=datamodule)
    assert metrics.keys() == IMAGE_METRICS | PIXEL_METRICS
    assert (tmp_path / "Slsg" / "MVTecAD" / "part" / "v0" / "weights" / "lightning" / "model.ckpt").is_file()


def test_mvtec_loco_tells_the_types_of_anomaly_apart(
    make_model: "MakeModel", make_engine: "MakeEngine", mvtec_loco_tree: Path, tmp_path: Path
) -> None:
    datamodule = drawn_loco(mvtec_loco_tree)
    engine, model = make_engine(tmp_path, max_steps=1), make_model()
    (metrics,) = engine.train(model, datamodule=datamodule)
    types = {f"image_AUROC_{name}" for name in ("logical", "structural", "mean")}
    assert metrics.keys() == IMAGE_METRICS | PIXEL_METRICS | types
    halves = metrics["image_AUROC_logical"], metrics["image_AUROC_structural"]
    assert metrics["image_AUROC_mean"] == pytest.approx(sum(halves) / 2)
    # as many images of one type as of the other, so that the mean is the AUROC of all
    assert metrics["image_AUROC_mean"] == pytest.approx(metrics["image_AUROC"])


def test_test_from_a_checkpoint_gives_the_metrics_of_the_fitted_model(
    fitted: "Fitted", make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    (expected,) = fitted.engine.test(fitted.model, datamodule=fitted.datamodule, verbose=False)
    fresh = make_model(seed=5)
    (found,) = make_engine(tmp_path).test(fresh, datamodule=make_folder(), ckpt_path=fitted.checkpoint, verbose=False)
    assert found == pytest.approx(expected, abs=1e-4)


def test_load_from_checkpoint_predicts_the_same(
    fitted: "Fitted", make_engine: "MakeEngine", folder_tree: Path, tmp_path: Path
) -> None:
    dataset = PredictDataset(folder_tree / "bad")
    expected = make_engine(tmp_path / "fitted").predict(fitted.model, dataset=dataset)
    loaded = Slsg.load_from_checkpoint(fitted.checkpoint)
    assert loaded.visualizer is None
    found = make_engine(tmp_path / "loaded").predict(loaded, dataset=dataset)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.anomaly_map, other.anomaly_map, atol=1e-6, rtol=0)
        torch.testing.assert_close(one.pred_score, other.pred_score, atol=1e-6, rtol=0)


def test_a_checkpoint_whose_images_were_not_resized_is_tested_so(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    model = make_model(pretraining=NO_PRETRAINING, image_size=None, pre_processor=False)
    engine = make_engine(tmp_path / "fitted", max_steps=1)
    engine.fit(model, make_folder())
    (batch, *_) = make_engine(tmp_path / "found").predict(
        make_model(), datamodule=make_folder(), ckpt_path=engine.best_model_path
    )
    assert batch.anomaly_map.shape[-2:] == batch.image.shape[-2:] == (64, 64)


class FewShot(Folder):
    """A user's own way to choose images, which must be done once, and Lightning's own signature."""

    def setup(self, stage: str) -> None:  # type: ignore[override]
        super().setup(stage)
        self.test_data = self.test_data.subsample(list(range(1, len(self.test_data))))


def test_a_user_s_setup_runs_once_where_a_checkpoint_is_loaded(
    fitted: "Fitted", make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    whole = make_folder()
    whole.setup()
    few = FewShot("parts", "good", whole.root, "bad", "good_test", "mask", val_split_mode="same_as_test", num_workers=0)
    make_engine(tmp_path).test(make_model(), datamodule=few, ckpt_path=fitted.checkpoint)
    assert len(few.test_data) == len(whole.test_data) - 1


def test_loading_a_seeded_model_leaves_the_caller_s_random_numbers(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    seeded = seeded_slsg(3, pretraining=NO_PRETRAINING)
    engine = make_engine(tmp_path, max_steps=1)
    engine.fit(seeded, make_folder())
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    loaded = Slsg.load_from_checkpoint(engine.best_model_path)
    assert loaded.hparams["seed"] == 3
    assert torch.equal(torch.rand(4), expected)


def test_checkpoint_holds_plain_data_and_options_come_back(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    pretraining = PretrainingOptions(epochs=1, large_mask_sides=(20, 60), log_images_every=0)
    simulation = SimulationOptions(
        noise="rectangle", logical_opacity=(np.float32(0.75), np.float32(0.875)), foreground="whole"
    )
    network = NetworkOptions(num_neighbors=np.int64(3))  # type: ignore[arg-type]
    model = make_model(pretraining=pretraining, simulation=simulation, network=network)
    engine = make_engine(tmp_path, max_steps=1)
    engine.fit(model, make_folder())
    path = engine.best_model_path

    with anomalib_safe_globals():
        plain = torch.load(path, weights_only=True)["hyper_parameters"]
    assert isinstance(plain["pretraining"], dict)
    assert isinstance(plain["simulation"], dict)
    loaded = Slsg.load_from_checkpoint(path)
    assert as_options(PretrainingOptions, loaded.hparams["pretraining"]) == pretraining
    assert loaded.simulator.options == simulation
    assert loaded.options.network == NetworkOptions(num_neighbors=3)
    # and once more: what was loaded can be saved and loaded again
    again = make_engine(tmp_path, max_steps=2)
    again.fit(loaded, make_folder(), ckpt_path=path)
    assert Slsg.load_from_checkpoint(again.best_model_path).simulator.options == simulation


def test_without_a_logger_reconstructions_are_files_only(fitted: "Fitted") -> None:
    assert fitted.engine.trainer.loggers == []
    assert [path.name for path in fitted.folder.glob("images/pretraining/*")] == ["epoch_001.png"]
    assert [path.name for path in fitted.folder.rglob("*") if path.is_file()] == ["epoch_001.png", "model.ckpt"]


def test_images_are_freed_after_fitting(fitted: "Fitted") -> None:
    with pytest.raises(RuntimeError, match="only while the model is being fitted"):
        _ = fitted.model.normal_images


def test_same_seed_same_weights(
    fitted: "Fitted", make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    weights = {}
    for seed in (1, 2):
        model = make_model(seed=seed)
        make_engine(tmp_path, max_steps=2).fit(model, make_folder())
        weights[seed] = model.model.state_dict()
    first = fitted.model.model.state_dict()
    assert_same_weights(weights[1], first)
    changed = [name for name, tensor in weights[2].items() if name.endswith("weight") and tensor.ndim == 4]
    assert changed
    assert not any(torch.equal(weights[2][name], first[name]) for name in changed)


@pytest.mark.slow
def test_a_seed_is_all_that_weights_depend_on(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """Not on where PyTorch's own generator stands, which goes on as if no model had been made."""
    weights = []
    for state in (11, 12):
        torch.manual_seed(state)
        expected = torch.rand(4)
        torch.manual_seed(state)
        model = seeded_slsg(3)
        assert torch.equal(torch.rand(4), expected)
        make_engine(tmp_path / str(state), max_steps=3, logger=False).fit(model, make_folder())
        weights.append(weights_of(model.model))
    first, second = weights
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_encoder_s_statistics_are_those_of_whole_images(fitted: "Fitted", make_folder: "MakeFolder") -> None:
    """What batch norm normalises with is what the first layer gives for the training images."""
    network = fitted.model.model.seg_net.encoder.network
    datamodule = make_folder()
    datamodule.setup()
    images = torch.stack([item.image for item in datamodule.train_data])
    resized = fitted.model.pre_processor.transform(images)
    with torch.no_grad():
        features = network.conv_stem(fitted.model.model.normalise(resized))
    torch.testing.assert_close(network.bn1.running_mean, features.mean(dim=(0, 2, 3)), atol=5e-3, rtol=1e-2)


def test_fit_twice_pre_trains_once(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
) -> None:
    model = make_model()
    make_engine(tmp_path, max_steps=1).fit(model, make_folder())
    encoder = weights_of(model.model.seg_net.encoder)
    second = make_engine(tmp_path, max_steps=1)
    second.fit(model, make_folder())
    assert not (Path(second.trainer.default_root_dir) / "images").exists()
    for name, tensor in model.model.seg_net.encoder.state_dict().items():
        assert torch.equal(tensor, encoder[name]), name


@pytest.mark.parametrize("size", [None, (64, 64), (32, 32)], ids=str)
def test_data_have_the_size_of_the_checkpoint(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    fitted: "Fitted",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    size: tuple[int, int] | None,
) -> None:
    """anomalib sets data up before the checkpoint brings the size; images would be resized twice."""
    (expected,) = make_engine(tmp_path / "fitted").test(fitted.model, make_folder())
    datamodule = make_folder()
    (found,) = make_engine(tmp_path / "new").test(make_model(image_size=size), datamodule, ckpt_path=fitted.checkpoint)
    assert datamodule.test_data[0].image.shape == (3, 32, 32)
    assert found == pytest.approx(expected)
    told = "model.image_size: the checkpoint's [32, 32] counts, not [64, 64]" in caplog.text
    assert told == (size == (64, 64))


def test_training_goes_on_at_the_size_of_the_checkpoint(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", fitted: "Fitted", tmp_path: Path
) -> None:
    model, datamodule = make_model(image_size=None), make_folder()
    make_engine(tmp_path, max_steps=4, logger=False).fit(model, datamodule, ckpt_path=fitted.checkpoint)
    assert datamodule.train_data[0].image.shape == (3, 32, 32)


def test_anomalib_s_own_way_to_name_models_makes_one_that_comes_back(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """Its benchmark and tiled ensembles go this way, which turns options into OmegaConf's containers."""
    arguments = {
        **TINY_OPTIONS,
        "image_size": [32, 32],
        "pretraining": {"epochs": 1, "large_mask_sides": [20, 60]},
        "simulation": {"logical_opacity": [0.75, 0.875]},
    }
    model = get_model({"class_path": "anomalib_slsg.Slsg", "init_args": arguments})
    assert isinstance(model, Slsg)
    engine = make_engine(tmp_path, max_steps=1)
    engine.fit(model, make_folder())
    loaded = Slsg.load_from_checkpoint(engine.best_model_path)
    found = as_options(PretrainingOptions, loaded.hparams["pretraining"])
    assert found == PretrainingOptions(epochs=1, large_mask_sides=(20, 60))
    assert loaded.simulator.options == SimulationOptions(logical_opacity=(0.75, 0.875))
