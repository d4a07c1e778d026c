"""Training in two processes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

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


@pytest.mark.parametrize(
    ("phase", "name", "rank", "code"),
    [("pretraining", "SIGTERM", 2, 143), ("training", "SIGINT", 1, 1)],
    ids=["SIGTERM to both", "Ctrl-C to one"],
)
def test_a_signal_stops_both_after_the_same_step(
    folder_tree: Path, tmp_path: Path, uninterrupted: dict[str, Tensor], phase: str, name: str, rank: int, code: int
) -> None:
    """And the two go on as if nothing had been, in one folder of results for each run."""
    script = ("-m", "tests.integration.stop_in_two_processes", str(folder_tree), str(tmp_path))
    run_python(REPOSITORY, *script, phase, name, str(rank), expect=code)
    runs = tmp_path / "Slsg" / "parts"
    (file,) = runs.rglob("*.ckpt")
    assert file.relative_to(runs) == Path("v0", "weights", "lightning", f"{phase}.ckpt")
    assert sorted(path.name for path in runs.iterdir()) == ["latest", "v0"]

    run_python(REPOSITORY, *script, "none", "SIGTERM", "0", str(file))
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert [name for name, tensor in uninterrupted.items() if not torch.equal(tensor, weights[name])] == []
    assert sorted(path.name for path in runs.iterdir()) == ["latest", "v0", "v1"]
    assert (runs / "latest").resolve().name == "v1"


@pytest.fixture(scope="module")
def uninterrupted(folder_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of the first of two processes that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    script = ("-m", "tests.integration.stop_in_two_processes", str(folder_tree), str(root))
    run_python(REPOSITORY, *script, "none", "SIGTERM", "0")
    return torch.load(root / "weights.pt", weights_only=True)
