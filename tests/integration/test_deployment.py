"""Export to ONNX and OpenVINO: the exported model answers as the engine does."""

import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from anomalib.cli import AnomalibCLI
from anomalib.data import PredictDataset
from anomalib.data.utils import read_image
from anomalib.deploy import CompressionType
from anomalib.engine import Engine

from anomalib_slsg import Slsg
from anomalib_slsg.deployment.openvino import COMPARED, consumers, names, producers, reachable
from anomalib_slsg.normality.normality import Normality
from anomalib_slsg.normality.places import Places
from tests.support.deployed import FULL_PRECISION, assert_deployed_alike, assert_maps_alike, kind_before, operations_of
from tests.support.models import NO_PRETRAINING, tiny_normality
from tests.support.paths import REPOSITORY
from tests.support.training import checkpoints_of
from tests.support.trees import copy_images, resized

if TYPE_CHECKING:
    from tests.integration.conftest import Fitted, MakeEngine, MakeFolder

pytestmark = pytest.mark.slow

SIDE = 64  # of the drawn images; the model resizes them to 32


@pytest.fixture(autouse=True)
def _cache_of_compiled_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """anomalib's inferencer keeps one in the working folder."""
    monkeypatch.chdir(tmp_path)


def _assert_equal(model: Slsg, engine: Engine, exported: Path, images: list[Path], tolerance: float) -> None:
    model.model.auto_bfloat16 = False
    predictions = engine.predict(model, dataset=PredictDataset(images[0].parent))
    assert predictions is not None
    assert len(predictions) == len(images)
    assert_deployed_alike(exported, predictions, tolerance)


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_command_line_exports_what_the_engine_computes(
    kind: str,
    parse_command: Callable[..., AnomalibCLI],
    make_engine: "MakeEngine",
    trained_checkpoint: Path,
    folder_tree: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One file for images of several sizes, larger and smaller than the model's."""
    command = ["export", "--model", "anomalib_slsg.Slsg", "--export_type", kind, "--ckpt_path", str(trained_checkpoint)]
    parse_command(*command, "--export_root", "exported")
    assert "Traceback" not in "".join([caplog.text, *capfd.readouterr()])
    exported = tmp_path / "exported" / "weights" / kind / ("model.onnx" if kind == "onnx" else "model.xml")
    model = Slsg.load_from_checkpoint(trained_checkpoint, visualizer=False)
    for side in (SIDE, 90, 24):
        images = copy_images(folder_tree / "bad", tmp_path / str(side), change=resized(side))
        _assert_equal(model, make_engine(tmp_path / f"results{side}"), exported, images, 1e-4)


@pytest.fixture
def loaded(fitted: "Fitted") -> Slsg:
    """A copy of the fitted model, which a test may change."""
    return Slsg.load_from_checkpoint(fitted.checkpoint, visualizer=False).eval()


def _leave_out_normality(model: Slsg) -> None:
    model.model.normality = None


# height and width of photographs: smaller, equal, larger, not square, and wider than the whole numbers of bfloat16
PHOTOGRAPHS = ((20, 24), (SIDE, SIDE), (90, 50), (525, 700))
EXACT = 1e-4
# by how much scores and maps may differ where OpenVINO computes in 32 bits. Whitening magnifies what rounding weights
# to 16 bits does, and 8 bits round SegNet; where it chooses 16 bits by itself, scores may differ by 0.02
ROUNDED = {None: EXACT, CompressionType.FP16: 5e-3, CompressionType.INT8_PTQ: 2e-2}
BY_ITSELF, MAPS_BY_ITSELF = 0.02, 0.1  # maps of SegNet are steep at edges


@pytest.fixture(scope="module")
def seeing_checkpoint(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model whose normality has ImageNet's weights, so that scores depend on images as users' do."""
    engine = make_engine(tmp_path_factory.mktemp("seeing"), max_steps=10)
    engine.fit(Slsg(image_size=SIDE, seed=1, visualizer=False, pretraining=NO_PRETRAINING), make_folder())
    return checkpoints_of(engine) / "model.ckpt"


def _see(checkpoint: Path, measures: bool = True) -> Slsg:
    """A copy of it that computes in 32 bits, without its normality if there are no measures."""
    model = Slsg.load_from_checkpoint(checkpoint, visualizer=False, auto_bfloat16=False).eval()
    if not measures:
        _leave_out_normality(model)
    return model


@pytest.fixture
def seeing(seeing_checkpoint: Path) -> Slsg:
    """A copy of it that computes in 32 bits, which a test may change."""
    return _see(seeing_checkpoint)


@pytest.fixture(scope="module")
def seeing_in_openvino(seeing_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export to OpenVINO in 32 bits, for images of any size."""
    return _see(seeing_checkpoint).to_openvino(tmp_path_factory.mktemp("openvino"))


Found = Callable[[bool, tuple[int, int]], list[Any]]


@pytest.fixture(scope="module")
def found_in(seeing_checkpoint: Path, folder_tree: Path) -> Found:
    """What it finds in each photograph of a size alone, with its measures or without; it is asked once."""

    @cache
    @torch.no_grad()
    def found(measures: bool, size: tuple[int, int]) -> list[Any]:
        model = _see(seeing_checkpoint, measures)
        return [model(image[None]) for image in _photographs(folder_tree, size)]

    return found


def _photographs(folder_tree: Path, size: tuple[int, int]) -> torch.Tensor:
    """Five images of one size, of shape (5, 3, H, W)."""
    files = sorted((folder_tree / "good_test").iterdir()) + sorted((folder_tree / "bad").iterdir())
    images = torch.stack([torch.from_numpy(read_image(file)).permute(2, 0, 1) for file in files[1:6]]).float()
    return torch.nn.functional.interpolate(images, size, mode="bilinear").clamp(0, 1)


def _assert_says(
    run: Callable[[np.ndarray], Any], images: torch.Tensor, expected: list[Any], tolerances: list[float]
) -> None:
    """Assert that a runtime finds in all images, and in the first, what the model finds in each image alone."""
    for number in (len(images), 1):
        found = run(images[:number].numpy())
        scores, maps = (torch.as_tensor(np.asarray(found[name])) for name in ("pred_score", "anomaly_map"))
        for alone, score, anomaly_map in zip(expected[:number], scores.flatten(), maps, strict=True):
            torch.testing.assert_close(score, alone.pred_score[0], atol=tolerances[0], rtol=0)
            if tolerances[1] > EXACT:
                assert_maps_alike(anomaly_map, alone.anomaly_map[0], tolerances[1])
            else:
                torch.testing.assert_close(anomaly_map, alone.anomaly_map[0], atol=EXACT, rtol=0)


def _onnx_runtime(file: Path) -> Callable[[np.ndarray], Any]:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra dev")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


@pytest.mark.parametrize(
    ("measures", "input_size"), [(True, None), (False, (48, 48))], ids=["default, any size", "SegNet alone, one size"]
)
def test_onnx_runtime_says_what_the_model_does(
    measures: bool,
    input_size: tuple[int, int] | None,
    seeing_checkpoint: Path,
    found_in: Found,
    folder_tree: Path,
    tmp_path: Path,
) -> None:
    run = _onnx_runtime(_see(seeing_checkpoint, measures).to_onnx(tmp_path, input_size=input_size))
    for size in PHOTOGRAPHS if input_size is None else [input_size]:
        _assert_says(run, _photographs(folder_tree, size), found_in(measures, size), [EXACT, EXACT])


@pytest.mark.parametrize(
    ("measures", "compression", "input_size"),
    [
        (True, None, None),
        (True, CompressionType.FP16, (48, 48)),  # which changes no more than the file
        (True, CompressionType.INT8_PTQ, None),
        (False, None, None),
        (False, CompressionType.INT8_PTQ, (48, 48)),
    ],
)
def test_openvino_says_what_the_model_does(
    measures: bool,
    compression: CompressionType | None,
    input_size: tuple[int, int] | None,
    seeing_checkpoint: Path,
    seeing_in_openvino: Path,
    found_in: Found,
    make_folder: "MakeFolder",
    folder_tree: Path,
    tmp_path: Path,
) -> None:
    """Also with its default settings, by which it computes in bfloat16 where the processor is fast at that."""
    import openvino

    exported = seeing_in_openvino
    if (measures, compression, input_size) != (True, None, None):
        data = {"compression_type": compression, "datamodule": make_folder(eval_batch_size=2)}  # not the graph's
        exported = _see(seeing_checkpoint, measures).to_openvino(tmp_path, input_size=input_size, **data)
    rounded = ROUNDED[compression]
    for settings, tolerances in ((FULL_PRECISION, [rounded, rounded]), ({}, [max(rounded, BY_ITSELF), MAPS_BY_ITSELF])):
        run = openvino.compile_model(exported, "CPU", settings)
        for size in PHOTOGRAPHS if input_size is None else [input_size]:
            _assert_says(run, _photographs(folder_tree, size), found_in(measures, size), tolerances)


def test_torchscript_says_what_the_model_does(seeing: Slsg, folder_tree: Path) -> None:
    images = _photographs(folder_tree, (90, 50))
    traced = seeing.to_torchscript(method="trace", example_inputs=images)
    expected = seeing(images)
    for name, found in zip(expected._fields, traced(images), strict=True):
        assert (found is None) == (getattr(expected, name) is None)
        if name in ("pred_score", "anomaly_map"):
            torch.testing.assert_close(found, getattr(expected, name), atol=1e-5, rtol=0)


def test_weights_of_other_widths_say_the_same_or_are_refused(seeing: Slsg, folder_tree: Path) -> None:
    images = _photographs(folder_tree, (90, 50))
    expected = seeing(images)
    wide = seeing.double()(images.double())
    torch.testing.assert_close(wide.pred_score, expected.pred_score.double(), atol=1e-4, rtol=0)
    for narrow, name in ((seeing.half, "float16"), (seeing.bfloat16, "bfloat16")):
        with pytest.raises(TypeError, match=f"weights cannot be torch.{name}: .* Leave them in float32"):
            narrow()(images)


def test_resizing_and_normality_are_never_rounded_to_bfloat16(seeing_in_openvino: Path) -> None:
    """On any processor, by what OpenVINO reads: all that is computed before the first convolution of SegNet, and all
    that leads to a measure, is marked."""
    import openvino

    graph = openvino.Core().read_model(seeing_in_openvino)
    layers = {layer.get("name"): layer for layer in ElementTree.parse(seeing_in_openvino).iterfind("layers/layer")}
    marked = {name for name, layer in layers.items() if layer.find("rt_info/attribute[@name='precise']") is not None}
    constants = [node for node in graph.get_ops() if any(name in node.get_friendly_name() for name in COMPARED)]
    assert len(constants) == 4
    measured = reachable([consumers(node)[0] for node in constants], producers)
    convolutions = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"]
    prepared = reachable([convolutions[0].input_value(0).get_node()], producers)
    assert {"ShapeOf", "Range", "MatMul", "Transpose"} <= {node.get_type_name() for node in prepared}
    assert set(names(measured | prepared)) <= marked
    assert sum(node in measured for node in convolutions) > 5  # the backbone's


def test_an_export_is_one_file_and_says_how_it_is_loaded(
    loaded: Slsg, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="anomalib_slsg"):
        files = [loaded.to_onnx(tmp_path, opset_version=20), loaded.to_torch(tmp_path)]
    assert sorted(each for each in tmp_path.rglob("*") if each.is_file()) == sorted(files)
    assert onnx.load(files[0]).opset_import[0].version == 20
    told = [record.message for record in caplog.records if record.message.startswith("Exported")]
    sizes = [f"{file.stat().st_size / 1e6:.1f} MB" for file in files]
    assert [
        f"Exported {file}, {size}. Load it with" in line for file, size, line in zip(files, sizes, told, strict=True)
    ]
    assert "onnxruntime.InferenceSession" in told[0]
    assert "TorchInferencer" in told[1]
    assert "has not been trained" not in caplog.text


def test_an_operator_set_that_is_not_written_is_refused(loaded: Slsg, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="opset_version=12 is not supported, PyTorch wrote 18: leave it out"):
        loaded.to_onnx(tmp_path, opset_version=12)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_ends_early_leaves_the_older_one(
    loaded: Slsg, seeing_in_openvino: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one is that of another model; test_whole_files has other errors."""
    shutil.copytree(seeing_in_openvino.parents[1], tmp_path / "weights")
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}

    def fail(path: Path) -> None:
        assert path.read_bytes() not in before.values()
        raise KeyboardInterrupt

    monkeypatch.setattr("anomalib_slsg.deployment.export.keep_unrounded", fail)
    with pytest.raises(KeyboardInterrupt):
        loaded.to_openvino(tmp_path, input_size=(48, 48))
    assert {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()} == before
    assert [each.name for each in tmp_path.iterdir()] == ["weights"]


def test_quantised_models_leave_the_image_and_similarities_unrounded(
    loaded: Slsg, make_folder: "MakeFolder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours chosen from rounded similarities would be others; rounded grey images would have colours.

    Quantisation looks at training images, not at defects.
    """
    datamodule = make_folder(eval_batch_size=2)
    datamodule.setup()
    seen: list[Any] = []
    read = type(datamodule.train_data).__getitem__
    monkeypatch.setattr(
        type(datamodule.train_data), "__getitem__", lambda self, index: seen.append(self) or read(self, index)
    )
    _leave_out_normality(loaded)
    exported = loaded.to_openvino(
        tmp_path, input_size=(SIDE, SIDE), compression_type=CompressionType.INT8_PTQ, datamodule=datamodule
    )
    assert {each.split for each in seen} == {"train"}
    operations = operations_of(exported)
    before = {
        kind: [kind_before(operation) for operation in operations if operation.get_type_name() == kind]
        for kind in ("MatMul", "Convolution")
    }
    assert before["MatMul"]
    assert "FakeQuantize" not in before["MatMul"]
    assert before["Convolution"][0] != "FakeQuantize"  # the first in the order of computation
    assert before["Convolution"][1] == "FakeQuantize"


@torch.no_grad()
def _fit_to_noise(model: Slsg, measure: str) -> None:
    """Have one measure alone, fitted."""
    normality = model.model.normality = Normality(tiny_normality(measure)).eval()
    features = normality.backbone(torch.rand(12, 3, 32, 32))
    for part in normality.measures:
        coarseness = "finest" if part is normality.details else "coarse" if measure == "whole" else "fine"
        part.fit(getattr(features, coarseness))
        if isinstance(part, Places):
            part.align((32, 32), torch.zeros(2))


def test_quantisation_that_does_not_work_is_refused_at_once(
    loaded: Slsg, make_folder: "MakeFolder", tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="INT8_ACQ is not supported; take INT8_PTQ"):
        loaded.to_openvino(tmp_path, compression_type=CompressionType.INT8_ACQ, datamodule=make_folder())
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.parametrize("kept", ["places", "whole", "composition"])
def test_what_measures_features_stays_unrounded(
    kept: str, loaded: Slsg, make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """Each by itself: from the image to what is made of the distance nothing is rounded, but in SegNet."""
    _fit_to_noise(loaded, kept)
    exported = loaded.to_openvino(
        tmp_path, input_size=(32, 32), compression_type=CompressionType.INT8_PTQ, datamodule=make_folder()
    )
    operations = {operation.get_friendly_name(): operation for operation in operations_of(exported)}
    producers = {
        name: [value.get_node().get_friendly_name() for value in operation.input_values()]
        for name, operation in operations.items()
    }
    after: set[str] = set()  # in the order of computation
    for name, inputs in producers.items():
        if any(f"{kept}." in each or each in after for each in inputs):
            after.add(name)
    before = {each for name in after if operations[name].get_type_name() == "MatMul" for each in producers[name]}
    for name in reversed(producers):
        if name in before:
            before.update(producers[name])
    kinds = [operations[name].get_type_name() for name in after | before]
    assert kinds.count("Convolution") > 5  # the backbone's
    assert "FakeQuantize" not in kinds
    assert "FakeQuantize" in {operation.get_type_name() for operation in operations.values()}  # SegNet's


def test_compressed_weights_answer_as_the_network_does(
    loaded: Slsg, make_engine: "MakeEngine", folder_tree: Path, tmp_path: Path
) -> None:
    """Rounded features would lie far from all normal ones."""
    exported = loaded.to_openvino(tmp_path / "exported", compression_type=CompressionType.INT8)
    weights = [each for each in operations_of(exported) if each.get_type_name() == "Constant"]
    assert sum(each.data.size for each in weights if each.data.itemsize == 1) > 10_000
    images = copy_images(folder_tree / "bad", tmp_path / "images", change=resized(SIDE))
    _assert_equal(loaded, make_engine(tmp_path / "results"), exported, images, 2e-2)


def test_quantisation_asks_for_images(fitted: "Fitted", tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="INT8_PTQ looks at images: give a data module"):
        fitted.model.to_openvino(tmp_path, input_size=(SIDE, SIDE), compression_type=CompressionType.INT8_PTQ)


def test_exports_do_not_depend_on_the_processor(loaded: Slsg, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that trains in bfloat16 exports 32 bits."""
    monkeypatch.setattr("anomalib_slsg.utils.precision.cpu_multiplies_bfloat16", lambda: True)
    program = torch.export.export(loaded, (torch.rand(1, 3, SIDE, SIDE),), strict=False)
    types = {node.meta["val"].dtype for node in program.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)}
    assert torch.bfloat16 not in types


def test_what_deployment_costs_is_printed(
    fitted: "Fitted",
    folder_arguments: list[str],
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.deployment import run as deployed_accuracy

    forms = {name: form for name, form in deployed_accuracy.OPENVINO_FORMS.items() if name == "openvino, FP32"}
    monkeypatch.setattr(deployed_accuracy, "OPENVINO_FORMS", forms)
    monkeypatch.setattr(sys, "argv", ["run.py", "--checkpoint", str(fitted.checkpoint), *folder_arguments])
    deployed_accuracy.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["torch, fp32", "torch, bf16", "openvino, FP32"]
    model = Slsg.load_from_checkpoint(fitted.checkpoint, visualizer=False, auto_bfloat16=False)
    (metrics,) = make_engine(tmp_path).test(model, make_folder(eval_batch_size=1), verbose=False)
    assert float(rows[0][1]) == pytest.approx(metrics["image_AUROC"], abs=1e-4)
    assert rows[0][2:] == ["+0.0000", "0.0000"]
    assert float(rows[2][3]) < 1e-3
