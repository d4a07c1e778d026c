"""Training steps against what the machine can do, and what grows with the number of training images.

``python -m benchmarks.speed.training`` measures steps of SegNet (4 normal and 4 simulated images, simulation included)
and of GPT-Net (6 images), each in processes of its own that take turns; then training from files by anomalib's engine
for growing numbers of images. Memory is that of the whole process. Rows land in
``benchmarks/results/training_speed.csv``, a table in ``training_speed.md`` beside it. Interrupted, it goes on where it
was; ``--fresh`` measures anew. Whether the C library keeps freed memory is left to the environment, to
``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_``; in the committed rows it did, but for those of "freed memory
returned".
"""

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from rich.progress import Progress

from anomalib_slsg.utils.files import write_text
from anomalib_slsg.utils.precision import cpu_multiplies_bfloat16
from benchmarks.common.markdown import markdown_table
from benchmarks.common.own_process import in_own_process
from benchmarks.common.progress import progress_bar
from benchmarks.speed.measurements import Measurement, Results, results_path
from benchmarks.speed.timing import RATE, growth, note_products, timed

TASK = "benchmarks.speed.training_task"
IMAGES = (50, 200, 1000, 5000)
BATCHES = {"SegNet": 8, "GPT-Net": 6}
FIT_STEPS = 8
# the paper's schedule on MVTec AD's bottle
EPOCHS, TRAINING_IMAGES, ITERATIONS = 40, 209, 3500
STEP = "step"


