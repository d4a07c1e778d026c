"""Table and chart of the measurements of ``run.py``."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anomalib_slsg.utils.files import write_text
from benchmarks.common.charts import save_chart
from benchmarks.common.markdown import markdown_table
from benchmarks.common.paths import RESULTS
from benchmarks.speed.chart import SIDE, draw, forms_in_documents, forms_of
from benchmarks.speed.measurements import Measurement, Results
from benchmarks.speed.timing import RATE, growth


def achieved(row: Measurement) -> float | None:
    """Giga multiply-accumulates per second."""
    return round(row.macs / row.median_ms / 1e6, 1) if row.macs and row.median_ms else None


def _millions(number: int | None, unit: float) -> float | None:
    return None if number is None else round(number / unit, 2)


COLUMNS: dict[str, Callable[[Measurement], object]] = {
    "model": lambda row: row.model,
    "backend": lambda row: row.backend,
    "precision": lambda row: row.precision,
    "median ms": lambda row: row.median_ms,
    "p95 ms": lambda row: row.p95_ms,
    "parameters, M": lambda row: _millions(row.parameters, 1e6),
    "MAC, G": lambda row: _millions(row.macs, 1e9),
    "G MAC/s": achieved,
    "over floor": lambda row: row.ratio_to_floor,
    "peak MiB": lambda row: row.peak_mib,
}


def report(results: Results, path: Path) -> None:
    """Print the table of batch 1 with throughputs beside the rows, write it with others, and draw the chart.

    The chart is of these rows, for the committed file of those that documents show.

    Args:
        results: Rows; those of this machine are shown.
        path: Their file; table and chart are named after it.
    """
    rows = results.of_this_machine()
    latencies = sorted((row for row in rows if _at(row, SIDE, 1)), key=lambda row: (row.model, row.median_ms or 0))
    header, cells = [*COLUMNS, "images/s at batch 16"], _with_throughput(rows, latencies)
    table = Table(*header, title=results.machine)
    for row in cells:
        table.add_row(*map(_text, row))
    Console(width=160).print(table)
    text = _markdown(results, header, cells)
    write_text(path.with_suffix(".md"), text)
    committed = path.resolve() == RESULTS / "speed.csv"
    save_chart(draw(forms_in_documents() if committed else forms_of(latencies)), path)


def _at(row: Measurement, size: int | None = None, batch: int | None = None) -> bool:
    return row.model != RATE and row.what == f"inference {size or _size(row)}" and row.batch == (batch or row.batch)


def _size(row: Measurement) -> int:
    return int(row.what.split()[-1])


def _text(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _with_throughput(rows: list[Measurement], latencies: list[Measurement]) -> list[list[object]]:
    throughput = {(row.model, row.backend, row.precision): row.images_per_s for row in rows if _at(row, SIDE, 16)}
    return [
        [*(column(row) for column in COLUMNS.values()), throughput.get((row.model, row.backend, row.precision))]
        for row in latencies
    ]


def _markdown(results: Results, header: list[str], cells: list[list[object]]) -> str:
    rows = results.of_this_machine()
    lines = [f"Machine: {results.machine}; matrix product at {results.rate / 1e9:.0f} G multiply-accumulates/s.", ""]
    lines += markdown_table(header, [list(map(_text, row)) for row in cells], alignment="lll")
    for name, rest in (("image side", _by_size(rows)), ("batch", _by_batch(rows))):
        titles = ["model", "backend", "precision", name, "median ms", "images/s", "MAC, G", "peak MiB"]
        grown = [
            [*key, x, *map(_text, (row.median_ms, row.images_per_s, _millions(row.macs, 1e9), row.peak_mib))]
            for key, curve in rest.items()
            for x, row in curve
        ]
        lines += ["", *markdown_table(titles, grown, alignment="lll")]
        lines += ["", *(_law(key, curve, name) for key, curve in rest.items() if len(curve) > 1)]
    return "\n".join(lines) + "\n"


def _law(key: tuple[str, str, str], curve: list[tuple[int, Measurement]], name: str) -> str:
    sizes = [x for x, _ in curve]
    time = growth(sizes, [row.median_ms or 0.0 for _, row in curve])
    memory = growth(sizes, [row.peak_mib or 0.0 for _, row in curve])
    return f"- {' '.join(key)}: time grows as {name}^{time:.2f}, peak memory as {name}^{memory:.2f}."


Curves = dict[tuple[str, str, str], list[tuple[int, Measurement]]]


def _by_size(rows: list[Measurement]) -> Curves:
    return _curves([(_size(row), row) for row in rows if _at(row, batch=1)])


def _by_batch(rows: list[Measurement]) -> Curves:
    curves = _curves([(row.batch, row) for row in rows if _at(row, SIDE)])
    return {key: curve for key, curve in curves.items() if len(curve) > 2}


def _curves(points: list[tuple[int, Measurement]]) -> Curves:
    curves: Curves = {}
    for x, row in sorted(points, key=lambda point: point[0]):
        curves.setdefault((row.model, row.backend, row.precision), []).append((x, row))
    return {key: curve for key, curve in curves.items() if len(curve) > 1}
