"""Normality: the measures that a model has, and what they say of images. Not in the paper."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.normality.options import NormalityOptions
from anomalib_slsg.normality.places import Places


class NormalityEvidence(NamedTuple):
    """What the fitted measures say.

    Attributes:
        places: Log odds that a pixel is anomalous, of shape (B, 1, H, W); ``None`` where that is not measured.
        composition: Evidence that an image is anomalous, in log odds, of shape (B,); ``None`` likewise.
    """

    places: Tensor | None
    composition: Tensor | None


class Normality(nn.Module):
    """The measures of how unusual an encoder's features are, fitted or not.

    Args:
        channels: Channels of the encoder's maps at strides 8 and 16.
        options: Which measures there are.
    """

    def __init__(self, channels: Sequence[int], options: NormalityOptions) -> None:
        super().__init__()
        self.places = Places(channels) if "places" in options.measures else None
        self.composition = Composition(channels) if "composition" in options.measures else None

    @property
    def measures(self) -> list[Places | Composition]:
        """All of them, fitted or not."""
        return [measure for measure in (self.places, self.composition) if measure is not None]

    def forward(self, pyramid: Sequence[Tensor], size: tuple[int, int]) -> NormalityEvidence:
        """Tell what the fitted measures say.

        Args:
            pyramid: Feature maps; the last two are those at strides 8 and 16.
            size: Height and width of the images in pixels.

        Returns:
            The evidence.
        """
        places, composition = self.places, self.composition
        return NormalityEvidence(
            places(pyramid, size) if places is not None and places.fitted else None,
            composition(pyramid) if composition is not None and composition.fitted else None,
        )
