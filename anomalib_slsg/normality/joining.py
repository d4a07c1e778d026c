"""What SegNet and normality say of images, and how it is joined. Not in the paper."""

from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_slsg.networks.seg_net import RARITY

LEAST_EXCESS = 1e-6  # of SegNet's log odds over even ones that counts


class Opinion(NamedTuple):
    """What SegNet or normality says of images.

    Attributes:
        image: Log odds that an image is anomalous, of shape (B,).
        pixels: Log odds that a pixel is, of shape (B, 1, H, W); ``None`` from a normality without *places*.
    """

    image: Tensor
    pixels: Tensor | None


class Verdict(NamedTuple):
    """What is known of images before it becomes probabilities. At least one opinion is there.

    Attributes:
        segnet: SegNet's; ``None`` without it.
        normality: Normality's; ``None`` without it.
    """

    segnet: Opinion | None
    normality: Opinion | None

    @property
    def pixels(self) -> Tensor | None:
        """Joined log odds of pixels, see :func:`join_pixels`; ``None`` where no opinion has a map."""
        return join_pixels(*(None if opinion is None else opinion.pixels for opinion in self))


def join_images(segnet: Tensor | None, normality: Tensor | None) -> Tensor:
    """Join what is said of images: an anomaly is one for any reason, so odds add up.

    SegNet knows simulated anomalies only, so it counts where it finds more than it usually does in normal images: by
    how much its odds exceed even ones. Elsewhere it is silent, and normality's opinion stands.

    Args:
        segnet: Log odds of shape (B,); ``None`` without SegNet.
        normality: The same of normality. At least one is there.

    Returns:
        Log odds of shape (B,).
    """
    if segnet is None or normality is None:
        (only,) = (said for said in (segnet, normality) if said is not None)
        return only
    excess = segnet.clamp(min=LEAST_EXCESS).expm1().log()
    return torch.where(segnet > LEAST_EXCESS, torch.logaddexp(excess, normality), normality)


def join_pixels(segnet: Tensor | None, normality: Tensor | None) -> Tensor | None:
    """Join what is said of pixels: log odds add up.

    SegNet's count by how far they exceed RARITY, the prior. Lower ones count as the prior: SegNet knows only simulated
    anomalies, so its silence proves nothing. Normality's can be negative, and so suppress false alarms.

    Args:
        segnet: Log odds of shape (B, 1, H, W); ``None`` without SegNet.
        normality: The same of normality, if it has a map.

    Returns:
        Log odds of the same shape; ``None`` without any.
    """
    if segnet is None or normality is None:
        return normality if segnet is None else segnet
    return segnet.clamp(min=RARITY) - RARITY + normality
