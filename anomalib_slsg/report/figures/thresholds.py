"""Fig. 11: false-positive rate and sPRO of two models over the threshold."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from anomalib_slsg.metrics.spro import SPROPoints
from anomalib_slsg.report.figures.column import column_figure, for_print

STEPS = 1000  # of the threshold, from 0 to 1
CAPTION = "Fig. 11. False-positive rate (FPR) and mean sPRO of {names} over the threshold of pixels. "
SHARES = (
    "Filled: one is ahead, better in one of the two and no worse in the other; {first} over {0:.0%} of the "
    "thresholds, {second} over {1:.0%}."
)
HALF = " At 0.5: {values}."


def rates_at(points: SPROPoints, thresholds: NDArray[np.floating]) -> tuple[np.ndarray, np.ndarray]:
    """Read a curve.

    Args:
        points: The curve.
        thresholds: Where.

    Returns:
        False-positive rate and mean sPRO at each threshold.
    """
    # between two scores that occur nothing changes, so the next lower one tells
    indices = np.searchsorted(-points.thresholds, -thresholds, side="left")
    return points.fpr[indices], points.spro[indices]


def ahead(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> NDArray[np.bool_]:
    """Tell where one model raises fewer false alarms and finds no less, or finds more and raises no more of them."""
    no_worse = (one[0] <= other[0]) & (one[1] >= other[1])
    return no_worse & ((one[0] < other[0]) | (one[1] > other[1]))


@for_print
def draw_thresholds(curves: Mapping[str, SPROPoints]) -> Figure:
    """Draw the rates of one or two models.

    Args:
        curves: Theirs.

    Returns:
        The figure.
    """
    thresholds = np.linspace(0, 1, STEPS + 1)
    rates = {name: rates_at(points, thresholds) for name, points in curves.items()}
    names = list(rates)
    caption, wins = CAPTION.format(names=" and ".join(names)), []
    if len(names) == 2:
        wins = [ahead(rates[one], rates[two]) for one, two in (names, names[::-1])]
        caption += SHARES.format(*(win.mean() for win in wins), first=names[0], second=names[1])
    half = STEPS // 2
    at_half = (f"{name} FPR {fpr[half]:.4f}, sPRO {spro[half]:.3f}" for name, (fpr, spro) in rates.items())
    figure = column_figure(58, caption + HALF.format(values="; ".join(at_half)))
    axes = figure.subplots()
    for number, (name, (fpr, spro)) in enumerate(rates.items()):
        axes.plot(thresholds, spro, color=f"C{number}", label=f"sPRO, {name}")
        axes.plot(thresholds, fpr, color=f"C{number}", label=f"FPR, {name}", linestyle="dashed")
    for number, win in enumerate(wins):
        label = f"{names[number]} ahead"
        axes.fill_between(thresholds, 0, 1, where=win, color=f"C{number}", alpha=0.15, linewidth=0, label=label)
    axes.set(xlabel="threshold", ylabel="rate", xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside upper center", ncols=max(1, len(names)), frameon=False)
    return figure
