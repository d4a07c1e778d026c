"""Fig. 10: reconstructions of GPT-Net with the l1 loss alone and with the adversarial loss."""

from matplotlib.figure import Figure
from torch import Tensor

from anomalib_slsg.report.figures.column import for_print, picture_grid, show

ROWS = ("original", "masked image", "l1 alone", "l1 and\nadversarial")
CAPTION = (
    "Fig. 10. Effect of GPT-Net's losses on the reconstruction of masked normal images. The auxiliary loss is in both. "
)


@for_print
def draw_reconstructions(images: Tensor, masked: Tensor, l1: Tensor, adversarial: Tensor, trained: str) -> Figure:
    """Draw a row for each state of the images.

    Args:
        images: Normal images in [0, 1], of shape (B, 3, H, W).
        masked: What GPT-Net sees of them.
        l1: Its reconstructions, trained without the adversarial loss.
        adversarial: Those trained with it.
        trained: Says how the networks were trained.

    Returns:
        The figure.
    """
    shape = (images.shape[-2], images.shape[-1])
    figure, axes = picture_grid([""] * len(images), ROWS, CAPTION + trained, shape=shape)
    for line, row in zip(axes, (images, masked, l1, adversarial), strict=True):
        for panel, picture in zip(line, row, strict=True):
            show(panel, picture)
    return figure
