"""Every way to run a model gives the model's results; another one plugs in by one function."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalib_slsg import Slsg
from anomalib_slsg.networks import NetworkOptions
from tests.unit.benchmarks.conftest import ROOT

SHAPE = (2, 3, 32, 32)


@pytest.fixture(scope="module")
def model() -> Slsg:
    network = NetworkOptions(decoder_channels=(16, 8, 8, 8))
    return Slsg("regnetx_002", encoder_weights=None, image_size=(32, 32), network=network, seed=0).eval()


@pytest.mark.slow
def test_all_backends_agree(model: Slsg, tmp_path: Path) -> None:
    from benchmarks.deployment.backends import BACKENDS

    images = np.random.default_rng(0).random(SHAPE, np.float32)
    maps = {}
    for key, (export, load) in BACKENDS.items():
        answer = load(export(model, tmp_path, SHAPE), SHAPE)(images)
        value = (
            answer.anomaly_map
            if hasattr(answer, "anomaly_map")
            else next(tensor for port, tensor in answer.items() if "anomaly_map" in port.get_names())
        )
        maps[key] = np.array(value, dtype=np.float32)
    reference = maps["torch", "fp32"]
    assert reference.shape == (2, 1, 32, 32)
    np.testing.assert_allclose(maps["openvino", "fp32"], reference, atol=1e-4)
    for key, found in maps.items():
        np.testing.assert_allclose(found, reference, atol=3e-2, err_msg=str(key))


def test_another_backend_plugs_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Slsg) -> None:
    from benchmarks.deployment import backends

    monkeypatch.setattr(backends, "BACKENDS", dict(backends.BACKENDS))

    @backends.backend("mine", "fp32", backends.to_torch)
    def load(exported: Path, shape: tuple[int, int, int, int]) -> Any:
        return lambda images: (exported.name, shape, images.sum())

    export, found = backends.BACKENDS["mine", "fp32"]
    assert found(export(model, tmp_path, SHAPE), SHAPE)(np.ones(SHAPE))[:2] == ("model.pt", SHAPE)
    assert ("mine", "fp32") in backends.available()


@pytest.mark.slow
def test_a_model_in_a_process_of_its_own(model: Slsg, tmp_path: Path) -> None:
    """OpenVINO's process holds neither torch nor this one's memory."""
    from benchmarks.common.own_process import in_own_process, peak_mebibytes
    from benchmarks.deployment.backends import BACKENDS

    export, _ = BACKENDS["openvino", "fp32"]
    task = {"backend": "openvino", "precision": "fp32", "size": 32, "batch": 2, "repeats": 2}
    module = "benchmarks.speed.inference_task"
    answer = in_own_process(module, {**task, "exported": str(export(model, tmp_path, SHAPE))})
    assert len(answer["seconds"]) == 2
    assert 0 < answer["peak_mib"] < peak_mebibytes() / 4
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(RuntimeError, match="nowhere"):
        in_own_process(module, json.loads(json.dumps({**task, "exported": "nowhere.xml"})))
