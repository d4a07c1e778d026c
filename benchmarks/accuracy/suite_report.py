"""What was measured on a whole data set, beside the paper's table, with means over categories."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib_slsg.report.figures.column import save_figure
from anomalib_slsg.report.figures.types_of_anomaly import draw_types
from anomalib_slsg.utils.files import write_text
from benchmarks.accuracy.matrix import TEXTURES, schedule
from benchmarks.accuracy.suite import ALL, Figures, Suite
from benchmarks.common.charts import figures_of
from benchmarks.common.markdown import fixed, markdown_table

Row = Mapping[str, str]
Column = Mapping[str, Figures]  # by category


def suite_report(suite: Suite, matrix: dict[str, Any], rows: Sequence[Row], path: Path) -> bool:
    """Write the tables, and where anomalies have types, the bars of Fig. 6.

    Args:
        suite: The data set.
        matrix: Its models and their image size.
        rows: All rows of results.
        path: The Markdown file. Bars go beside it, or with those of documents, as PNG and SVG.

    Returns:
        Whether there was anything to write.
    """
    columns = measured(suite, matrix, rows)
    if not columns:
        return False
    note = f"{', '.join(suite.levels)}, in per cent; the columns behind SLSG were measured."
    lines = [f"## {suite.title}", "", note, "", *beside_the_paper(suite, columns)]
    if suite.types:
        lines += ["", "### By type of anomaly", "", *by_type(suite, columns)]
        areas, categories = bars(suite, columns)
        if areas:
            labels = {kind: kind for kind in next(iter(areas.values()))}
            figure = draw_types(areas, labels, f"means over {', '.join(categories)}")
            save_figure(figure, figures_of(path), path.stem)
    write_text(path, "\n".join([*lines, ""]))
    return True


def measured(suite: Suite, matrix: dict[str, Any], rows: Sequence[Row]) -> dict[str, Column]:
    """Give means over seeds of each model that has rows, whatever textures and backbone it had.

    Returns:
        Figures by the model's name and schedule, then by category.
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for model in matrix["models"]:
        names = model["name"], model.get("usual_name")
        wanted = schedule(model, tuple(matrix["image_size"])).removesuffix(TEXTURES)
        for row in rows:
            same = row["model"] in names and row["schedule"].removesuffix(TEXTURES) == wanted
            if same and row["data"] == suite.name:
                found.setdefault((row["model"], row["schedule"]), []).append(row)
    return {f"{name}, {how}, {_seeds(of_model)}": _column(of_model) for (name, how), of_model in found.items()}


def beside_the_paper(suite: Suite, columns: Mapping[str, Column]) -> list[str]:
    """Lay out the paper's table with further columns.

    Args:
        suite: The data set.
        columns: What was measured, by the column's title.

    Returns:
        Lines of a Markdown table: the categories, the means of groups and of all categories, as the paper prints them,
        and at each level the mean over the categories of which all columns have been measured.
    """
    metrics = list(suite.levels.values())
    body = []
    for group, categories in suite.groups.items():
        if group != ALL or len(suite.groups) == 1:
            for category in categories:
                cells = [_pair(column[category], metrics) for column in suite.paper.values()]
                body.append(
                    [category, *cells, *(_measured_pair(suite, column, category) for column in columns.values())]
                )
        title = f"**mean of all {len(categories)}**" if group == ALL else f"**{group}, mean**"
        cells = [_pair(column[group], metrics) for column in suite.paper.values()]
        body.append(
            [title, *cells, *(_pair(_means(column, categories, metrics), metrics) for column in columns.values())]
        )
    for level, metric in suite.levels.items():
        shared = _shared(suite, columns.values(), metric)
        if 1 < len(shared) < len(suite.categories):
            every = [*suite.paper.values(), *columns.values()]
            means = [_means(column, shared, [metric])[metric] for column in every]
            body.append([f"**{level}, mean of {', '.join(shared)}**", *map(_cell, means)])
    return markdown_table(["", *suite.paper, *columns], body, "l")


