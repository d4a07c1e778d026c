"""Checkpoints bring their network along, and run nothing; broken and foreign ones are refused in one line."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile

import pytest
import torch
from anomalib.metrics import AUPRO, Evaluator
from anomalib.models import Padim
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from lightning.pytorch.cli import LightningCLI
from torch import Tensor
from torchvision.transforms.v2 import CenterCrop, Compose, Pad, Resize

from anomalib_slsg import Slsg
from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.options import LossOptions
from anomalib_slsg.training.optimizer import OptimizerOptions
from tests.support.models import NO_PRETRAINING, tiny_normality
from tests.support.training import checkpoints_of, quiet_trainer

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

pytestmark = pytest.mark.slow

# of every kind of option something that is not the default
OPTIONS: dict[str, Any] = {
    "backbone": "test_resnet",
    "network": NetworkOptions(decoder_channels=(16, 8, 8, 8), num_neighbors=4, score_pixels=7),
    "normality": tiny_normality("places"),
    "optimizer": OptimizerOptions(iterations=3, batch_size=2),
    "loss": LossOptions(l1_weight=0.5),
    "pretraining": NO_PRETRAINING,
}


def scores(predictions: Any) -> Tensor:
    """Scores and heat maps in one line."""
    return torch.cat([torch.cat([each.pred_score.flatten(), each.anomaly_map.flatten()]) for each in predictions])


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What this package has warned of."""
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in found if record.name.startswith("anomalib_slsg")]


class Trained(NamedTuple):
    """A training of two of three steps."""

    checkpoint: Path
    scores: Tensor


@pytest.fixture(scope="module")
def trained(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path_factory: Any
) -> Trained:
    """A model none of whose options are the defaults."""
    model, engine = make_model(**OPTIONS), make_engine(tmp_path_factory.mktemp("trained"), max_steps=2, logger=False)
    engine.fit(model, make_folder())
    return Trained(checkpoints_of(engine) / "model.ckpt", scores(engine.predict(model, datamodule=make_folder())))


def without_options(**options: Any) -> Slsg:
    """Make a model as somebody does who has forgotten how it was trained."""
    return Slsg(visualizer=False, **options)


def test_prediction_needs_no_option(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path, caplog: Any
) -> None:
    found = make_engine(tmp_path).predict(without_options(), datamodule=make_folder(), ckpt_path=trained.checkpoint)
    torch.testing.assert_close(scores(found), trained.scores, atol=1e-4, rtol=0)
    assert warnings(caplog) == []


def test_testing_and_loading_need_no_option(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path, caplog: Any
) -> None:
    loaded = Slsg.load_from_checkpoint(trained.checkpoint, visualizer=False)
    (expected,) = make_engine(tmp_path / "loaded").test(loaded, make_folder())
    (found,) = make_engine(tmp_path / "new").test(without_options(), make_folder(), ckpt_path=trained.checkpoint)
    assert found == pytest.approx(expected)
    assert warnings(caplog) == []


def test_export_needs_no_option(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path
) -> None:
    file = make_engine(tmp_path).export(without_options(), "torch", export_root=tmp_path, ckpt_path=trained.checkpoint)
    exported = torch.load(file, weights_only=False)["model"].eval()
    datamodule = make_folder()
    datamodule.setup()
    images = torch.stack([item.image for item in datamodule.test_data])
    expected = Slsg.load_from_checkpoint(trained.checkpoint).eval()(images)
    torch.testing.assert_close(scores([exported(images)]), scores([expected]), atol=1e-3, rtol=0)


