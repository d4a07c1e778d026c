"""Training in two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("train_in_two_processes.py")
TIMEOUT_SECONDS = 300


def test_ranks_agree_without_a_common_seed(folder_tree: Path, tmp_path: Path) -> None:
    """Each process has a seed of its own; what depends on it has to follow one of them."""
    settings = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder_tree), str(tmp_path)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    results = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    # they take turns: each of the eight images once in two steps of two in each process
    assert len({image for result in results for image in result["pre-trained with"]}) == 8
    assert results[0]["seed"] == results[1]["seed"]
    first, second = (result["sums"] for result in results)
    # batch norm sees the images of its own process
    common = [name for name in first if "running_" not in name or "encoder" in name]
    assert {name: first[name] for name in common} == {name: second[name] for name in common}
    # the first one's verdict was to add both
    assert first["seg_net.feature_distance.examples"] != 0
    assert first["seg_net.composition.words"] != 0
    seen = [name for name in first if "running_mean" in name and "encoder" not in name]
    assert any(first[name] != second[name] for name in seen)  # they did see different images
