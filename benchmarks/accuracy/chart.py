"""The chart of accuracies: how well each model tells anomalous images of each product from normal ones."""

import textwrap

from matplotlib.figure import Figure

from benchmarks.accuracy.table_layout import BASELINES, find
from benchmarks.accuracy.tables import NOTHING, PRODUCTS, UNTRAINED, WITHOUT_PATCHCORE
from benchmarks.common.charts import TEXT, chart_of
from benchmarks.common.files import read_rows
from benchmarks.common.paths import RESULTS

Scores = dict[str, dict[str, list[float]]]  # of each product those of each model, one for each seed
METRIC = "image_AUROC"
LOWEST = 0.7  # what is worse stands at this edge, with its number
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLOURS = ("C3", "C0", "C7", "C2", "C1", "C4", "C5", "C6", "C8", "C9")
LABEL, LEGEND = 16, 56  # characters that fit into a line


def scores_in_documents() -> Scores:
    """Give the figures that documents compare: SLSG as it is by default, beside PatchCore and PaDiM, at 256 px."""
    rows = read_rows(RESULTS / "accuracy.csv")
    return {
        data.title: {
            title: [float(row[METRIC]) for row in find(rows, model, data, NOTHING)]
            for title, model in UNTRAINED.items()
            if not (data in WITHOUT_PATCHCORE and model == BASELINES["PatchCore"])
        }
        for data in PRODUCTS
    }


def draw(scores: Scores) -> Figure:
    """Draw a line for each product, and in it a mark for each model and seed."""
    figure, axes = chart_of(len(scores))
    models = list(dict.fromkeys(model for found in scores.values() for model in found))
    for number, model in enumerate(models):
        points = [(value, place) for place, found in enumerate(scores.values()) for value in found.get(model, [])]
        style = {"markersize": 13} if number == 0 else {"markersize": 17, "fillstyle": "none", "markeredgewidth": 2.5}
        shown = zip(*((max(value, LOWEST), place) for value, place in points))
        mark, color = MARKS[number % len(MARKS)], COLOURS[number % len(COLOURS)]
        axes.plot(*shown, mark, color=color, label=model, zorder=3 - number / len(models), **style)
        for value, place in points:
            if value < LOWEST:
                axes.annotate(f"{value:.2f}", (LOWEST, place), (14, -6), textcoords="offset points", fontsize=TEXT - 3)
    axes.set_yticks(range(len(scores)), [textwrap.fill(title, LABEL) for title in scores])
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.set_xlim(LOWEST - 0.012, 1.012)
    axes.set_xlabel("image AUROC", fontsize=TEXT)
    axes.grid(alpha=0.4)
    columns = len(models) if sum(len(model) + 6 for model in models) < LEGEND else 1
    figure.legend(loc="outside upper center", ncols=columns, fontsize=TEXT, handletextpad=0.2, columnspacing=1)
    return figure
