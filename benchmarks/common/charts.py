"""Where the charts of results go."""

from pathlib import Path

from matplotlib.figure import Figure

from anomalib_slsg.utils.files import write_atomically
from benchmarks.common.paths import FIGURES, RESULTS


def save_chart(figure: Figure, results: Path) -> None:
    """Write a chart as a PNG named after its file of results: into ``figures``, or beside results kept elsewhere.

    Args:
        figure: The chart.
        results: The file of results.
    """
    folder = FIGURES if results.resolve().parent == RESULTS else results.parent
    write_atomically(folder / f"{results.stem}.png", lambda temporary: figure.savefig(temporary, format="png", dpi=100))
