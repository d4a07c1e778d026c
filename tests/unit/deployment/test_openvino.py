"""Operations in OpenVINO's graphs, and composition in its bfloat16, by the real runtime."""

from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import Tensor, nn

from anomalib_slsg.deployment.openvino import (
    COMPARED,
    COMPOSITION,
    comparing,
    consumers,
    keep_unrounded,
    names,
    preparing,
    producers,
    reachable,
)
from anomalib_slsg.normality.composition import Composition

CHANNELS = (60, 60)
SIDE = 16


class Measured(nn.Module):
    """Names buffers as SlsgModel does."""

    def __init__(self, composition: Composition) -> None:
        super().__init__()
        self.normality = nn.ModuleDict({"composition": composition})

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        features = torch.cat([nn.functional.avg_pool2d(fine, 2), coarse], dim=1)
        return self.normality["composition"](features.index_select(1, torch.arange(features.shape[1])))


def _images(number: int, seed: int, parts: tuple[int, ...] = (40, 12, 8, 4)) -> list[Tensor]:
    """Pyramids of images with so many cells of each kind, which vary little. bfloat16 holds their features."""
    kinds = torch.randn(4, sum(CHANNELS), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    kind = torch.repeat_interleave(torch.arange(4), torch.tensor(parts)).reshape(1, SIDE // 2, SIDE // 2)
    kind = kind.expand(number, -1, -1)
    cells = (kinds[kind] + 0.1 * torch.randn(*kind.shape, sum(CHANNELS), generator=generator)).permute(0, 3, 1, 2)
    coarse = cells[:, CHANNELS[0] :]
    return [
        level.bfloat16().float()
        for level in (nn.functional.interpolate(cells[:, : CHANNELS[0]], scale_factor=2), coarse)
    ]


@pytest.fixture(scope="module")
def composition() -> Composition:
    """One that has evidence against normal images, too, so that what rounding does to them shows."""
    fitted, (fine, coarse) = Composition(), _images(40, seed=1)
    fitted.fit(torch.cat([nn.functional.avg_pool2d(fine, 2), coarse], dim=1))
    fitted.median -= 3 * fitted.spread
    return fitted


def _export(composition: Composition, pyramid: list[Tensor], folder: Path, sixteen_bits: bool = False) -> Path:
    torch.onnx.export(Measured(composition).eval(), tuple(pyramid), folder / "model.onnx", dynamo=True)
    openvino.save_model(openvino.convert_model(folder / "model.onnx"), folder / "model.xml", sixteen_bits)
    return folder / "model.xml"


def _evidence(file: Path, precision: str, pyramid: list[Tensor]) -> np.ndarray:
    compiled = openvino.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return compiled([level.numpy() for level in pyramid])[0]


@pytest.mark.slow
@pytest.mark.usefixtures("openvino_bfloat16")
@pytest.mark.parametrize("sixteen_bits", [False, True], ids=["FP32 file", "FP16 file"])
def test_bfloat16_computes_what_32_bits_do(composition: Composition, sixteen_bits: bool, tmp_path: Path) -> None:
    pyramid = _images(4, seed=2)
    file = _export(composition, pyramid, tmp_path, sixteen_bits)
    exact = _evidence(file, "f32", pyramid)
    assert np.abs(_evidence(file, "bf16", pyramid) - exact).max() > 0.3
    keep_unrounded(file)
    keep_unrounded(file)  # of what is marked already, too
    np.testing.assert_array_equal(_evidence(file, "f32", pyramid), exact)
    np.testing.assert_allclose(_evidence(file, "bf16", pyramid), exact, atol=0.02)


@pytest.fixture
def graph() -> openvino.Model:
    """An image's features, compared with normal ones as *places* does, and a decoder beside that."""
    operations = openvino.opset13
    image = operations.parameter([1, 4], np.float32, name="image")
    encoded = operations.relu(image, name="encoder")
    scaled = operations.multiply(encoded, operations.constant(np.full((1, 4), 2, np.float32)), name="standardised")
    whitening = operations.constant(np.eye(4, dtype=np.float32), name=f"model.{COMPARED[0]}_compressed")
    product = operations.matmul(scaled, whitening, False, False, name="distance")
    decoded = operations.sigmoid(encoded, name="decoder")
    joined = operations.add(product, decoded, name="joined")
    return openvino.Model([joined], [image])


def _node(graph: openvino.Model, name: str) -> openvino.Node:
    return next(node for node in graph.get_ops() if node.get_friendly_name() == name)


def test_what_compares_features_is_found_by_its_constants(graph: openvino.Model) -> None:
    """Also by names that OpenVINO has made longer."""
    found = comparing(graph, COMPARED[0], COMPOSITION)
    assert names(found) == ["distance", "encoder", "joined", "standardised"]
    assert _node(graph, "decoder") not in found
    assert comparing(graph, COMPOSITION) == set()


def test_what_happens_to_images_is_found_up_to_the_first_convolution(graph: openvino.Model) -> None:
    operations = openvino.opset13
    image = operations.parameter([1, 3, 8, 8], np.float32, name="image")
    weights = operations.constant(np.ones((1, 3, 1, 1), np.float32))
    scaled = operations.multiply(image, operations.constant(np.float32(2)), name="scaled")
    other = operations.negative(image, name="beside")
    first = operations.convolution(scaled, weights, [1, 1], [0, 0], [0, 0], [1, 1], name="first")
    second = operations.relu(first, name="after")
    found = preparing(openvino.Model([second, other], [image]))
    assert names(found) == ["first", "scaled"]
    assert preparing(graph) == set()


def test_operations_before_and_after_are_found(graph: openvino.Model) -> None:
    assert names(consumers(_node(graph, "encoder"))) == ["decoder", "standardised"]
    assert names(producers(_node(graph, "joined"))) == ["decoder", "distance"]
    assert names(producers(_node(graph, "encoder"))) == []  # the image is no operation
    assert names(reachable([_node(graph, "decoder")], consumers)) == ["decoder", "joined"]
    assert names(reachable([_node(graph, "decoder")], producers)) == ["decoder", "encoder"]


@pytest.mark.slow
def test_composition_is_found_in_exported_graphs(composition: Composition, tmp_path: Path) -> None:
    graph = openvino.Core().read_model(_export(composition, _images(1, seed=2), tmp_path, sixteen_bits=True))
    kinds = {node.get_type_name() for node in comparing(graph, COMPOSITION)}
    assert {"MatMul", "Softmax"} <= kinds
    assert comparing(graph, COMPARED[0]) == set()
