"""The option ``initial_features``: normal features of the encoder as it was before GPT-Net trained it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from anomalib.data import Folder
from anomalib.deploy import CompressionType
from torch import Tensor

from anomalib_slsg import Slsg
from anomalib_slsg.networks import ResNetEncoder

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

BACKBONE = "test_efficientnet"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights to start from."""
    torch.manual_seed(5)
    path = tmp_path / "weights.pt"
    torch.save(ResNetEncoder(BACKBONE).network.state_dict(), path)
    return path


def _differing(state: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert state.keys() == other.keys()
    return [name for name, tensor in state.items() if not torch.equal(tensor, other[name])]


def test_trained_saved_resumed_and_exported(
    weights: Path, make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    import openvino

    options = {
        "encoder_weights": str(weights),
        "initial_features": True,
        "feature_distance": True,
        "composition": True,
        "auto_bfloat16": False,
    }
    model = make_model(**options)
    make_engine(tmp_path / "first", max_steps=2, logger=False).fit(model, make_folder())
    seg_net, start = model.model.seg_net, torch.load(weights, weights_only=True)
    assert seg_net.initial_encoder is not None
    assert not _differing(seg_net.initial_encoder.network.state_dict(), start)
    assert _differing(seg_net.encoder.network.state_dict(), start)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        part = seg_net.statistics[0]
        normal = model.model.normalise(model.pre_processor.transform(_normal_images(make_folder())))
        torch.testing.assert_close(part.mean, part.gather([seg_net.initial_encoder(normal)]).mean(dim=0))
        expected = model.eval().model(images)

    checkpoint = next((tmp_path / "first").rglob("model.ckpt"))
    loaded = Slsg.load_from_checkpoint(checkpoint, visualizer=False).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(images).pred_score, expected.pred_score, atol=1e-5, rtol=0)
    weights.unlink()  # what goes on has them
    resumed = make_model(**options)
    make_engine(tmp_path / "second", max_steps=3, logger=False).fit(resumed, make_folder(), ckpt_path=checkpoint)
    assert not _differing(resumed.model.seg_net.initial_encoder.network.state_dict(), start)

    exported = loaded.to_openvino(tmp_path / "whole", input_size=(32, 32))
    found = openvino.compile_model(exported, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images.numpy())
    torch.testing.assert_close(torch.as_tensor(found["pred_score"]), expected.pred_score, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.as_tensor(found["anomaly_map"]), expected.anomaly_map, atol=1e-4, rtol=0)


def _normal_images(datamodule: Folder) -> Tensor:
    datamodule.setup()
    return torch.stack([datamodule.train_data[index].image for index in range(len(datamodule.train_data))])


def test_in_8_bits_the_trained_encoder_is_rounded_again(
    weights: Path, make_model: "MakeModel", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """What measures features stays unrounded, which is only the initial encoder here."""
    import openvino

    rounded = {}
    for initial in (False, True):
        model = make_model(encoder_weights=str(weights), initial_features=initial, feature_distance=True).eval()
        seg_net = model.model.seg_net
        with torch.no_grad():
            for part in seg_net.statistics:
                part.fit(part.gather([seg_net.measured_encoder(torch.rand(12, 3, 32, 32))]))
        exported = model.to_openvino(
            tmp_path / str(initial),
            input_size=(32, 32),
            compression_type=CompressionType.INT8_PTQ,
            datamodule=make_folder(),
        )
        operations = openvino.Core().read_model(exported).get_ops()
        convolutions = [operation for operation in operations if operation.get_type_name().endswith("Convolution")]
        inputs = [operation.input_value(0).get_node().get_type_name() for operation in convolutions]
        rounded[initial] = inputs.count("FakeQuantize")
    convolutions_of_an_encoder = sum(isinstance(module, torch.nn.Conv2d) for module in seg_net.encoder.modules())
    assert rounded[True] == rounded[False] + convolutions_of_an_encoder - 1  # but for the first


def test_a_fitted_model_is_fitted_again_without_the_file_of_weights(
    weights: Path, make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    start = torch.load(weights, weights_only=True)
    model = make_model(encoder_weights=str(weights), initial_features=True, feature_distance=True, composition=False)
    make_engine(tmp_path / "first", max_steps=1, logger=False).fit(model, make_folder())
    weights.unlink()
    make_engine(tmp_path / "second", max_steps=1, logger=False).fit(model, make_folder())
    assert model.model.seg_net.initial_encoder is not None
    assert not _differing(model.model.seg_net.initial_encoder.network.state_dict(), start)


def test_random_weights_tell_nothing(make_model: "MakeModel") -> None:
    with pytest.raises(ValueError, match=r"model.initial_features needs .* give model.encoder_weights"):
        make_model(initial_features=True)


def test_nothing_is_kept_where_nothing_is_measured(weights: Path, make_model: "MakeModel") -> None:
    off = {"feature_distance": False, "composition": False}
    assert make_model(encoder_weights=str(weights), initial_features=True, **off).model.seg_net.initial_encoder is None
    one = make_model(encoder_weights=str(weights))
    other = make_model(encoder_weights=str(weights), initial_features=True)
    state = other.model.seg_net.state_dict()
    without_it = {name: tensor for name, tensor in state.items() if "initial_encoder" not in name}
    assert without_it.keys() < state.keys()
    assert not _differing(one.model.seg_net.state_dict(), without_it)  # the same start
