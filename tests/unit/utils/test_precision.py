"""When the networks compute in bfloat16."""

import pytest
import torch
from anomalib.data import InferenceBatch

from anomalib_slsg.torch_model import SlsgModel
from anomalib_slsg.utils import precision
from tests.support.models import tiny_torch_model


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: True)


def _types(model: SlsgModel) -> tuple[torch.dtype, InferenceBatch]:
    seen = []
    handle = model.seg_net.squeeze.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    result = model(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    handle.remove()
    return seen[0], result


@pytest.mark.usefixtures("fast")
def test_fast_processors_compute_in_bfloat16_and_answer_in_32_bits() -> None:
    narrow, result = _types(tiny_torch_model(auto_bfloat16=True))
    wide, reference = _types(tiny_torch_model(auto_bfloat16=False))
    assert (narrow, wide) == (torch.bfloat16, torch.float32)
    assert result.anomaly_map.dtype == torch.float32
    assert 0 < (result.anomaly_map - reference.anomaly_map).abs().max() < 0.02


@pytest.mark.usefixtures("fast")
def test_maps_keep_more_values_than_bfloat16_has() -> None:
    _, result = _types(tiny_torch_model(auto_bfloat16=True))
    values = result.anomaly_map.unique()
    assert len(values.bfloat16().unique()) < len(values)


def test_slow_processors_stay_in_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: False)
    assert _types(tiny_torch_model(auto_bfloat16=True))[0] == torch.float32


@pytest.mark.usefixtures("fast")
def test_the_trainers_double_precision_stays() -> None:
    model = tiny_torch_model(auto_bfloat16=True).double()
    assert model(torch.rand(1, 3, 32, 32).double()).anomaly_map.shape == (1, 1, 32, 32)
    assert not torch.is_autocast_enabled("cpu")
    with model.fast_autocast():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_exported_graphs_are_of_32_bits() -> None:
    model = tiny_torch_model(auto_bfloat16=True)
    exported = torch.export.export(model, (torch.rand(1, 3, 32, 32),))
    types = {node.meta["val"].dtype for node in exported.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)}
    assert torch.bfloat16 not in types
    assert torch.float32 in types


@pytest.mark.parametrize(("name", "expected"), [("avx512_bf16", True), ("amx_bf16", True), ("avx2", False)])
def test_only_processors_with_its_instructions_count(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True}, raising=False)
    precision.cpu_multiplies_bfloat16.cache_clear()
    assert precision.cpu_multiplies_bfloat16() is expected
    precision.cpu_multiplies_bfloat16.cache_clear()


def test_compiled_graphs_keep_their_precisions() -> None:
    """They are no exports, whose runtime chooses."""

    @torch.compile(backend="eager", fullgraph=True)
    def product(values: torch.Tensor) -> torch.Tensor:
        with precision.full_precision(values.device):
            return values @ values

    with torch.autocast("cpu", torch.bfloat16):
        assert product(torch.rand(4, 4)).dtype == torch.float32


@pytest.mark.slow
def test_a_compiled_model_answers_as_it_does() -> None:
    model, images = tiny_torch_model(auto_bfloat16=False), torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        expected, found = model(images), torch.compile(model, backend="eager")(images)
    torch.testing.assert_close(found.anomaly_map, expected.anomaly_map, atol=1e-5, rtol=0)
