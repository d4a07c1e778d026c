"""Fig. 3: how anomalies are simulated, step by step."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from anomalib_slsg.report.figures.column import for_print, picture_grid, show
from anomalib_slsg.simulation.simulator import AnomalyKind, SimulatedBatch

COLUMNS = (
    "image\n$I$",
    "fore-\nground",
    "noise\n",
    "mask\n$M$",
    "source\n$I_N$",
    "$M$ x source\n$M \\odot I_N$",
    "result\n$I_A$",
)
ROWS: tuple[AnomalyKind, ...] = ("texture", "shuffled", "logical")
CAPTION = (
    "Fig. 3. Simulation of structural anomalies, from a texture and from the image's own shuffled cells, and of "
    "logical ones, from another normal image. The mask M, binarised noise within the binarised foreground, cuts the "
    "noise source image $I_N$; that is superimposed on the normal image I, more or less opaquely (equation 1). Of "
    "a few draws the one with the largest mask is shown."
)


@for_print
def draw_simulation(normal: Tensor, batches: Mapping[AnomalyKind, SimulatedBatch]) -> Figure:
    """Draw a row for each source of anomalies.

    Args:
        normal: The normal image of each row, in [0, 1], of shape (rows, 3, H, W).
        batches: What was simulated of it, one image for each source.

    Returns:
        The figure.
    """
    shape = (normal.shape[-2], normal.shape[-1])
    figure, axes = picture_grid(COLUMNS, list(batches), CAPTION, shape=shape)
    for line, image, batch in zip(axes, normal, batches.values(), strict=True):
        source, mask, noise = batch.source[0], batch.mask[0], batch.noise[0, 0]
        show(line[0], image)
        show(line[1], batch.foreground[0, 0])
        show(line[2], noise, float(noise.min()), float(noise.max()))
        show(line[3], mask[0])
        show(line[4], source)
        show(line[5], source * mask)
        show(line[6], batch.image[0])
    return figure
