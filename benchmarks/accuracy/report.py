"""Table and chart of the rows of ``run.py``."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from anomalib_slsg.utils.files import write_text
from benchmarks.accuracy.chart import METRIC, Scores, draw, scores_in_documents
from benchmarks.accuracy.rows import METRICS, Rows
from benchmarks.common.charts import save_chart
from benchmarks.common.markdown import markdown_table
from benchmarks.common.paths import RESULTS

Group = dict[tuple[str, str], list[dict[str, str]]]  # by model and schedule
TIMES = ("fit_s", "test_s")


def report(rows: Rows, path: Path) -> None:
    """Write the table beside the rows and draw the chart: of all rows, or of those that documents show.

    Args:
        rows: All rows.
        path: Their file; table and chart are named after it.
    """
    groups = dict(by_data(rows.read()))
    if not groups:
        return
    write_tables(groups, path.with_suffix(".md"))
    committed = path.resolve() == RESULTS / "accuracy.csv"
    save_chart(draw(scores_in_documents() if committed else scores_of(groups)), path)


def write_tables(groups: dict[str, Group], file: Path) -> None:
    """Write a table for each data set and category."""
    write_text(file, "\n".join(line for title, group in groups.items() for line in table(title, group)))


def by_data(rows: list[dict[str, str]]) -> Iterator[tuple[str, Group]]:
    """Gather rows by data set and category, then by model and schedule."""
    for title in dict.fromkeys(f"{row['data']}, {row['category']}" for row in rows):
        group: Group = {}
        for row in rows:
            if f"{row['data']}, {row['category']}" == title:
                group.setdefault((row["model"], row["schedule"]), []).append(row)
        yield title, group


def table(title: str, group: Group) -> list[str]:
    """Give Markdown lines: means over seeds, and after a +- their largest distance from it."""
    present = [name for name in METRICS if any(row[name] for rows in group.values() for row in rows)]
    header = ["model", "schedule", "seeds", *present, *TIMES]
    lines = []
    for (model, schedule), rows in group.items():
        means = [_mean(rows, name, 3) for name in present] + [_mean(rows, name, 0) for name in TIMES]
        lines.append([model, schedule, len(rows), *means])
    return [f"### {title}", "", *markdown_table(header, lines, alignment="ll"), ""]


def _mean(rows: list[dict[str, str]], name: str, digits: int) -> str:
    values = [float(row[name]) for row in rows if row[name]]
    if not values:
        return ""
    mean = statistics.mean(values)
    spread = max(abs(value - mean) for value in values)
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if len(values) > 1 else "")


def scores_of(groups: dict[str, Group]) -> Scores:
    """Give the figures of a chart of all rows."""
    scores: Scores = {}
    for title, group in groups.items():
        for (model, schedule), rows in group.items():
            scores.setdefault(title, {})[f"{model} ({schedule})"] = [float(row[METRIC]) for row in rows]
    return scores
