"""Table and chart of the rows of ``run.py``."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.accuracy.rows import METRICS, Rows
from benchmarks.common.charts import save_chart
from benchmarks.common.files import write_text
from benchmarks.common.markdown import markdown_table

Group = dict[tuple[str, str], list[dict[str, str]]]  # by model and schedule
TIMES = ("fit_s", "test_s")
CHART_METRICS = ("image_AUROC", "image_AUROC_logical", "image_AUROC_structural", "pixel_AUROC")


def report(rows: Rows, path: Path) -> None:
    """Write the table beside the rows and draw the chart.

    Args:
        rows: All rows.
        path: Their file; table and chart are named after it.
    """
    groups = dict(by_data(rows.read()))
    if not groups:
        return
    text = "\n".join(line for title, group in groups.items() for line in table(title, group))
    write_text(path.with_suffix(".md"), text)
    save_chart(draw(groups), path)


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


def draw(groups: dict[str, Group]) -> Figure:
    """Draw a panel per data set: a line for each model, in it a mark for each seed and metric, best models on top."""
    lines = [len(group) for group in groups.values()]
    figure = Figure(figsize=(9, 0.7 * len(lines) + 0.2 * sum(lines)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[2 + count for count in lines])[:, 0]
    for axes, (title, group) in zip(panels, groups.items()):
        ranking = sorted(group, key=lambda key: -statistics.mean(float(row["image_AUROC"]) for row in group[key]))
        for number, name in enumerate(CHART_METRICS):
            points = [(float(row[name]), place) for place, key in enumerate(ranking) for row in group[key] if row[name]]
            if points:
                axes.plot(*zip(*points), "o^sx"[number], color=f"C{number}", label=name, alpha=0.7, markersize=5)
        axes.set_yticks(range(len(group)), [f"{model} ({schedule})" for model, schedule in ranking], fontsize=7)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.set_title(title, fontsize=9, loc="left")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))  # beside the panel, where no point is
    return figure
