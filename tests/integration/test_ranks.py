"""Training in two processes."""

import json
from pathlib import Path

import pytest

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
