"""The speed benchmarks from their command lines, with a tiny model where they allow one."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from anomalib_slsg import Slsg
from anomalib_slsg.networks import NetworkOptions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def _tiny(size: int) -> Slsg:
    network = NetworkOptions(decoder_channels=(16, 8, 8, 8))
    return Slsg("regnetx_002", encoder_weights=None, image_size=(size, size), network=network)


@pytest.fixture
def run_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from benchmarks.speed import methods, timing
    from benchmarks.speed import run as speed
    from benchmarks.speed.measurements import Results

    models = {"tiny": _tiny}
    monkeypatch.setattr(methods, "METHODS", models)
    monkeypatch.setattr(speed, "METHODS", models)
    monkeypatch.setattr(speed, "available", lambda: [("torch", "fp32"), ("openvino", "fp32")])
    monkeypatch.setattr(speed, "BATCHES", (1, 16))  # which are measured already; others would be exports of their own
    monkeypatch.setattr(speed, "GROWING", [("tiny", "openvino", "fp32")])
    monkeypatch.setattr(timing, "MATRIX", 64)

    def run(*arguments: str, sizes: tuple[int, ...] = (256,)) -> dict[tuple[str, ...], dict[str, Any]]:
        monkeypatch.setattr(speed, "SIZES", sizes)
        command = ["run.py", "--quick", "--results", str(tmp_path / "speed.csv"), "--work", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        speed.main()
        rows = Results(tmp_path / "speed.csv").rows
        return {(row.what, row.model, row.backend, str(row.batch)): row for row in rows}

    return run


def test_speed_measures_and_goes_on_where_it_was(
    run_speed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run_speed()
    assert ("inference 256", "tiny", "torch", "1") in rows
    row = rows["inference 256", "tiny", "openvino", "1"]
    assert all(value > 0 for value in (row.median_ms, row.p95_ms, row.images_per_s, row.ratio_to_floor))
    assert row.peak_mib is not None
    assert {key[-1] for key in rows} == {"1", "16"}
    assert "| tiny | openvino | fp32 |" in (tmp_path / "speed.md").read_text()
    assert (tmp_path / "speed.png").stat().st_size > 1000
    assert "tiny" in capsys.readouterr().out
    # what is in the folder for exports stays, and no export does
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speed.csv", "speed.md", "speed.png"]
    again = run_speed(sizes=(32, 256))
    assert {key: again[key] for key in rows} == rows
    (missing,) = again.keys() - rows.keys()
    grown = again[missing]
    assert missing == ("inference 32", "tiny", "openvino", "1")
    assert row.macs > grown.macs > 0
    assert row.parameters == grown.parameters > 0
    assert run_speed(sizes=(32, 256)) == again


def test_unknown_models_are_refused(run_speed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_speed("--models", '["PaDim"]')
    assert "['PaDim'] are not among ['tiny']" in capsys.readouterr().err


def test_idle_gradients_are_those_that_autograd_would_leave_out() -> None:
    """Counted against a step in which the encoder's maps need no gradient and are convolved on their own."""
    import torch

    from benchmarks.speed.training_steps import idle_gradients, segmentation_step

    seg_net, step, _ = segmentation_step(1, 32, "regnetx_002", bfloat16=False)
    expected = 0
    frozen = [*reversed(seg_net.encoder.channels[:-1]), 0]
    sides = [4, 8, 16, 32]  # of the decoder's four blocks at 32 px
    for block, channels, side in zip(seg_net.decoder.blocks, frozen, sides, strict=True):
        convolution = block[0][0]
        assert isinstance(convolution, torch.nn.Conv2d)
        images = 2  # one normal and one simulated
        expected += images * side**2 * convolution.out_channels * channels * 9
    assert idle_gradients(seg_net, step) == expected


@pytest.mark.parametrize("net", ["SegNet", "GPT-Net"])
def test_training_steps_are_measured(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process of their own, which the next test but one has."""
    from benchmarks.speed import timing
    from benchmarks.speed.training_task import measure

    monkeypatch.setattr(timing, "MATRIX", 64)
    options = {"backbone": "regnetx_002", "precision": "fp32", "size": 32, "repeats": 2}
    answer = json.loads(json.dumps(measure("step", net=net, **options)))
    assert all(len(seconds) == 3 for seconds in answer["products"].values())
    assert len(answer["seconds"]) == 2
    assert answer["macs"] > 0
    assert answer["parameters"] > 0
    assert answer["peak_mib"] > 100
    assert len(answer["simulation"]) == (2 if net == "SegNet" else 0)


def test_simulation_speed_prints_the_ratio(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.speed import simulation

    results = tmp_path / "simulation_speed.csv"
    monkeypatch.setattr(
        sys, "argv", ["simulation.py", "--rounds", "1", "--size", "64", "--batch", "2", "--results", str(results)]
    )
    simulation.main()
    said = re.findall(r"^(.+): [\d.]+ ms for .*, (\d+\.\d) times as fast$", capsys.readouterr().out, flags=re.MULTILINE)
    with results.open() as file:
        medians = [float(row["median_ms"]) for row in csv.DictReader(file)]
    assert len(said) == len(medians) == 3
    assert any("PerlinAnomalyGenerator" in name for name, _ in said)
    slowest = next(median for (name, _), median in zip(said, medians, strict=True) if "PerlinAnomalyGenerator" in name)
    for (_, times), median in zip(said, medians, strict=True):
        assert float(times) == pytest.approx(slowest / median, abs=0.06, rel=0.02)


def test_a_fit_in_a_process_of_its_own_is_with_every_image() -> None:
    """anomalib would keep a fifth for testing."""
    from benchmarks.common.own_process import in_own_process

    answer = in_own_process("benchmarks.speed.training_task", {"kind": "fit", "number": 10, "size": 32, "steps": 2})
    assert answer["images"] == 10
    assert len(answer["seconds"]) == 1
