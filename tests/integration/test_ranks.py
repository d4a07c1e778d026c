"""Training in two processes."""

import json
from pathlib import Path

import pytest
import torch

from tests.support.commands import run_python
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow


def test_ranks_agree_without_a_common_seed(folder_tree: Path, tmp_path: Path) -> None:
    """Each process has a seed of its own; what depends on it has to follow one of them."""
    run_python(REPOSITORY, "-m", "tests.integration.train_in_two_processes", str(folder_tree), str(tmp_path))
    results = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    # they take turns: each of the eight images once in two steps of two in each process
    assert len({image for result in results for image in result["pre-trained with"]}) == 8
    assert results[0]["seed"] == results[1]["seed"]
    first, second = (result["sums"] for result in results)
    # batch norm sees the images of its own process
    common = [name for name in first if "running_" not in name or "encoder" in name]
    assert {name: first[name] for name in common} == {name: second[name] for name in common}
    assert first["normality.places.examples"] != 0
    assert first["normality.composition.words"] != 0
    seen = [name for name in first if "running_mean" in name and "encoder" not in name]
    assert any(first[name] != second[name] for name in seen)  # they did see different images


def test_signals_stop_both_after_the_same_step_and_they_go_on(folder_tree: Path, tmp_path: Path) -> None:
    """As if nothing had been, in one folder of results for each run. SIGTERM reaches both, Ctrl-C one of them."""
    script = ("-m", "tests.integration.stop_in_two_processes", str(folder_tree))
    run_python(REPOSITORY, *script, str(tmp_path / "whole"), "none", "SIGTERM", "0")
    runs, checkpoint = tmp_path / "stopped" / "Slsg" / "parts", []
    for phase, name, rank, code in (("pretraining", "SIGTERM", 2, 143), ("training", "SIGINT", 1, 1)):
        run_python(REPOSITORY, *script, str(tmp_path / "stopped"), phase, name, str(rank), *checkpoint, expect=code)
        newest = sorted(runs.glob("v*"))[-1]
        (file,) = newest.rglob("*.ckpt")
        assert file.relative_to(newest) == Path("weights", "lightning", f"{phase}.ckpt")
        checkpoint = [str(file)]
    assert sorted(path.name for path in runs.iterdir()) == ["latest", "v0", "v1"]

    run_python(REPOSITORY, *script, str(tmp_path / "stopped"), "none", "SIGTERM", "0", *checkpoint)
    expected, weights = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("whole", "stopped"))
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, weights[name])] == []
    assert sorted(path.name for path in runs.iterdir()) == ["latest", "v0", "v1", "v2"]
    assert (runs / "latest").resolve().name == "v2"
