"""What SegNet and normality say of images, and how it is joined. Not in the paper."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from anomalib_slsg.networks.seg_net import RARITY

Anything = TypeVar("Anything")
LEAST_EXCESS = 1e-6  # of SegNet's log odds over even ones that counts


class Opinion(NamedTuple):
    """What SegNet or normality says of images.

    Attributes:
        image: Log odds that an image is anomalous, of shape (B,).
        pixels: Log odds that a pixel is, of shape (B, 1, H, W); ``None`` from a normality without *places*.
    """

    image: Tensor
    pixels: Tensor | None

    def of(self, images: Tensor) -> "Opinion":
        """The opinion of some of the images, by their indices."""
        return Opinion(self.image[images], None if self.pixels is None else self.pixels[images])


class Verdict(NamedTuple):
    """What is known of images before it becomes probabilities. One opinion is there, and one has a map.

    Attributes:
        segnet: SegNet's; ``None`` without it.
        normality: Normality's; ``None`` without it.
    """

    segnet: Opinion | None
    normality: Opinion | None

    @property
    def image(self) -> Tensor:
        """Joined log odds of images, of shape (B,): an anomaly is one for any reason, so odds add up.

        SegNet knows simulated anomalies only, so it counts where it finds more than it usually does in normal images:
        by how much its odds exceed even ones. Elsewhere it is silent, and normality's opinion stands.
        """
        if self.segnet is None or self.normality is None:
            return _given(self)[0].image
        segnet, normality = self.segnet.image, self.normality.image
        excess = segnet.clamp(min=LEAST_EXCESS).expm1().log()
        return torch.where(segnet > LEAST_EXCESS, torch.logaddexp(excess, normality), normality)

    @property
    def pixels(self) -> Tensor:
        """Joined log odds of pixels, of shape (B, 1, H, W).

        SegNet's count by how far they exceed RARITY, the prior. Lower ones count as the prior: SegNet knows only
        simulated anomalies, so its silence proves nothing. Normality's can be negative, and so suppress false alarms.
        """
        maps = _given(opinion.pixels for opinion in _given(self))
        return maps[0] if len(maps) == 1 else maps[0].clamp(min=RARITY) - RARITY + maps[1]


def concatenate(verdicts: Sequence[Verdict]) -> Verdict:
    """Put verdicts of several batches together."""
    of_both = (_given(opinions) for opinions in zip(*verdicts, strict=True))
    return Verdict(*(_concatenated(opinions) if opinions else None for opinions in of_both))


def _concatenated(opinions: Sequence[Opinion]) -> Opinion:
    maps = _given(opinion.pixels for opinion in opinions)
    return Opinion(torch.cat([opinion.image for opinion in opinions]), torch.cat(maps) if maps else None)


def _given(each: Iterable[Anything | None]) -> list[Anything]:
    return [one for one in each if one is not None]
