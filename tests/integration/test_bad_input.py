"""Bad input gives one clear error that names the file or option and says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
import numpy as np
import pytest
from anomalib.cli import AnomalibCLI
from anomalib.data import PredictDataset
from anomalib.data.datasets import AnomalibVideoDataset
from anomalib.pre_processing import PreProcessor
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Compose, Normalize, Resize

from anomalib_slsg import Slsg
from anomalib_slsg.simulation import SimulationOptions
from anomalib_slsg.training.optimizer import OptimizerOptions
from tests.support.commands import run_python
from tests.support.models import NO_PRETRAINING
from tests.support.trees import copy_images

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

ParseCommand = Callable[..., AnomalibCLI]


def cut(path: Path) -> None:
    """Leave half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.fixture
def broken_folder(folder_tree: Path, tmp_path: Path) -> Path:
    """A copy of the training images whose last one is truncated."""
    folder = tmp_path / "broken"
    cut(copy_images(folder_tree / "good", folder)[-1])
    return folder


@pytest.mark.usefixtures("deep_reading")
@pytest.mark.parametrize("pretraining", ["with pre-training", "without"])
def test_truncated_image_is_named(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    broken_folder: Path,
    tmp_path: Path,
    pretraining: str,
) -> None:
    model = make_model() if pretraining == "with pre-training" else make_model(pretraining=NO_PRETRAINING)
    with pytest.raises(
        ValueError, match=r"broken/007\.png' is truncated or not a readable image .*repair or remove it"
    ):
        make_engine(tmp_path, max_steps=1).fit(model, make_folder(normal_dir=broken_folder))


