"""Fig. 9: anomaly maps of SegNet where each of its losses is left out."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from anomalib_slsg.report.figures.column import for_print
from anomalib_slsg.report.figures.localisation import Example, draw_maps

COLUMNS = ("without\nl1", "without\nfocal", "without\nauxiliary", "all\nlosses")
CAPTION = "Fig. 9. Effect of SegNet's losses on localisation: maps of SegNet alone, with each loss left out. "


@for_print
def draw_losses(examples: Sequence[Example], maps: Sequence[Sequence[np.ndarray]], trained: str) -> Figure:
    """Draw a row for each image and a column for each choice of losses.

    Args:
        examples: The images.
        maps: For each of :data:`COLUMNS`, its maps of them, of shape (h, w), in [0, 1].
        trained: Says how the networks were trained.

    Returns:
        The figure.
    """
    columns: Mapping[str, Sequence[np.ndarray]] = dict(zip(COLUMNS, maps, strict=True))
    return draw_maps(examples, columns, CAPTION + trained)