def test_training_goes_on_without_an_option(
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    trained: Trained,
    tmp_path: Path,
    caplog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its length, its batches, and what the next checkpoint says of it, are those of its beginning."""
    sizes: list[int] = []
    model, engine = without_options(), make_engine(tmp_path, logger=False)
    step = model.training_step

    def counted(batch: Any, batch_idx: int) -> Any:
        sizes.append(len(batch.image))
        return step(batch, batch_idx)

    monkeypatch.setattr(model, "training_step", counted)
    engine.fit(model, make_folder(), ckpt_path=trained.checkpoint)
    assert engine.trainer.global_step == 3
    assert sizes == [2]
    assert model.loss.options == LossOptions(l1_weight=0.5)
    before, after = (torch.load(file)["hyper_parameters"] for file in (trained.checkpoint, engine.best_model_path))
    assert {name: after[name] for name in OPTIONS} == {name: before[name] for name in OPTIONS}
    assert warnings(caplog) == []


@pytest.mark.parametrize("way", ["engine", "load_from_checkpoint"])
def test_a_network_that_was_asked_for_is_overruled_with_one_warning(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path, caplog: Any, way: str
) -> None:
    """Its weights may fit, and would give other results without a word."""
    other = {"network": NetworkOptions(num_neighbors=5)}
    if way == "engine":
        found = make_engine(tmp_path).predict(
            without_options(**other), datamodule=make_folder(), ckpt_path=trained.checkpoint
        )
    else:
        loaded = Slsg.load_from_checkpoint(trained.checkpoint, visualizer=False, **other)
        found = make_engine(tmp_path).predict(loaded, datamodule=make_folder())
    torch.testing.assert_close(scores(found), trained.scores, atol=1e-4, rtol=0)
    assert warnings(caplog) == ["The checkpoint's network counts: model.network.num_neighbors=4, not 5."]


def pixel_metrics() -> Evaluator:
    """Metrics with tensors of their own, which anomalib's AUPRO keeps as buffers."""
    return Evaluator(test_metrics=[AUPRO(fields=["anomaly_map", "gt_mask"])])


@pytest.mark.parametrize("component", ["evaluator", "post_processor", "pre_processor", "visualizer"])
@pytest.mark.parametrize("missing", ["in the checkpoint", "in the model"])
def test_components_never_decide_whether_weights_load(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    component: str,
    missing: str,
) -> None:
    with_it = {"evaluator": pixel_metrics()} if component == "evaluator" else {component: True}
    have, lack = {**OPTIONS, **with_it}, {**OPTIONS, component: component == "evaluator"}  # the default one
    first, second = (lack, have) if missing == "in the checkpoint" else (have, lack)
    engine = make_engine(tmp_path / "fitted", max_steps=1, logger=False)
    engine.fit(make_model(**first), make_folder(augmentations=Resize((32, 32))))
    weights = torch.load(engine.best_model_path)["state_dict"]
    model = make_model(**second)
    resized = make_folder(augmentations=Resize((32, 32)))
    make_engine(tmp_path / "used").predict(model, datamodule=resized, ckpt_path=engine.best_model_path)
    found = model.state_dict()
    assert [name for name in found if name.startswith("model.") and not torch.equal(found[name], weights[name])] == []


PADDED = Compose([Pad((0, 16)), Resize((64, 96))])


@pytest.fixture(scope="module")
def padded(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path_factory: Any
) -> Trained:
    """A model whose pre-processor anomalib cannot save."""
    model = make_model(**OPTIONS, pre_processor=PreProcessor(PADDED))
    engine = make_engine(tmp_path_factory.mktemp("padded"), max_steps=1, logger=False)
    engine.fit(model, make_folder())
    return Trained(checkpoints_of(engine) / "model.ckpt", scores(engine.predict(model, datamodule=make_folder())))


@pytest.mark.parametrize("way", ["engine", "load_from_checkpoint"])
def test_a_pre_processor_that_is_given_stays(
    make_engine: "MakeEngine", make_folder: "MakeFolder", padded: Trained, tmp_path: Path, way: str
) -> None:
    own, engine = PreProcessor(PADDED), make_engine(tmp_path)
    if way == "engine":
        model = without_options(pre_processor=own)
        found = engine.predict(model, datamodule=make_folder(), ckpt_path=padded.checkpoint)
    else:
        model = Slsg.load_from_checkpoint(padded.checkpoint, pre_processor=own, visualizer=False)
        found = engine.predict(model, datamodule=make_folder())
    assert model.pre_processor is own
    assert own.transform is PADDED
    torch.testing.assert_close(scores(found), padded.scores, atol=1e-4, rtol=0)


def test_nothing_is_loaded_without_the_pre_processor_that_it_was_trained_with(
    make_engine: "MakeEngine", make_folder: "MakeFolder", padded: Trained, tmp_path: Path
) -> None:
    told = r"was trained with a pre-processor that checkpoints cannot hold, Compose\(.*Pad.*\): give it again"
    with pytest.raises(ValueError, match=rf"^'{padded.checkpoint}' {told}"):
        make_engine(tmp_path).predict(without_options(), datamodule=make_folder(), ckpt_path=padded.checkpoint)
    with pytest.raises(ValueError, match=told):
        Slsg.load_from_checkpoint(padded.checkpoint)


def test_a_pre_processor_that_was_saved_comes_back(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    crop = Compose([Resize((48, 48)), CenterCrop((32, 32))])
    model, engine = make_model(**OPTIONS, pre_processor=PreProcessor(crop)), make_engine(tmp_path, max_steps=1)
    engine.fit(model, make_folder())
    loaded = Slsg.load_from_checkpoint(engine.best_model_path)
    image = torch.rand(1, 3, 90, 70)
    torch.testing.assert_close(loaded.pre_processor.transform(image), crop(image))


# Each names classes of its own in the checkpoint
MARKS = "tests.support.marks"
COMPONENTS = {
    "pre_processor": "MarkingPreProcessor",
    "post_processor": "MarkingPostProcessor",
    "evaluator": "MarkingEvaluator",
    "visualizer": "MarkingVisualizer",
}


def changed(checkpoint: Path, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write a checkpoint with another content."""
    content = torch.load(checkpoint)
    change(content)
    file = folder / "changed.ckpt"
    torch.save(content, file)
    torch.load(file, weights_only=True)  # which finds nothing bad in it
    return file


def use_everywhere(file: Path, make_engine: "MakeEngine", make_folder: "MakeFolder", folder: Path) -> list[str]:
    """Use a checkpoint in every way that there is, and tell what was said against it."""
    ways: list[Callable[[], Any]] = [
        lambda: make_engine(folder / "1").predict(Slsg.load_from_checkpoint(file), datamodule=make_folder()),
        lambda: make_engine(folder / "2").predict(without_options(), datamodule=make_folder(), ckpt_path=file),
        lambda: make_engine(folder / "3").test(without_options(), make_folder(), ckpt_path=file),
        lambda: make_engine(folder / "4").export(without_options(), "torch", folder / "4", ckpt_path=file),
        lambda: make_engine(folder / "5", max_steps=3, logger=False).fit(
            without_options(), make_folder(), ckpt_path=file
        ),
    ]
    return [message for way in ways if (message := said_by(way))]


def said_by(way: Callable[[], Any]) -> str:
    """What was said against it, if anything."""
    try:
        way()
    except (ValueError, TypeError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_component_is_built_from_a_checkpoint(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path, component: str
) -> None:
    mark = tmp_path / "mark"
    named = {"class_path": f"{MARKS}.{COMPONENTS[component]}", "init_args": {"file": str(mark)}}

    def name_a_class(content: dict[str, Any]) -> None:
        content["hyper_parameters"][component] = named
        content["hyper_parameters"]["_instantiator"] = "lightning.pytorch.cli.instantiate_module"

    file = changed(trained.checkpoint, tmp_path, name_a_class)
    said = use_everywhere(file, make_engine, make_folder, tmp_path)
    Slsg.load_from_checkpoint(trained.checkpoint, hparams_file=_hyper_parameters(file, tmp_path))
    assert not mark.exists()
    assert said == []


def _hyper_parameters(checkpoint: Path, folder: Path) -> Path:
    """A checkpoint's options in a file of their own, which Lightning takes, too."""
    file = folder / "options.yaml"
    file.write_text(json.dumps(torch.load(checkpoint)["hyper_parameters"]))
    return file


def test_no_function_is_called_by_a_transform(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path, monkeypatch: Any
) -> None:
    """A ``Lambda`` of ``os.system`` would run when images are prepared."""
    monkeypatch.chdir(tmp_path)
    calling = {"class_path": "torchvision.transforms.v2.Lambda", "init_args": {"lambd": f"{MARKS}.leave_mark"}}

    def by_options(content: dict[str, Any]) -> None:
        processor = {"class_path": "anomalib.pre_processing.PreProcessor", "init_args": {"transform": calling}}
        content["hyper_parameters"]["pre_processor"] = processor
        content["hyper_parameters"]["_instantiator"] = "lightning.pytorch.cli.instantiate_module"

    def by_anomalib(content: dict[str, Any]) -> None:
        content["anomalib_pre_processor_config"] = {"transform": calling}

    assert use_everywhere(changed(trained.checkpoint, tmp_path, by_options), make_engine, make_folder, tmp_path) == []
    said = use_everywhere(changed(trained.checkpoint, tmp_path, by_anomalib), make_engine, make_folder, tmp_path)
    assert said == ["Unsupported transform class: torchvision.transforms.v2.Lambda"] * 5
    assert not (tmp_path / "mark").exists()


def test_options_are_no_classes(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    named = {"class_path": f"{MARKS}.leave_mark", "init_args": {"file": str(mark)}}

    def name_a_class(content: dict[str, Any]) -> None:
        content["hyper_parameters"].update(simulation=named, _instantiator="lightning.pytorch.cli.instantiate_module")

    said = use_everywhere(changed(trained.checkpoint, tmp_path, name_a_class), make_engine, make_folder, tmp_path)
    assert len(said) == 5
    assert all(each.startswith("the checkpoint's options are not those of this version: ") for each in said)
    assert not mark.exists()


def test_checkpoints_of_lightning_s_command_line_load_without_a_warning(
    make_folder: "MakeFolder", tmp_path: Path, caplog: Any, recwarn: pytest.WarningsRecorder
) -> None:
    """They name what Lightning would build them with."""
    arguments = {
        "model": {
            "backbone": "test_resnet",
            "encoder_weights": None,
            "image_size": 32,
            "normality": {"backbone": "test_efficientnet", "encoder_weights": None, "measures": ["places"]},
            "pretraining": {"epochs": 0},
            "visualizer": False,
        }
    }
    model = LightningCLI(Slsg, args=arguments, run=False, save_config_callback=None).model
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(model, datamodule=make_folder())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt")
    assert content["hyper_parameters"]["_instantiator"] == "lightning.pytorch.cli.instantiate_module"
    recwarn.clear()
    loaded = Slsg.load_from_checkpoint(tmp_path / "model.ckpt")
    assert loaded.options.backbone == "test_resnet"
    assert warnings(caplog) == []
    assert [str(each.message) for each in recwarn] == []


def _not_finite(content: dict[str, Any]) -> None:
    content["state_dict"]["model.seg_net.decoder.head.bias"].fill_(torch.nan)


def _infinite(content: dict[str, Any]) -> None:
    content["state_dict"]["model.normality.places.mean"][:1] = torch.inf


@pytest.mark.parametrize("damage", [_not_finite, _infinite])
def test_weights_that_are_not_finite_are_refused(
    make_engine: "MakeEngine", make_folder: "MakeFolder", trained: Trained, tmp_path: Path, damage: Callable
) -> None:
    """Every image would pass for normal."""
    file = changed(trained.checkpoint, tmp_path, damage)
    said = use_everywhere(file, make_engine, make_folder, tmp_path)
    assert len(said) == 5
    assert all(each.startswith(f"'{file}' holds weights that are not finite (model.") for each in said)
    assert not any("\n" in each for each in said)


def test_checkpoints_of_other_models_are_named(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    trainer = quiet_trainer()
    trainer.strategy.connect(Padim(backbone="test_resnet", pre_trained=False, layers=["layer1"], n_features=4))
    file = tmp_path / "padim.ckpt"
    trainer.save_checkpoint(file)
    said = use_everywhere(file, make_engine, make_folder, tmp_path)
    assert said == [f"'{file}' is the checkpoint of another model, or none: it has no weights of SLSG"] * 5


NO_CHECKPOINT = "'{}' is no checkpoint (.ckpt), or holds more than tensors and plain data, as exported models do: "


def test_files_that_are_no_checkpoints_are_named(
    trained: Trained, make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    content = trained.checkpoint.read_bytes()
    empty, half, text, exported, zipped, bare = (tmp_path / f"{number}.ckpt" for number in range(6))
    empty.touch()
    half.write_bytes(content[: len(content) // 2])
    text.write_text("version https://git-lfs.github.com/spec/v1")
    torch.save({"model": Slsg}, exported)
    with ZipFile(zipped, "w") as archive:
        archive.writestr("photograph.png", content[:100])
    torch.save([1], bare)
    told = {
        tmp_path / "nowhere.ckpt": "there is no checkpoint '{}'",
        empty: "'{}' is an empty file",
        half: "'{}' is cut short, or not a checkpoint at all",
        text: "'{}' is cut short, or not a checkpoint at all",
        exported: NO_CHECKPOINT,
        zipped: NO_CHECKPOINT,
        bare: "'{}' is the checkpoint of another model, or none: it has no weights of SLSG",
    }
    for file, message in told.items():
        with pytest.raises((ValueError, FileNotFoundError)) as raised:
            Slsg.load_from_checkpoint(file)
        assert str(raised.value).startswith(message.format(file))
        assert "\n" not in str(raised.value)
    assert use_everywhere(half, make_engine, make_folder, tmp_path) == [told[half].format(half)] * 5


def test_a_post_processor_that_is_given_stays(trained: Trained) -> None:
    own = PostProcessor(enable_normalization=False, image_sensitivity=0.9)
    model = Slsg.load_from_checkpoint(trained.checkpoint, post_processor=own)
    assert model.post_processor is own
    assert own.image_sensitivity == 0.9


def test_a_pre_processor_may_replace_a_size(trained: Trained) -> None:
    own = PreProcessor(PADDED)
    assert Slsg.load_from_checkpoint(trained.checkpoint, pre_processor=own).pre_processor is own
