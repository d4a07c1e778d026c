"""How a table is made from ``accuracy.csv``: each figure is the mean over seeds of chosen rows."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from benchmarks.common.files import read_rows
from benchmarks.common.markdown import fixed, markdown_table
from benchmarks.common.paths import RESULTS

Row = dict[str, str]

# what tables call the models that no schedule trains, and their names in the file
BASELINES = {"PatchCore": "PatchCore Lite0", "PaDiM": "PaDiM Lite0"}
# metrics that are not columns of the file: how many seeds there are, the one for places that the data have, and how
# many of the images there are
SEEDS = "seeds"
SHARES = {"false alarms": ("false_alarms", "good_images"), "misses": ("misses", "anomalous_images")}
LOCALISATION = "localisation"
LOCALISATION_METRICS = ("pixel_AUSPRO_mean", "pixel_AUSPRO_logical", "pixel_AUPRO")
DIGITS = 3


class Data(NamedTuple):
    """A data set as tables call it, and its name and category in the file."""

    title: str
    name: str
    category: str


@dataclass(frozen=True)
class Training:
    """How the models of some rows were trained.

    Args:
        schedule: Epochs and iterations, as in the file.
        size: Side of the images.
        seed: The only one that counts; all if left out.
    """

    schedule: str
    size: int = 128
    seed: int | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: Its title.
        metrics: What its cells tell, several with a stroke between them.
        data: The data whose rows it tells of; those of the line if left out.
    """

    title: str
    metrics: tuple[str, ...]
    data: Data | None = None


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Args:
        titles: Its first cells.
        model: Name of the model in the file.
        training: How it was trained.
        data: The data whose rows it tells of, where columns do not say.
    """

    titles: tuple[str, ...]
    model: str
    training: Training
    data: Data | None = None


def find(rows: Iterable[Row], model: str, data: Data, training: Training) -> list[Row]:
    """Find the rows that a mean is taken of.

    Raises:
        LookupError: If there are none.
    """
    size = f"{training.size} px"
    schedule = size if model in BASELINES.values() else f"{size}, {training.schedule}"
    key = {"model": model, "data": data.name, "category": data.category, "schedule": schedule}
    if training.seed is not None:
        key["seed"] = str(training.seed)
    found = [row for row in rows if key.items() <= row.items()]
    if not found:
        msg = f"accuracy.csv has no row of {key}"
        raise LookupError(msg)
    return found


def value(rows: Sequence[Row], metric: str) -> str:
    """Tell what a cell says of some rows: a mean, or for shares the sums; nothing where no row has the metric."""
    if metric == SEEDS:
        return str(len(rows))
    if metric in SHARES:
        some, every = (sum(int(row[name] or 0) for row in rows) for name in SHARES[metric])
        return f"{some} of {every}" if every else ""
    candidates = LOCALISATION_METRICS if metric == LOCALISATION else (metric,)
    for name in candidates:
        values = [Decimal(row[name]) for row in rows if row[name]]  # of which a half is one
        if values:
            return fixed(statistics.mean(values), DIGITS)
    return ""


def cells(rows: Sequence[Row], columns: Sequence[Column], line: Line) -> list[str]:
    """Give the cells of a line behind its titles."""
    found = []
    for column in columns:
        data = column.data or line.data
        assert data is not None
        chosen = find(rows, line.model, data, line.training)
        found.append(" / ".join(value(chosen, metric) for metric in column.metrics))
    return found


def in_bold(body: list[list[str]]) -> list[list[str]]:
    """Mark the highest figure of each column, or of each part of it."""
    marked = []
    for column in zip(*body):
        parts = [cell.split(" / ") for cell in column]
        highest = [max(each, key=float) for each in zip(*parts)]
        marked.append([" / ".join(f"**{p}**" if p == best else p for p, best in zip(cell, highest)) for cell in parts])
    return [list(row) for row in zip(*marked)]


def table(
    header: Sequence[str], lines: Sequence[Line], columns: Sequence[Column], alignment: str, bold: bool = False
) -> list[str]:
    """Give the lines of a table in Markdown.

    Args:
        header: Titles of the first columns.
        lines: The lines.
        columns: The other columns.
        alignment: As in :func:`markdown_table`.
        bold: Mark the highest figure of each column.
    """
    rows = read_rows(RESULTS / "accuracy.csv")
    figures = [cells(rows, columns, line) for line in lines]
    if bold:
        figures = in_bold(figures)
    full = [*header, *(column.title for column in columns)]
    return markdown_table(full, [[*line.titles, *found] for line, found in zip(lines, figures)], alignment)
