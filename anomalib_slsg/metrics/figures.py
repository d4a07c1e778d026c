"""Figures of sPRO curves."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomalib_slsg.metrics.spro import SPROPoints, area_under_curve, thin_curve

# Finer than a figure shows; a curve of all scores can have millions of points.
FIGURE_RESOLUTION = 5e-4


def draw_spro_over_fpr(curves: dict[str, SPROPoints], fpr_limit: float) -> Figure:
    """Draw the mean sPRO over the false-positive rate.

    Args:
        curves: Curve of each line.
        fpr_limit: Right end of the axis; the legend gives the areas up to it.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, points in curves.items():
        drawn = thin_curve(points, FIGURE_RESOLUTION * fpr_limit)
        label = f"{_words(name)}: {area_under_curve(points, fpr_limit):.3f}"
        axes.plot(drawn.fpr, drawn.spro, label=label)
    axes.set(xlabel="False-positive rate", ylabel="Mean sPRO", xlim=(0, fpr_limit), ylim=(0, 1))
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(title=f"AU-sPRO up to {fpr_limit:g}", loc="lower right")
    return figure


def draw_over_threshold(curves: dict[str, SPROPoints]) -> Figure:
    """Draw false-positive rate and mean sPRO over the threshold, as in Fig. 11 of the paper.

    Args:
        curves: Curve of each panel.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(5 * max(len(curves), 1), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, max(len(curves), 1), squeeze=False)[0]
    for axes, (name, points) in zip(panels, curves.items()):
        drawn = thin_curve(points, FIGURE_RESOLUTION)
        finite = slice(0, len(drawn.thresholds) - 1)  # the last threshold is -inf
        # between two scores that occur nothing changes
        axes.step(drawn.thresholds[finite], drawn.fpr[finite], where="pre", label="false-positive rate")
        axes.step(drawn.thresholds[finite], drawn.spro[finite], where="pre", label="mean sPRO")
        axes.set(title=_words(name), xlabel="Threshold", ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _words(name: str) -> str:
    return name.replace("_", " ")
