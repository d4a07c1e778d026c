"""Fig. 5: the anomaly maps of several models beside each other."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from anomalib_slsg.report.figures.column import for_print, picture_grid, show

CAPTION = (
    "Fig. 5. Localisation of anomalies: test images, their true masks and the anomaly maps, each pixel's probability "
    "of being anomalous. Images are spread evenly over the test set; none was chosen by its map."
)
COLOURS = "inferno"
NO_MASK = 0.5  # grey, where the truth is not known
BAR = 7.0  # millimetres of a colour bar


class Example(NamedTuple):
    """A test image.

    Attributes:
        image: In [0, 1], of shape (3, H, W).
        mask: Where it is anomalous, of shape (H', W'), or ``None`` if that is not known.
        label: The kind of anomaly.
    """

    image: Tensor
    mask: np.ndarray | None
    label: str


@for_print
def draw_localisation(examples: Sequence[Example], maps: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Draw a row for each image and a column for each model.

    Args:
        examples: The images.
        maps: Each model's maps of them, of shape (h, w), in [0, 1].

    Returns:
        The figure.
    """
    unknown = " Grey: the data have no mask." if any(example.mask is None for example in examples) else ""
    return draw_maps(examples, maps, CAPTION + unknown)


def draw_maps(examples: Sequence[Example], maps: Mapping[str, Sequence[np.ndarray]], caption: str) -> Figure:
    """Draw a row for each image: the image, its mask and each model's map, as :func:`draw_localisation` does."""
    shape = (examples[0].image.shape[-2], examples[0].image.shape[-1])
    two_lines = any("\n" in name for name in maps)
    columns = ["image\n" * two_lines or "image", "true mask\n" * two_lines or "true mask", *maps]
    labels = [example.label.replace("_anomalies", "").replace("_", " ") for example in examples]
    figure, axes = picture_grid(columns, labels, caption, shape=shape)
    figure.set_figheight(figure.get_figheight() + BAR / 25.4)
    for line, example, *each in zip(axes, examples, *maps.values(), strict=True):
        show(line[0], example.image)
        show(line[1], np.full(shape, NO_MASK) if example.mask is None else example.mask)
        for panel, values in zip(line[2:], each, strict=True):
            colours = show(panel, values, colours=COLOURS)
    bar = figure.colorbar(colours, ax=axes, location="bottom", aspect=40, pad=0.01, fraction=0.02, shrink=0.6)
    bar.set_label("probability of an anomaly", fontsize=6, labelpad=1)
    return figure
