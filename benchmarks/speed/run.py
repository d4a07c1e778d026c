"""Inference of SLSG beside anomalib's models: time, memory, and how both grow.

``python -m benchmarks.speed.run`` exports every model of ``methods.py`` as users do, times all of them in one
interleaved run of all backends, then measures each in a process of its own, larger images and larger batches too. Rows
land in ``benchmarks/results/speed.csv`` and a table in ``speed.md`` beside it; ``benchmarks/figures/speed.png`` is the
chart that documents show, of one machine, and another file has a chart of this one beside it. Interrupted, it goes on
where it was; ``--fresh`` measures anew. ``--quick`` is a look in a few minutes, whose rows and chart land in the folder
``results``.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from jsonargparse import ArgumentParser
from rich.progress import Progress

from benchmarks.common.own_process import in_own_process
from benchmarks.common.progress import progress_bar
from benchmarks.deployment.backends import BACKENDS, available
from benchmarks.speed.measurements import Measurement, Results, results_path
from benchmarks.speed.methods import METHODS, build, parameters
from benchmarks.speed.report import report
from benchmarks.speed.timing import interleave, matrix_products, multiply_accumulates, note_products, timed

Item = TypeVar("Item")
Key = tuple[str, str, str]  # model, backend, precision

SIZE = 256
SIZES = (128, 256, 512, 768, 1024)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
THROUGHPUT_BATCH = 16
TURN = 1  # timed calls in a turn of the interleaved run, after one that warms the caches
GROWING: list[Key] = [("SLSG", "torch", "bf16"), ("SLSG", "torch", "fp32"), ("SLSG", "openvino", "bf16")]
# quantised, OpenVINO 2026.4 crashes while it loads it
BROKEN: set[Key] = {("PaDiM Lite0", "openvino", "int8")}
TASK = "benchmarks.speed.inference_task"


class Speed:
    """The measurements, each skipped if its row is there.

    Args:
        results: Rows.
        work: Folder for exported models.
        progress: Where progress shows.
        repeats: Timed calls where models grow, each in a process of its own.
    """

    def __init__(self, results: Results, work: Path, progress: Progress, repeats: int) -> None:
        self.results = results
        self.work = work
        self.progress = progress
        self.repeats = repeats
        self.counts: dict[tuple[str, int], tuple[int, int]] = {}

    def latency(self, names: list[str], rounds: int) -> None:
        """Time all models and backends at batch 1 in one interleaved run, after each alone for its memory."""
        keys = [(name, *backend) for name in names for backend in available()]
        if all(self.results.find(_what(SIZE), *key, 1) for key in keys if key not in BROKEN):
            return
        image = np.random.default_rng(0).random((1, 3, SIZE, SIZE), np.float32)
        calls = matrix_products()
        peaks: dict[Key, float] = {}
        for key in self._each([key for key in keys if key not in BROKEN], "exporting, peak memory"):
            peaks[key] = self._alone(key, SIZE, 1, 1)["peak_mib"]
        for key in self._each(list(peaks), "loading"):
            calls[key] = partial(BACKENDS[key[1:]][1](self._export(key, SIZE, 1), image.shape), image)
        durations = interleave(calls, rounds, TURN, self.progress)
        note_products(durations, self.results)
        rows = [replace(self._row(key, SIZE, 1), peak_mib=peak) for key, peak in peaks.items()]
        keyed = zip(rows, peaks, strict=True)
        self.results.add(*(timed(row, durations[key], self.results.rate) for row, key in keyed))

    def growth(self, cases: list[tuple[Key, int, int]]) -> None:
        """Time models, image sizes and batches, each in a process of its own with its peak memory."""
        missing = [case for case in cases if not self.results.find(_what(case[1]), *case[0], case[2])]
        for key, size, batch in self._each(missing, "growing"):
            answer = self._alone(key, size, batch, self.repeats)
            row = replace(self._row(key, size, batch), peak_mib=answer["peak_mib"])
            self.results.add(timed(row, answer["seconds"], self.results.rate))

    def best(self, name: str) -> Key:
        """Tell the backend and precision in which a model is fastest at batch 1."""
        rows = [row for row in self.results.of_this_machine() if row.model == name and row.what == _what(SIZE)]
        fastest = min((row for row in rows if row.batch == 1), key=lambda row: row.median_ms or 0.0)
        return fastest.model, fastest.backend, fastest.precision

    def _export(self, key: Key, size: int, batch: int) -> Path:
        export, _ = BACKENDS[key[1:]]
        folder = self.work / key[0].replace(" ", "_") / f"{batch}x{size}"
        return export(build(key[0], size), folder, (batch, 3, size, size))

    def _alone(self, key: Key, size: int, batch: int, repeats: int) -> dict[str, Any]:
        _, backend, precision = key
        case = {"backend": backend, "precision": precision, "size": size, "batch": batch, "repeats": repeats}
        return in_own_process(TASK, {**case, "exported": str(self._export(key, size, batch))})

    def _row(self, key: Key, size: int, batch: int) -> Measurement:
        learnt, macs = self._count(key[0], size)
        return Measurement(_what(size), *key, batch, parameters=learnt, macs=batch * macs)

    def _count(self, name: str, size: int) -> tuple[int, int]:
        if (name, size) not in self.counts:
            model = build(name, size)
            image = torch.rand(1, 3, size, size)
            with torch.inference_mode():
                model(image)  # SLSG prepares itself at its first call
                self.counts[name, size] = parameters(model), multiply_accumulates(lambda: model(image))
        return self.counts[name, size]

    def _each(self, items: list[Item], description: str) -> Iterator[Item]:
        task = self.progress.add_task(description, total=len(items))
        for item in items:
            yield item
            self.progress.advance(task)
        self.progress.remove_task(task)


def _what(size: int) -> str:
    return f"inference {size}"


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=list[str], default=list(METHODS), help="which of them")
    parser.add_argument("--rounds", type=int, default=15, help="turns of the interleaved run")
    parser.add_argument("--quick", action="store_true", help="a look: fewer turns, sizes and batches, rows elsewhere")
    parser.add_argument("--fresh", action="store_true", help="forget this machine's rows")
    parser.add_argument("--results", type=Path, help="file of rows, the committed speed.csv if left out")
    parser.add_argument("--work", type=Path, default=Path("results"), help="folder for exports, which are removed")
    parsed = parser.parse_args()
    unknown = set(parsed.models) - set(METHODS)
    if unknown:
        parser.error(f"--models: {sorted(unknown)} are not among {list(METHODS)}")
    path = results_path("speed.csv", parsed.results, parsed.quick)
    results = Results(path, parsed.fresh)
    parsed.work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="speed-", dir=parsed.work) as folder, progress_bar() as progress:
        speed = Speed(results, Path(folder), progress, repeats=2 if parsed.quick else 10)
        speed.latency(parsed.models, 2 if parsed.quick else parsed.rounds)
        speed.growth([(speed.best(name), SIZE, THROUGHPUT_BATCH) for name in parsed.models])
        sizes, batches = (SIZES[:2], BATCHES[:2]) if parsed.quick else (SIZES, BATCHES)
        growing = [key for key in GROWING if key[0] in parsed.models and key[1:] in available()]
        speed.growth([(key, size, 1) for key in growing for size in sizes])
        speed.growth([(key, SIZE, batch) for key in growing for batch in batches])
    report(results, path)


if __name__ == "__main__":
    main()
