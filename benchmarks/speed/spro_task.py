"""One evaluation of sPRO in a process of its own, started by ``spro.py``."""

import time
from pathlib import Path
from typing import Any

import cv2

from anomalib_slsg.metrics.evaluate import evaluate
from benchmarks.common.own_process import answer_task, peak_mebibytes


def measure(root: str) -> dict[str, Any]:
    """Evaluate a tree.

    Args:
        root: The folder above ``data`` and ``maps``.

    Returns:
        Seconds, and mebibytes of peak memory above those before.
    """
    cv2.setNumThreads(1)
    before = peak_mebibytes()
    start = time.perf_counter()
    evaluate(Path(root, "data"), "part", Path(root, "maps"))
    return {"seconds": time.perf_counter() - start, "peak_mib": peak_mebibytes() - before}


if __name__ == "__main__":
    answer_task(measure)
