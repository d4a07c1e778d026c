"""Rows of results, and what follows from durations."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.progress import Progress


@pytest.fixture
def measurements() -> Any:
    from benchmarks.speed import measurements

    return measurements


@pytest.fixture
def timing() -> Any:
    from benchmarks.speed import timing

    return timing


def _row(batch: int = 1, **values: Any) -> Any:
    from benchmarks.speed.measurements import Measurement

    return Measurement("inference 256", "SLSG", "torch", "fp32", batch, **values)


def test_rows_survive_a_restart(measurements: Any, tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    row = _row(median_ms=12.5, p95_ms=13.0, images_per_s=80.0, parameters=7, macs=9, peak_mib=3.0)
    measurements.Results(path).add(row)
    results = measurements.Results(path)
    found = results.find("inference 256", "SLSG", "torch", "fp32", 1)
    assert found is not None
    assert (found.median_ms, found.parameters, found.macs, found.ratio_to_floor) == (12.5, 7, 9, None)
    assert found.machine == measurements.machine()
    assert results.find("inference 256", "SLSG", "torch", "fp32", 2) is None


def test_a_measurement_replaces_itself_only(measurements: Any, tmp_path: Path) -> None:
    results = measurements.Results(tmp_path / "speed.csv")
    results.add(_row(median_ms=1.0), _row(2, median_ms=2.0))
    results.add(_row(median_ms=3.0))
    assert {row.batch: row.median_ms for row in results.rows} == {1: 3.0, 2: 2.0}


def test_fresh_forgets_this_machine_only(measurements: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.csv"
    measurements.Results(path).add(_row(median_ms=1.0))
    monkeypatch.setattr(measurements, "machine", lambda: "another")
    measurements.Results(path).add(_row(median_ms=2.0))
    fresh = measurements.Results(path, fresh=True)
    assert [row.median_ms for row in fresh.rows] == [1.0]
    assert fresh.of_this_machine() == []


def test_generations_of_a_processor_are_different_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.speed import machine

    names = []
    for family, model in ((25, 17), (26, 2)):
        core = f"cpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\nflags\t\t: fpu\n\n"
        (tmp_path / "cpuinfo").write_text(2 * core, encoding="utf-8")
        monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
        names.append(machine.machine())
    assert names[0].startswith("AMD EPYC (family 25, model 17), ")
    assert names[1].startswith("AMD EPYC (family 26, model 2), ")


def test_floor_is_the_fastest_product(measurements: Any, timing: Any, tmp_path: Path) -> None:
    results = measurements.Results(tmp_path / "speed.csv")
    with pytest.raises(LookupError, match="--fresh"):
        _ = results.rate
    products = {("matrix product", "fp32"): [4.0, 2.0, 2.0], ("matrix product", "bf16"): [0.5], ("SLSG", "x"): [9.0]}
    timing.note_products(products, results)
    assert results.rate == pytest.approx(timing.MATRIX**3 / 0.5)
    assert len(results.rows) == 2


def test_what_follows_from_durations(timing: Any) -> None:
    seconds = [0.010 + 0.001 * step for step in range(21)]
    row = timing.timed(_row(batch=4, macs=10**9), seconds, rate=1e11)
    assert row.median_ms == 20.0
    assert row.p95_ms == 29.0
    assert row.images_per_s == 200.0
    assert row.ratio_to_floor == 2.0


def test_turns_are_interleaved_and_the_first_call_of_each_is_not_timed(timing: Any) -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    with Progress(disable=True) as progress:
        durations = timing.interleave(calls, rounds=2, repeats=2, progress=progress)
    assert "".join(order) == "aaabbb" * 2
    assert {name: len(seconds) for name, seconds in durations.items()} == {"a": 4, "b": 4}


def test_multiply_accumulates_of_a_known_network(timing: Any) -> None:
    layer = torch.nn.Conv2d(3, 5, kernel_size=3, bias=False)
    image = torch.rand(2, 3, 10, 10)
    assert timing.multiply_accumulates(lambda: layer(image)) == 2 * 8 * 8 * 5 * 3 * 9


def test_growth_finds_the_exponent(timing: Any) -> None:
    assert math.isclose(timing.growth([1, 2, 4, 8], [3, 12, 48, 192]), 2.0, abs_tol=1e-9)
