"""Normality: a frozen backbone, the measures of its features, and what they say of images. Not in the paper."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalib_slsg.normality.backbone import Features, FrozenBackbone, Grid
from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.normality.joining import Opinion
from anomalib_slsg.normality.options import NormalityOptions
from anomalib_slsg.normality.places import PlaceByPlace, Places, Whole


class HeldOut(NamedTuple):
    """The images that were fitted to, judged as if they were new: each by what the others teach.

    Attributes:
        images: Log odds that they are anomalous, of shape (N,).
        pixels: Gives the log odds of pixels (B, 1, H, W) of those of B indices; ``None`` without *places*.
    """

    images: Tensor
    pixels: Callable[[Tensor], Tensor | None]


class Normality(nn.Module):
    """The measures of how unusual an image is, fitted or not.

    Args:
        options: The backbone, and which measures there are, at least one.
    """

    def __init__(self, options: NormalityOptions) -> None:
        super().__init__()
        self.backbone = FrozenBackbone(options.backbone)
        self.places = Places() if "places" in options.measures else None
        # what is smaller than places only sharpens the map: it tells images apart no better than they do
        self.details = Places() if "places" in options.measures else None
        self.whole = Whole() if "whole" in options.measures else None
        self.composition = Composition() if "composition" in options.measures else None

    @property
    def measures(self) -> list[Places | Whole | Composition]:
        """All of them, fitted or not."""
        details = None if self.places is None else self.details
        every = (self.places, details, self.whole, self.composition)
        return [measure for measure in every if measure is not None]

    @property
    def fitted(self) -> bool:
        """Whether normal images have been seen."""
        return any(measure.fitted for measure in self.measures)

    @property
    def held_out(self) -> HeldOut | None:
        """The images that were fitted to, by what the others teach; ``None`` until it is fitted."""
        asked = [
            measure for measure in (self.places, self.whole, self.composition) if measure is not None and measure.fitted
        ]
        if not asked:
            return None

        def pixels(images: Tensor) -> Tensor | None:
            if self.places is None or self.details is None:
                return None
            finer = self.details.of_pixels(self.details.held_out[images])
            return self.places.of_pixels(self.places.held_out[images]) + finer

        said = torch.stack([measure.of_images(measure.held_out) for measure in asked])
        return HeldOut(torch.logsumexp(said, dim=0), pixels)

    def forward(self, images: Tensor, backbone: nn.Module) -> Opinion:
        """Tell what the fitted measures say: an image is anomalous for any of their reasons, so odds add up.

        Args:
            images: Normalised images of shape (B, 3, H, W).
            backbone: Normality's own, or a faster copy of it.

        Returns:
            The opinion.
        """
        grids = [_grid(measure) for measure in (self.details, self.places, self.whole)]
        features: Features = backbone(images, grids)
        size = (images.shape[-2], images.shape[-1])
        opinions, pixels = [], None
        if self.places is not None and self.details is not None and self.places.fitted:
            image, pixels = self.places(features.fine, size)
            opinions.append(image)
            pixels = pixels + self.details(features.finest, size)[1]
        if self.whole is not None and self.whole.fitted:
            opinions.append(self.whole(features.coarse))
        if self.composition is not None and self.composition.fitted:
            opinions.append(self.composition(features.fine))
        return Opinion(torch.logsumexp(torch.stack(opinions), dim=0), pixels)


def _grid(measure: PlaceByPlace | None) -> Grid | None:
    return None if measure is None or not measure.fitted else (measure.mean.shape[-2], measure.mean.shape[-1])
