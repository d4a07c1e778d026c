"""What was measured on a whole data set, beside the paper's table, with means over categories."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib_slsg.report.figures.column import save_figure
from anomalib_slsg.report.figures.types_of_anomaly import draw_types
from anomalib_slsg.utils.files import write_text
from benchmarks.accuracy.matrix import TEXTURES, schedule
from benchmarks.accuracy.suite import Suite
from benchmarks.common.charts import figures_of
from benchmarks.common.markdown import fixed, markdown_table

Rows = Sequence[Mapping[str, str]]
Figures = Sequence[float | None]  # in per cent; none where there is none
Column = Mapping[str, Figures]  # by category

LEVELS = {"pixel_AUROC": "image AUROC, pixel AUROC", "pixel_AUSPRO_mean": "image AUROC, AU-sPRO"}
TYPES = ("structural", "logical")
BY_TYPE = tuple(f"{metric}_{kind}" for metric in ("image_AUROC", "pixel_AUSPRO") for kind in TYPES)
PAPERS_TYPES = {"structural": 91.4, "logical": 89.6}  # SLSG's in Table 4, over all categories of MVTec LOCO AD


def suite_report(suite: Suite, matrix: dict[str, Any], rows: Rows, path: Path) -> None:
    """Write the tables, and where anomalies have types, the bars of Fig. 6.

    Args:
        suite: The data set.
        matrix: Its models and their image size.
        rows: All rows of results.
        path: The Markdown file. Bars go beside it, as PNG and SVG.
    """
    found = measured(suite, matrix, rows)
    if not found:
        return
    columns = {title: _column(rows_of, ("image_AUROC", suite.pixel)) for title, rows_of in found.items()}
    lines = [f"## {suite.title}", "", f"{LEVELS[suite.pixel]}, in per cent. The columns behind SLSG were measured.", ""]
    lines += beside_the_paper(suite, columns)
    if suite.pixel == "pixel_AUSPRO_mean":
        lines += ["", "### By type of anomaly", "", *by_type(suite, found)]
        areas = bars(suite, found)
        if areas:
            kinds = next(iter(areas.values()))
            categories = dict.fromkeys(row["category"] for rows_of in found.values() for row in rows_of)
            figure = draw_types(areas, {kind: kind for kind in kinds}, f"means over {', '.join(categories)}")
            save_figure(figure, figures_of(path), path.stem)
    write_text(path, "\n".join([*lines, ""]))


def measured(suite: Suite, matrix: dict[str, Any], rows: Rows) -> dict[str, Rows]:
    """Find the rows of each model that has any, by the model's name and schedule, whatever its textures were."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for model in matrix["models"]:
        wanted = (model["name"], _without_textures(schedule(model, tuple(matrix["image_size"]))))
        for row in rows:
            if row["data"] == suite.name and (row["model"], _without_textures(row["schedule"])) == wanted:
                found.setdefault(f"{row['model']}, {row['schedule']}", []).append(row)
    return dict(found)


def _without_textures(given: str) -> str:
    return given.removesuffix(TEXTURES)


def beside_the_paper(suite: Suite, columns: Mapping[str, Column]) -> list[str]:
    """Lay out the paper's table with further columns.

    Args:
        suite: The data set.
        columns: What was measured, by the column's title.

    Returns:
        Lines of a Markdown table: the categories, and means of groups, of all categories and of those measured.
    """
    at_hand = [category for category in suite.categories if any(category in column for column in columns.values())]
    every = [*suite.paper.values(), *columns.values()]
    body = []
    for group, categories in suite.groups.items():
        body += [[category, *(_pair(column.get(category, ())) for column in every)] for category in categories]
        if group:
            body.append([f"**{group}, mean**", *(_mean(column, categories) for column in every)])
    body.append([f"**mean of all {len(suite.categories)}**", *(_mean(column, suite.categories) for column in every)])
    if len(at_hand) < len(suite.categories):
        body.append([f"**mean of those measured ({len(at_hand)})**", *(_mean(column, at_hand) for column in every)])
    return markdown_table(["", *suite.paper, *columns], body, "l")


def by_type(suite: Suite, found: Mapping[str, Rows]) -> list[str]:
    """Tell structural from logical anomalies, of each model in each category and as means over categories."""
    columns = {title: _column(rows, BY_TYPE) for title, rows in found.items()}
    body = []
    for category in suite.categories:
        body += [[category, title, *_cells(c[category])] for title, c in columns.items() if category in c]
    for title, column in columns.items():
        means = [_mean_of(column, suite.categories, place) for place in range(len(BY_TYPE))]
        body.append(["**mean**", title, *_cells(means)])
    header = [f"{what}, {kind}" for what in ("image AUROC", "AU-sPRO") for kind in TYPES]
    return markdown_table(["", "model", *header], body, "ll")


def bars(suite: Suite, found: Mapping[str, Rows]) -> dict[str, dict[str, float]]:
    """Give image AUROC by model and type, of the types that all models have.

    Args:
        suite: The data set. Where all of its categories were measured, the paper's SLSG stands beside.
        found: Rows of each model.
    """
    columns = {title: _column(rows, BY_TYPE[: len(TYPES)]) for title, rows in found.items()}
    means = {
        title: {kind: _mean_of(column, column, place) for place, kind in enumerate(TYPES)}
        for title, column in columns.items()
    }
    if all(set(suite.categories) == column.keys() for column in columns.values()):
        means["SLSG in the paper"] = dict(PAPERS_TYPES)
    kinds = [kind for kind in TYPES if all(each[kind] is not None for each in means.values())]
    return {title: {kind: each[kind] / 100 for kind in kinds} for title, each in means.items()} if kinds else {}


def _column(rows: Rows, metrics: Sequence[str]) -> Column:
    """Give means over seeds in per cent, by category."""
    column = {}
    for category in dict.fromkeys(row["category"] for row in rows):
        of_category = [row for row in rows if row["category"] == category]
        values = [[100 * float(row[metric]) for row in of_category if row[metric]] for metric in metrics]
        column[category] = [statistics.mean(each) if each else None for each in values]
    return column


def _mean(column: Column, categories: Sequence[str]) -> str:
    """Give the cell of a mean, where the column has all of the categories; some may lack a figure, which is said."""
    if not categories or not all(category in column for category in categories):
        return ""
    parts = []
    for place, cell in enumerate(_cells([_mean_of(column, categories, place) for place in range(2)])):
        number = sum(column[category][place] is not None for category in categories)
        parts.append(f"{cell} (of {number})" if 0 < number < len(categories) else cell)
    return ", ".join(parts)


def _mean_of(column: Column, categories: Iterable[str], place: int) -> float | None:
    """Give the mean over the categories that have the figure at a place."""
    values = [column[category][place] for category in categories if category in column]
    numbers = [value for value in values if value is not None]
    return statistics.mean(numbers) if numbers else None


def _pair(values: Figures) -> str:
    return ", ".join(_cells(values))


def _cells(values: Figures) -> list[str]:
    return ["-" if value is None else fixed(value, 1) for value in values]
