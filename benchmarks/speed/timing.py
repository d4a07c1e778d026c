"""Durations, and what follows from them."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from rich.progress import Progress
from torch.utils.flop_counter import FlopCounterMode

from anomalib_slsg.utils.precision import cpu_multiplies_bfloat16
from benchmarks.speed.measurements import RATE, Measurement, Results

MATRIX = 4096
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Call = Callable[[], object]


def interleave(
    calls: Mapping[object, Call], rounds: int, repeats: int, progress: Progress
) -> dict[object, list[float]]:
    """Time calls in turns, so that a noisy minute hits all of them.

    Args:
        calls: What to time.
        rounds: Turns of each.
        repeats: Timed calls in a turn, after one that warms the caches.
        progress: Where progress shows.

    Returns:
        Durations in seconds.
    """
    durations: dict[object, list[float]] = {key: [] for key in calls}
    task = progress.add_task("timing", total=rounds * len(calls))
    for _ in range(rounds):
        for key, call in calls.items():
            progress.update(
                task, description=" ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
            )
            call()
            for _ in range(repeats):
                start = time.perf_counter()
                call()
                durations[key].append(time.perf_counter() - start)
            progress.advance(task)
    progress.remove_task(task)
    return durations


def matrix_products() -> dict[object, Call]:
    """Give the products whose rates are the machine's, by precision."""
    precisions = PRECISIONS if cpu_multiplies_bfloat16() else {"fp32": torch.float32}
    return {(RATE, precision): _product(dtype) for precision, dtype in precisions.items()}


def _product(dtype: torch.dtype) -> Call:
    left, right = (torch.randn(MATRIX, MATRIX).to(dtype) for _ in range(2))
    return lambda: left @ right


def note_products(durations: Mapping[object, list[float]], results: Results) -> None:
    """Put those of :func:`matrix_products` among durations into the results."""
    for key, seconds in durations.items():
        if isinstance(key, tuple) and key[0] == RATE:
            row = Measurement(f"{MATRIX}x{MATRIX}", RATE, "torch", key[1], 1, macs=MATRIX**3)
            results.add(timed(row, seconds))


def timed(row: Measurement, seconds: list[float], rate: float | None = None) -> Measurement:
    """Fill in what follows from durations.

    Args:
        row: The measurement.
        seconds: Its durations.
        rate: Multiply-accumulates per second of the floor, if there is one.

    Returns:
        The row with median, percentile, throughput and ratio to the floor.
    """
    median = statistics.median(seconds)
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else median
    ratio = None if rate is None or not row.macs else round(median * rate / row.macs, 2)
    images = None if row.model == RATE else float(f"{row.batch / median:.3g}")
    return replace(
        row,
        median_ms=float(f"{1e3 * median:.4g}"),
        p95_ms=float(f"{1e3 * p95:.4g}"),
        images_per_s=images,
        ratio_to_floor=ratio,
    )


def multiply_accumulates(call: Call) -> int:
    """Count those of convolutions and matrix products in a call, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


def growth(sizes: Iterable[float], values: Iterable[float]) -> float:
    """Fit the exponent p of ``values ~ sizes ** p`` by least squares of the logarithms."""
    x, y = (torch.tensor(list(numbers), dtype=torch.float64).log() for numbers in (sizes, values))
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