@pytest.mark.usefixtures("deep_reading")
def test_truncated_test_image_is_named(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", broken_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"broken/007\.png' is truncated"):
        make_engine(tmp_path).test(make_model(), datamodule=make_folder(normal_test_dir=broken_folder))


PROGRAM = "import anomalib_slsg; anomalib_slsg.read_deep_images(); from anomalib.cli.cli import main; main()"


@pytest.mark.slow
def test_truncated_image_on_the_command_line(
    model_arguments: list[str], folder_arguments: list[str], broken_folder: Path, tmp_path: Path
) -> None:
    """Of a program of one's own that reads with this package and is otherwise anomalib's command."""
    data = [*folder_arguments, "--data.normal_dir", str(broken_folder), "--trainer.max_steps", "1"]
    failed = run_python(tmp_path, "-c", PROGRAM, "train", *model_arguments, *data, expect=1)
    last = failed.text.strip().splitlines()[-1]
    assert last.startswith("ValueError: ")
    assert f"'{broken_folder / '007.png'}' is truncated" in last
    assert not list(tmp_path.glob("results/**/*.ckpt"))


def test_empty_folder_is_named(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RuntimeError, match=r"Found 0 .*images in .*/empty "):
        make_engine(tmp_path, max_steps=1).fit(make_model(), make_folder(normal_dir=empty))


def test_missing_folder_is_named(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not exist: .*/nowhere"):
        make_engine(tmp_path, max_steps=1).fit(make_model(), make_folder(normal_dir=tmp_path / "nowhere"))


class Clips(AnomalibVideoDataset):
    """Eight clips, which are not even read."""

    def __init__(self) -> None:
        """Needs no files."""

    def __len__(self) -> int:
        return 8


def test_clips_of_videos_are_refused(make_model: "MakeModel", make_engine: "MakeEngine", tmp_path: Path) -> None:
    loader = DataLoader(Clips())
    with pytest.raises(ValueError, match="the training set, a Clips, has clips of videos"):
        make_engine(tmp_path, max_steps=1).fit(make_model(), train_dataloaders=loader)


def test_a_fit_without_training_is_one(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, max_steps=1, limit_train_batches=0)
    engine.fit(make_model(), make_folder())
    assert engine.trainer.global_step == 0


def test_size_and_pre_processor_may_say_the_same(make_model: "MakeModel") -> None:
    """anomalib's tiled ensembles always give one."""
    same = PreProcessor(Resize((32, 48)))
    assert make_model(image_size=(32, 48), pre_processor=same).pre_processor is same


@pytest.mark.slow
def test_exports_of_models_that_do_not_resize_ask_for_a_size(make_model: "MakeModel", tmp_path: Path) -> None:
    model = make_model(pre_processor=False)
    for export in (model.to_onnx, model.to_openvino):
        with pytest.raises(ValueError, match="nothing resizes this model's images to one size: give input_size"):
            export(tmp_path)
    assert model.to_onnx(tmp_path, input_size=(32, 32)).is_file()


def test_anomalous_training_images_are_told(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, caplog: Any
) -> None:
    """A data module may have both, as anomalib's Kaputt has by default."""
    datamodule = make_folder(mask_dir=None)
    datamodule.setup(TrainerFn.FITTING)
    datamodule.train_data.samples.loc[:1, "label_index"] = 1
    make_engine(tmp_path, max_steps=1).fit(make_model(pretraining=NO_PRETRAINING), datamodule)
    assert "2 of the training images are labelled anomalous" in caplog.text


@pytest.mark.parametrize(("exists", "error"), [(True, ValueError), (False, FileNotFoundError)])
def test_dtd_dir_without_images_is_named_before_training(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    exists: bool,
    error: type[Exception],
) -> None:
    textures = tmp_path / "textures"
    if exists:
        textures.mkdir()
        (textures / "readme.txt").write_text("no picture")
    engine = make_engine(tmp_path, max_steps=1)
    with pytest.raises(error, match=r"simulation\.dtd_dir.*/textures"):
        engine.fit(make_model(simulation=SimulationOptions(dtd_dir=str(textures))), make_folder())
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("use", ["test", "predict", "torch", "onnx"])
def test_an_untrained_model_is_told(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    use: str,
) -> None:
    """Its maps look like maps; a checkpoint of the pre-training holds one."""
    if use == "onnx":
        pytest.importorskip("onnx", reason="needs the extra openvino")
    model, engine = make_model(), make_engine(tmp_path, logger=False)
    uses = {
        "test": lambda: engine.test(model, make_folder()),
        "predict": lambda: engine.predict(model, dataset=PredictDataset(folder_tree / "bad" / "000.png")),
        "torch": lambda: model.to_torch(tmp_path),
        "onnx": lambda: model.to_onnx(tmp_path),
    }
    for trained in (False, True) if use in {"test", "predict"} else (False,):  # test_deployment has exports of others
        model.encoder_ready.fill_(trained)
        caplog.clear()
        uses[use]()
        assert ("This model has not been trained" in caplog.text) is not trained


def test_imagenet_weights_need_no_network_before_fitting(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Building and predicting succeed; fitting stops at its start and names the alternatives."""
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    model = make_model(backbone="resnet18", encoder_weights="imagenet")
    engine = make_engine(tmp_path / "results", max_steps=1)
    assert engine.predict(model, dataset=PredictDataset(folder_tree / "bad" / "000.png"))
    with pytest.raises(ConnectionError) as caught:
        engine.fit(model, make_folder())
    said = str(caught.value)
    assert said.startswith(
        "model.encoder_weights: the ImageNet weights of 'resnet18' are neither in the cache of the model"
    )
    assert "set model.encoder_weights to the path of a state dict (null gives random weights" in said
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


def test_missing_weights_file_is_named(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    model = make_model(encoder_weights=str(tmp_path / "none.pth"))
    with pytest.raises(FileNotFoundError, match=r"encoder_weights: no file '.*none\.pth'"):
        make_engine(tmp_path, max_steps=1).fit(model, make_folder())


def test_pre_processor_with_an_unfit_size_is_refused_when_fitting(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    model = make_model(pre_processor=PreProcessor(Resize((40, 40), antialias=True)))
    with pytest.raises(ValueError, match=r"multiples of 16; got 40x40"):
        make_engine(tmp_path, max_steps=1).fit(model, make_folder())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (30, 30)}, r"multiples of 16; got 30x30\. Set model\.image_size to \[32, 32\]"),
        (
            {"image_size": (32, 32), "pre_processor": PreProcessor(Resize((48, 32)))},
            r"model\.image_size and model\.pre_processor contradict",
        ),
        ({"image_size": (32, 32), "pre_processor": False}, r"model\.image_size and model\.pre_processor contradict"),
        (
            {"pre_processor": PreProcessor(Compose([Resize((32, 32)), Normalize([0.5] * 3, [0.5] * 3)]))},
            r"model\.pre_processor normalises.*leave it out",
        ),
        ({"backbone": "resnet17"}, r"backbone 'resnet17' is not a timm model"),
        ({"loss": {"focal_weight": 0.0, "l1_weight": 0.0}}, r"loss\.focal_weight and loss\.l1_weight are both 0"),
    ],
    ids=["size", "size and pre-processor", "size without pre-processor", "normalising", "backbone", "losses"],
)
def test_contradictions_are_found_on_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slsg(**options)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("model.image_size", (256,), r"must be a height and a width, or one number for both, got \(256,\)"),
        ("model.image_size", (256, 0), r"must be a whole number in \[16, inf\), got 0"),
        ("model.image_size", 0, r"must be a whole number in \[16, inf\), got 0"),
        ("normality.measures", ["parts"], "must be one of places, whole, composition, got 'parts'"),
        ("calibration.false_alarm_rate", 0, r"must lie in \(0, 0.5\], got 0"),
        ("pretraining.epochs", -1, r"must be a whole number in \[0, inf\), got -1"),
        ("optimizer.iterations", -1, r"must be a whole number in \[0, inf\), got -1"),
        ("optimizer.batch_size", 0, r"must be a whole number in \[1, inf\), got 0"),
        ("optimizer.learning_rate", 0.0, r"must lie in \(0, inf\), got 0.0"),
        ("optimizer.momentum", 1.0, r"must lie in \[0, 1\), got 1.0"),
        ("optimizer.weight_decay", -1e-4, r"must lie in \[0, inf\), got -0.0001"),
        ("network.num_neighbors", 0, r"must be a whole number in \[1, inf\), got 0"),
        ("loss.l1_weight", float("inf"), r"must lie in \[0, inf\), got inf"),
        ("simulation.colour_jitter", 9, r"must lie in \[0, 1\], got 9"),
        ("model.cache_gibibytes", float("nan"), r"must lie in \[0, inf\), got nan"),
        ("model.seed", -1, r"must be a whole number in \[0, inf\), got -1"),
        ("model.seed", 1.5, r"must be a whole number in \[0, inf\), got 1.5"),
        (
            "network.decoder_channels",
            (256, 0, 64, 32),
            r"must be 4 whole numbers in \[1, inf\), got \(256, 0, 64, 32\)",
        ),
    ],
)
def test_values_out_of_range_are_named(option: str, value: object, message: str) -> None:
    group, name = option.split(".")
    options: dict[str, Any] = {name: value} if group == "model" else {group: {name: value}}
    with pytest.raises(ValueError, match=rf"^{option} {message}$"):
        Slsg(**options)


def test_numbers_of_numpy_are_numbers() -> None:
    options = OptimizerOptions(iterations=np.int64(7), learning_rate=np.float32(0.5))  # type: ignore[arg-type]
    assert options == OptimizerOptions(iterations=7, learning_rate=0.5)
    assert (type(options.iterations), type(options.learning_rate)) == (int, float)  # which checkpoints hold


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_precisions_of_all_weights_are_refused(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, precision: str
) -> None:
    with pytest.raises(ValueError, match=rf"trainer\.precision={precision} is not supported; use 32-true, bf16-mixed"):
        make_engine(tmp_path, max_steps=1, precision=precision).fit(make_model(), make_folder())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.image_size", "[30,30]"], "got 30x30. Set model.image_size to [32, 32]"),
        (["--model.pretraining.mask_ratio", "1.5"], "pretraining.mask_ratio must lie in (0, 1), got 1.5"),
        (["--model.simulation.grid_cells", "1"], "simulation.grid_cells must be a whole number in [2, 256], got 1"),
        (["--model.simulation.noise", "simplex"], "noise"),
        (["--model.pretrainig.epochs", "3"], "pretrainig"),
    ],
    ids=["image_size", "pretraining", "simulation", "choice", "misspelt option"],
)
def test_command_line_names_the_option(
    parse_command: ParseCommand,
    model_arguments: list[str],
    folder_arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    with pytest.raises((SystemExit, ValueError)) as caught:
        parse_command("train", *model_arguments, *folder_arguments, *arguments)
    said = str(caught.value) + capsys.readouterr().err
    assert message in " ".join(said.split())
