"""sPRO with real models: Slsg's defaults, PatchCore, PaDiM, the command line, and maps on disk."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from anomalib.cli import AnomalibCLI
from anomalib.data import ImageBatch
from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule, Padim, Patchcore
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import CenterCrop, Compose, RandomHorizontalFlip, Resize

from anomalib_slsg.metrics import AUSPRO, AnomalyMapWriter, AnomalyTypeAUROC
from anomalib_slsg.metrics.anomaly_maps import read_map
from anomalib_slsg.metrics.evaluate import evaluate, main
from anomalib_slsg.utils.images import read_image
from tests.support.commands import metrics_in
from tests.support.paths import REPOSITORY
from tests.support.training import drawn_loco
from tests.support.trees import copy_loco_tree

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeModel

pytestmark = pytest.mark.slow

CONFIG = [{"defect_name": "bar", "pixel_value": 255, "saturation_threshold": 50, "relative_saturation": False}]
SIZE = (32, 32)


@pytest.fixture(scope="module")
def loco_root(mvtec_loco_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the drawn tree with a configuration of its defects."""
    return copy_loco_tree(mvtec_loco_tree, tmp_path_factory.mktemp("loco_metrics") / "loco", CONFIG)


def _padim(normalise: bool) -> Padim:
    return Padim(n_features=20, **_options(normalise))


def _patchcore(normalise: bool) -> Patchcore:
    return Patchcore(coreset_sampling_ratio=0.05, **_options(normalise))


def _options(normalise: bool) -> dict[str, Any]:
    metrics = [AUSPRO(0.3), AUSPRO(0.3, "logical", prefix="pixel_"), AUSPRO(1.0, "all"), AnomalyTypeAUROC("mean")]
    return {
        "backbone": "resnet18",
        "layers": ["layer1"],
        "pre_trained": False,
        "pre_processor": PreProcessor(transform=Resize(SIZE, antialias=True)),
        "post_processor": PostProcessor(enable_normalization=normalise),
        "evaluator": Evaluator(test_metrics=metrics),
        "visualizer": False,
    }


def test_slsg_measures_spro_on_loco_trees_by_itself(
    make_model: "MakeModel", make_engine: "MakeEngine", loco_root: Path, tmp_path: Path
) -> None:
    engine, model = make_engine(tmp_path, max_steps=1), make_model()
    (metrics,) = engine.train(model, datamodule=drawn_loco(loco_root))
    found = [metrics[f"pixel_AUSPRO_{kind}"] for kind in ("logical", "structural", "mean")]
    assert all(0 <= value <= 1 for value in found)
    assert found[2] == pytest.approx((found[0] + found[1]) / 2, abs=1e-6)


@pytest.mark.parametrize("make", [_patchcore, _padim])
def test_other_models_and_their_raw_maps_on_disk(
    make: Callable[[bool], AnomalibModule], make_engine: "MakeEngine", loco_root: Path, tmp_path: Path
) -> None:
    """What the metric logs and what the command finds in the written maps are the same."""
    torch.manual_seed(0)
    model = make(False)
    engine = make_engine(tmp_path, callbacks=[AnomalyMapWriter(str(tmp_path / "maps"))])
    engine.fit(model, datamodule=drawn_loco(loco_root))
    (metrics,) = engine.test(model, datamodule=drawn_loco(loco_root), verbose=False)
    found = evaluate(loco_root, "part", tmp_path / "maps", (0.3,)).auc_spro
    assert metrics["AUSPRO_0.3_mean"] == pytest.approx(found["mean"]["0.3"], abs=1e-6)
    assert metrics["pixel_AUSPRO_0.3_logical"] == pytest.approx(found["logical_anomalies"]["0.3"], abs=1e-6)
    assert 0 <= metrics["AUROC_mean"] <= 1
    assert 0 <= metrics["AUSPRO_1_all"] <= 1


