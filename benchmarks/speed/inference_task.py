"""One exported model in a process of its own: durations and peak memory above the runtime's.

Started by ``run.py``. With OpenVINO, torch is never imported: the memory is that of a deployment.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.own_process import answer_task, peak_mebibytes
from benchmarks.deployment.backends import BACKENDS, start


def measure(backend: str, precision: str, size: int, batch: int, repeats: int, exported: str) -> dict[str, Any]:
    """Load a model and run it.

    Args:
        backend: Library that computes.
        precision: Type that it computes in.
        size: Side of the images.
        batch: Images at a time.
        repeats: Timed calls.
        exported: The model's file.

    Returns:
        Seconds of the calls, and mebibytes of peak memory.
    """
    shape = (batch, 3, size, size)
    images = np.random.default_rng(0).random(shape, np.float32)
    start(backend)
    before = peak_mebibytes()
    _, load = BACKENDS[backend, precision]
    run = load(Path(exported), shape)
    run(images)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds, "peak_mib": round(peak_mebibytes() - before)}


if __name__ == "__main__":
    answer_task(measure)
