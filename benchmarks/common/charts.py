"""How charts of results look, and where they go."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anomalib_slsg.utils.files import write_atomically
from benchmarks.common.paths import FIGURES, RESULTS

TEXT = 17  # points: pages show charts at half their width of 800 pixels


def chart_of(lines: int) -> tuple[Figure, Axes]:
    """Make a chart that is readable at half its width.

    Args:
        lines: Number of lines, of a label of up to two lines of text each.
    """
    figure = Figure(figsize=(8, 1.6 + 0.68 * lines), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=TEXT)
    return figure, axes


def save_chart(figure: Figure, results: Path) -> None:
    """Write a chart as a PNG named after its file of results.

    Args:
        figure: The chart.
        results: The file of results.
    """
    file = figures_of(results) / f"{results.stem}.png"
    write_atomically(file, lambda temporary: figure.savefig(temporary, format="png", dpi=100))


def figures_of(results: Path) -> Path:
    """Give the folder for charts of a file of results: ``figures``, or its own if results are kept elsewhere."""
    return FIGURES if results.resolve().parent == RESULTS else results.parent