def test_curve_is_there_after_the_test(make_engine: "MakeEngine", loco_root: Path, tmp_path: Path) -> None:
    """As the metrics' README uses it; the trainer has reset its metrics by then."""
    torch.manual_seed(0)
    model, engine = _padim(False), make_engine(tmp_path)
    engine.fit(model, datamodule=drawn_loco(loco_root))
    (metrics,) = engine.test(model, datamodule=drawn_loco(loco_root), verbose=False)
    (curve,) = [metric for metric in model.evaluator.test_metrics if metric.name == "AUSPRO_1_all"]
    (points,) = curve.curves().values()
    thresholds, fpr, spro = map(torch.as_tensor, points)
    assert len(fpr) == len(spro) == len(thresholds) > 2
    # neighbouring points are at most 1e-3 apart unless scores tie
    assert torch.trapezoid(spro, fpr).item() == pytest.approx(metrics["AUSPRO_1_all"], abs=1e-3)
    (axes,) = curve.generate_figure()[0].axes
    assert len(axes.lines) == 1


@pytest.mark.parametrize("full_size", [False, True])
def test_written_maps_are_not_normalised(
    full_size: bool, make_engine: "MakeEngine", loco_root: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = _padim(normalise=True)
    writer = AnomalyMapWriter(str(tmp_path / "maps"), category="renamed", full_size=full_size)
    engine = make_engine(tmp_path, callbacks=[writer])
    engine.fit(model, datamodule=drawn_loco(loco_root))
    engine.test(model, datamodule=drawn_loco(loco_root), verbose=False)
    images = sorted((loco_root / "part" / "test").glob("*/*.png"))
    assert len(images) == 7
    for path in images:
        written = read_map(tmp_path / "maps" / "renamed" / "test" / path.parent.name / f"{path.stem}.tiff")
        image = read_image(path, as_tensor=True)[None]
        with torch.no_grad():
            normalised = model.eval()(image).anomaly_map[0, 0]
            raw = model.model.eval()(Resize(SIZE, antialias=True)(image)).anomaly_map[0, 0]
        assert written.shape == ((64, 64) if full_size else SIZE)
        expected = raw if not full_size else torch.nn.functional.interpolate(raw[None, None], (64, 64), mode="bilinear")
        torch.testing.assert_close(torch.from_numpy(written), expected.squeeze(), rtol=1e-3, atol=1e-3)
        assert (normalised - raw).abs().max() > 0.05


def test_maps_of_a_part_of_the_image_are_refused(make_engine: "MakeEngine", loco_root: Path, tmp_path: Path) -> None:
    pre_processor = PreProcessor(transform=Compose([Resize((64, 64), antialias=True), CenterCrop(32)]))
    model = Padim(**_options(False) | {"n_features": 20, "pre_processor": pre_processor})
    engine = make_engine(tmp_path, callbacks=[AnomalyMapWriter(str(tmp_path / "maps"))])
    engine.fit(model, datamodule=drawn_loco(loco_root))
    with pytest.raises(ValueError, match="AnomalyMapWriter: CenterCrop gives maps of another part of the image"):
        engine.test(model, datamodule=drawn_loco(loco_root), verbose=False)
    assert not (tmp_path / "maps").exists()


def test_maps_are_judged_by_what_is_tested(
    make_engine: "MakeEngine", loco_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning keeps the data module of the run before where loaders are given."""
    flipping = RandomHorizontalFlip()
    plain, flipped = drawn_loco(loco_root), drawn_loco(loco_root)
    for data in (plain, flipped):
        data.setup()
    flipped.test_data.augmentations = flipping
    model = Padim(**_options(False) | {"n_features": 20})
    writer = AnomalyMapWriter(str(tmp_path / "maps"))
    engine = make_engine(tmp_path, callbacks=[writer])
    engine.fit(model, datamodule=plain)
    for loaders in (flipped.test_dataloader(), [plain.test_dataloader(), flipped.test_dataloader()]):
        with pytest.raises(ValueError, match="AnomalyMapWriter: RandomHorizontalFlip gives maps of another part"):
            engine.test(model, dataloaders=loaders, verbose=False)
    monkeypatch.setattr(plain.test_data, "augmentations", flipping)
    monkeypatch.setattr(flipped.test_data, "augmentations", None)
    engine.test(model, dataloaders=flipped.test_dataloader(), verbose=False)
    assert len(list((tmp_path / "maps").rglob("*.tiff"))) == len(flipped.test_data)


def test_maps_that_evaluations_refuse_are_refused_while_written(loco_root: Path, tmp_path: Path) -> None:
    path = next((loco_root / "part" / "test" / "good").iterdir())
    batch = ImageBatch(image=torch.rand(1, 3, 32, 64), anomaly_map=torch.rand(1, 32, 64), image_path=[str(path)])
    model: Any = Padim(pre_trained=False)
    with pytest.raises(ValueError, match=rf"anomaly map '{path}' has 64x32 pixels, .*AnomalyMapWriter .* full_size"):
        AnomalyMapWriter(str(tmp_path)).on_test_batch_end(None, model, None, batch, 0)  # type: ignore[arg-type]
    AnomalyMapWriter(str(tmp_path), full_size=True).on_test_batch_end(None, model, None, batch, 0)  # type: ignore[arg-type]
    assert read_map(tmp_path / "part" / "test" / "good" / f"{path.stem}.tiff").shape == (64, 64)


def test_two_images_do_not_share_a_map(tmp_path: Path) -> None:
    writer = AnomalyMapWriter(str(tmp_path))
    paths = [f"parts/test/bad/0.{suffix}" for suffix in ("png", "jpg")]
    batch = ImageBatch(image=torch.rand(2, 3, 8, 8), anomaly_map=torch.rand(2, 8, 8), image_path=paths)
    with pytest.raises(ValueError, match=r"the map of '.*0\.jpg' would replace that of '.*0\.png'"):
        writer.on_test_batch_end(None, Padim(pre_trained=False), None, batch, 0)  # type: ignore[arg-type]


def test_models_without_maps_are_refused() -> None:
    writer = AnomalyMapWriter("maps")
    with pytest.raises(ValueError, match="Padim makes no anomaly maps"):
        writer.on_test_batch_end(None, Padim(pre_trained=False), None, object(), 0)  # type: ignore[arg-type]


def test_command_line(
    parse_command: Callable[..., AnomalibCLI],
    loco_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The configuration in the metrics' page, and the command line in the writer's documentation."""
    page = (REPOSITORY / "docs" / "loco_metrics.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    config = yaml.safe_load(text)
    config["model"]["init_args"] |= {"backbone": "resnet18", "layers": ["layer1"], "pre_trained": False}
    config["model"]["init_args"]["coreset_sampling_ratio"] = 0.05
    # small enough that areas are below 1; all ways to compute them would agree on 1
    resize = {"class_path": "torchvision.transforms.v2.Resize", "init_args": {"size": list(SIZE), "antialias": True}}
    pre_processor = {"class_path": "anomalib.pre_processing.PreProcessor", "init_args": {"transform": resize}}
    config["model"]["init_args"]["pre_processor"] = pre_processor
    config["data"]["init_args"] |= {"root": str(loco_root), "category": "part", "num_workers": 0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    common = ["--config", "config.yaml", "--trainer.accelerator", "cpu"]
    parse_command("train", *common)
    (checkpoint,) = tmp_path.glob("results/**/model.ckpt")
    (documented,) = re.findall(r"``anomalib (test --trainer\.callbacks.*? maps)``", _documentation())
    command, *callback = documented.split()
    capsys.readouterr()
    parse_command(command, *common, "--ckpt_path", str(checkpoint), *callback)
    metrics = metrics_in(capsys.readouterr().out)
    assert {"pixel_AUSPRO_logical", "pixel_AUSPRO_mean", "image_AUROC_logical"} <= metrics.keys()
    main(
        [
            *("--dataset", str(loco_root), "--category", "part", "--anomaly_maps", str(tmp_path / "maps")),
            *("--output", str(tmp_path / "evaluation"), "--fpr_limits", "0.05"),
        ]
    )
    found = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["localization"]["auc_spro"]
    assert 0 < metrics["pixel_AUSPRO_logical"] < 1
    assert metrics["pixel_AUSPRO_logical"] == pytest.approx(found["logical_anomalies"]["0.05"], abs=1e-6)
    assert metrics["pixel_AUSPRO_mean"] == pytest.approx(found["mean"]["0.05"], abs=1e-6)


def _documentation() -> str:
    return " ".join((AnomalyMapWriter.__doc__ or "").split())