def measure_steps(results: Results, backbone: str, size: int, turns: int, repeats: int, progress: Progress) -> None:
    """Time the steps that have no rows yet, in processes that take turns.

    Args:
        results: Rows.
        backbone: Encoder.
        size: Side of the images.
        turns: Processes of each kind.
        repeats: Timed steps in a process.
        progress: Where progress shows.
    """
    precision = "bf16" if cpu_multiplies_bfloat16() else "fp32"
    what = f"{STEP} {size}"
    model = {net: f"{net} {backbone}" for net in BATCHES}
    cases = [
        (net, kind)
        for kind in dict.fromkeys([precision, "fp32"])
        for net in BATCHES
        if not results.find(what, model[net], "torch", kind, BATCHES[net])
    ]
    answers: dict[tuple[str, str], list[dict[str, Any]]] = {case: [] for case in cases}
    task = progress.add_task("steps", total=turns * len(cases))
    for _ in range(turns):
        for net, kind in cases:
            options = {"net": net, "size": size, "backbone": backbone, "precision": kind, "repeats": repeats}
            answers[net, kind].append(in_own_process(TASK, {"kind": "step", **options}))
            progress.advance(task)
    if not cases:
        return
    every = [answer["products"] for case in cases for answer in answers[case]]
    note_products({(RATE, kind): [s for answer in every for s in answer[kind]] for kind in every[0]}, results)
    for (net, kind), runs in answers.items():
        row = Measurement(what, model[net], "torch", kind, BATCHES[net], macs=runs[0]["macs"])
        row = replace(row, parameters=runs[0]["parameters"], peak_mib=max(run["peak_mib"] for run in runs))
        results.add(timed(row, [s for run in runs for s in run["seconds"]], results.rate))
        simulation = [s for run in runs for s in run["simulation"]]
        if simulation:
            part = Measurement(f"simulation in the step {size}", model[net], "torch", kind, BATCHES[net] // 2)
            results.add(timed(part, simulation))


def measure_growth(results: Results, size: int, numbers: tuple[int, ...], progress: Progress) -> None:
    """Train from files for each number of images that has no rows yet."""
    precision = "bf16" if cpu_multiplies_bfloat16() else "fp32"
    for number in progress.track(numbers, description="training images"):
        name = f"{number} training images {size}"
        if results.find(f"step from files, {name}", "Slsg", "engine", precision, 8):
            continue
        answer = in_own_process(TASK, {"kind": "fit", "number": number, "size": size, "steps": FIT_STEPS})
        row = Measurement("", "Slsg", "engine", precision, 8, peak_mib=answer["peak_mib"])
        parts = {"start-up": [answer["start_up"]], "waiting for images": answer["waiting"]}
        for what, seconds in {**parts, "step from files": answer["seconds"]}.items():
            results.add(replace(timed(row, seconds), what=f"{what}, {name}"))


def report(results: Results, path: Path) -> None:
    """Print the table and write it beside the rows."""
    rate = results.rate
    lines = [f"Machine: {results.machine}; matrix product at {rate / 1e9:.0f} G multiply-accumulates/s.", ""]
    header = [
        "what",
        "model",
        "precision",
        "images",
        "median ms",
        "p95 ms",
        "MAC, G",
        "share of the product",
        "peak MiB",
    ]
    cells = []
    rows = [row for row in results.of_this_machine() if row.model != RATE]
    for row in rows:
        share = f"{1 / row.ratio_to_floor:.0%}" if row.ratio_to_floor else ""
        macs = f"{row.macs / 1e9:.0f}" if row.macs else ""
        timing = [row.batch, row.median_ms, row.p95_ms]
        cells.append([row.what, row.model, row.precision, *timing, macs, share, row.peak_mib or ""])
    lines += [*markdown_table(header, cells, alignment="lll"), "", *schedule(rows), *laws(rows)]
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(path.with_suffix(".md"), text)


def schedule(rows: list[Measurement]) -> list[str]:
    """Tell how long the paper's schedule takes at the rates measured."""
    steps = {(row.what.rsplit(" ", 1)[0], *row.model.split(), row.precision): row for row in rows if row.macs}
    lines = []
    for (what, net, backbone, precision), row in steps.items():
        other = steps.get((what, "GPT-Net", backbone, precision))
        if net == "SegNet" and other:
            epochs = EPOCHS * -(-TRAINING_IMAGES // BATCHES["GPT-Net"])
            minutes = (ITERATIONS * (row.median_ms or 0) + epochs * (other.median_ms or 0)) / 6e4
            lines.append(
                f"- {what}, {backbone}, {precision}: {EPOCHS} epochs of {TRAINING_IMAGES} images and "
                f"{ITERATIONS} iterations take {minutes:.0f} min at these rates."
            )
    return lines


def laws(rows: list[Measurement]) -> list[str]:
    """Fit how start-up and memory grow with the number of training images."""
    rows = [row for row in rows if row.what.startswith("start-up")]
    if len(rows) < 2:
        return []
    numbers = [float(row.what.split()[1]) for row in rows]
    time = growth(numbers, [row.median_ms or 0.0 for row in rows])
    least = min(row.peak_mib or 0.0 for row in rows)
    more = statistics.median(
        (row.peak_mib - least) / (number - min(numbers)) * 1024
        for row, number in zip(rows, numbers)
        if row.peak_mib and number > min(numbers)
    )
    return [f"- Start-up grows as images^{time:.2f}, peak memory by {more:.0f} KiB an image."]


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--turns", type=int, default=3, help="processes of each kind of step")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps in a process")
    parser.add_argument("--backbone", type=str, default="resnet18", help="encoder")
    parser.add_argument("--quick", action="store_true", help="a look: one turn, few images, rows elsewhere")
    parser.add_argument("--fresh", action="store_true", help="forget this machine's rows")
    parser.add_argument("--results", type=Path, help="file of rows, the committed training_speed.csv if left out")
    parsed = parser.parse_args()
    path = results_path("training_speed.csv", parsed.results, parsed.quick)
    results = Results(path, parsed.fresh)
    with progress_bar() as progress:
        turns, repeats = (1, 2) if parsed.quick else (parsed.turns, parsed.repeats)
        measure_steps(results, parsed.backbone, parsed.size, turns, repeats, progress)
        measure_growth(results, parsed.size, IMAGES[:2] if parsed.quick else IMAGES, progress)
    report(results, path)


if __name__ == "__main__":
    main()
