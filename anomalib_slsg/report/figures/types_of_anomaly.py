"""Fig. 6: image AUROC of several models by the type of anomaly."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from anomalib_slsg.report.figures.column import column_figure, for_print

CHANCE = 0.5
BAR = 4.0  # millimetres
LINE, MARK = 60, 8  # characters that fit into a line of the legend, and the room of a colour's mark


@for_print
def draw_types(areas: Mapping[str, Mapping[str, float]], labels: Mapping[str, str], of: str) -> Figure:
    """Draw a group of bars for each type of anomaly, in it a bar for each model.

    Args:
        areas: AUROC in [0, 1] by model and type, every type for every model.
        labels: What to call each type.
        of: What the figures are of, for the caption.

    Returns:
        The figure.
    """
    caption = (
        f"Fig. 6. Image-level ROC-AUC by type of anomaly, {of}. Bars begin at chance, 0.5, or below the lowest value."
    )
    types, thickness = list(labels), 0.8 / len(areas)
    in_one_line = sum(len(name) + MARK for name in areas) <= LINE
    figure = column_figure(BAR * (len(types) * (len(areas) + 0.6) + (0 if in_one_line else len(areas))) + 14, caption)
    axes = figure.subplots()
    lowest = min(CHANCE, *(np.ceil(10 * value - 1) / 10 for each in areas.values() for value in each.values()))
    for number, (name, each) in enumerate(areas.items()):
        places = np.arange(len(types)) + (number - (len(areas) - 1) / 2) * thickness
        values = np.array([each[kind] for kind in types])
        bars = axes.barh(places, values - lowest, 0.92 * thickness, left=lowest, label=name, color=f"C{number}")
        axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=2, fontsize=6)
    axes.set_yticks(range(len(types)), list(labels.values()))
    axes.invert_yaxis()
    axes.set_xlim(lowest, 1 + 0.1 * (1 - lowest))
    axes.set_xlabel("image AUROC")
    axes.set_xticks([tick / 10 for tick in range(round(10 * lowest), 11)])
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(areas) if in_one_line else 1, frameon=False)
    return figure