def by_type(suite: Suite, columns: Mapping[str, Column]) -> list[str]:
    """Tell one type of anomalies from the other, of each model in each category and over those that all models have."""
    metrics = [f"{metric}_{kind}" for metric in ("image_AUROC", "pixel_AUSPRO") for kind in suite.types]
    body = [
        [category, title, *(_cell(column[category][metric]) for metric in metrics)]
        for category in suite.categories
        for title, column in columns.items()
        if category in column
    ]
    shared = [category for category in suite.categories if all(category in column for column in columns.values())]
    if len(shared) > 1:
        for title, column in columns.items():
            means = _means(column, shared, metrics)
            body.append([f"**mean of {', '.join(shared)}**", title, *(_cell(means[metric]) for metric in metrics)])
    header = [f"{what}, {kind}" for what in suite.levels for kind in suite.types]
    return markdown_table(["", "model", *header], body, "ll")


def bars(suite: Suite, columns: Mapping[str, Column]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Give the lengths of the bars.

    Args:
        suite: The data set. Where all of its categories were measured, the paper's SLSG stands beside.
        columns: What was measured, by model.

    Returns:
        Image AUROC in [0, 1] by model and type, and the categories that they are means over: those of which all models
        have been measured.
    """
    metrics = {kind: f"image_AUROC_{kind}" for kind in suite.types}
    shared = {kind: _shared(suite, columns.values(), metric) for kind, metric in metrics.items()}
    categories = max(shared.values(), key=len)
    kinds = [kind for kind, each in shared.items() if each and each == categories]
    if not kinds:
        return {}, []
    areas = {}
    for title, column in columns.items():
        means = _means(column, categories, [metrics[kind] for kind in kinds])
        areas[title] = {kind: (means[metrics[kind]] or 0.0) / 100 for kind in kinds}
    if len(categories) == len(suite.categories):
        areas["SLSG in the paper"] = {kind: suite.types[kind] / 100 for kind in kinds}
    return areas, categories


def _shared(suite: Suite, columns: Iterable[Column], metric: str) -> list[str]:
    """List the categories of which all columns have a figure."""
    every = list(columns)
    return [c for c in suite.categories if all(column.get(c, {}).get(metric) is not None for column in every)]


def _column(rows: Sequence[Row]) -> Column:
    """Give means over seeds in per cent, by category."""
    column: dict[str, Figures] = {}
    for category in dict.fromkeys(row["category"] for row in rows):
        of_category = [row for row in rows if row["category"] == category]
        for name in of_category[0]:
            if name.startswith(("image_", "pixel_")):
                values = [100 * float(row[name]) for row in of_category if row[name]]
                column.setdefault(category, {})[name] = statistics.mean(values) if values else None
    return column


def _seeds(rows: Sequence[Row]) -> str:
    number = len({row["seed"] for row in rows})
    return f"{number} seed{'s' * (number > 1)}"


def _means(column: Column, categories: Sequence[str], metrics: Sequence[str]) -> Figures:
    """Give means over categories, where the column has a figure of each of them."""
    means: Figures = {}
    for metric in metrics:
        values = [column.get(category, {}).get(metric) for category in categories]
        numbers = [value for value in values if value is not None]
        means[metric] = statistics.mean(numbers) if numbers and len(numbers) == len(values) else None
    return means


def _measured_pair(suite: Suite, column: Column, category: str) -> str:
    """Give a cell, which says where the data have one type of anomalies alone."""
    if category not in column:
        return ""
    figures = column[category]
    kinds = [kind for kind in suite.types if figures.get(f"image_AUROC_{kind}") is not None]
    alone = f" ({kinds[0]} alone)" if len(kinds) == 1 else ""
    return _pair(figures, list(suite.levels.values())) + alone


def _pair(figures: Figures, metrics: Sequence[str]) -> str:
    cells = [_cell(figures.get(metric)) for metric in metrics]
    return ", ".join(cells) if any(cell != "-" for cell in cells) else "-"


def _cell(value: float | None) -> str:
    return "-" if value is None else fixed(value, 1)
