"""Fig. 6: image AUROC of several models by the type of anomaly."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from anomalib_slsg.report.figures.column import column_figure, for_print

CHANCE = 0.5
BAR = 4.0  # millimetres


@for_print
def draw_types(areas: Mapping[str, Mapping[str, float]], numbers: Mapping[str, int], good: int) -> Figure:
    """Draw a group of bars for each type of anomaly, in it a bar for each model.

    Args:
        areas: AUROC in [0, 1] by model and type, every type for every model.
        numbers: Images of each type.
        good: Normal images, which each type is told from.

    Returns:
        The figure.
    """
    caption = (
        "Fig. 6. Image-level ROC-AUC by type of anomaly, each against the "
        f"{good} normal images of the test set. Bars begin at chance, 0.5, or at the lowest value below it."
    )
    types, thickness = list(numbers), 0.8 / len(areas)
    figure = column_figure(BAR * len(types) * (len(areas) + 0.6) + 14, caption)
    axes = figure.subplots()
    lowest = min(CHANCE, *(np.floor(10 * value) / 10 for each in areas.values() for value in each.values()))
    for number, (name, each) in enumerate(areas.items()):
        places = np.arange(len(types)) + (number - (len(areas) - 1) / 2) * thickness
        values = np.array([each[kind] for kind in types])
        bars = axes.barh(places, values - lowest, 0.92 * thickness, left=lowest, label=name, color=f"C{number}")
        axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=2, fontsize=6)
    names = [f"{kind.replace('_anomalies', '').replace('_', ' ')}\n({numbers[kind]} images)" for kind in types]
    axes.set_yticks(range(len(types)), names)
    axes.invert_yaxis()
    axes.set_xlim(lowest, 1 + 0.1 * (1 - lowest))
    axes.set_xlabel("image AUROC")
    axes.set_xticks([tick / 10 for tick in range(round(10 * lowest), 11)])
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(areas), frameon=False)
    return figure
