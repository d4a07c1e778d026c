"""Fits the measures of normality to the training images. Not in the paper."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalib_slsg.data.normal_images import NormalImages, rounded_to_bytes
from anomalib_slsg.networks.encoder import ResNetEncoder
from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.normality.folds import another_of_the_fold
from anomalib_slsg.normality.normality import Normality
from anomalib_slsg.normality.options import NormalityOptions
from anomalib_slsg.normality.places import Places
from anomalib_slsg.normality.receptive_field import offsets
from anomalib_slsg.normality.rounding import imitate_bfloat16

logger = logging.getLogger(__name__)

FITTED_IMAGES = 500  # more of them add memory and nothing else
JUDGED_IMAGES = 200  # with and without a simulated anomaly, to tell whether a measure is of use
JUDGED_ANOMALIES = 100  # at the least: where there are few images, which anomalies they get would decide


@dataclass(frozen=True)
class NormalityFitting:
    """Fits measures to features of normal images, and leaves those out that tell nothing.

    Args:
        encoder: Whose features are measured. It has to stay as it is afterwards.
        images: Training images.
        normalise: Prepares images in [0, 1] of shape (B, 3, H, W) for the encoder, on its device.
        simulate: Puts anomalies into images of shape (B, 3, H, W) in [0, 1], pasted from others of the same shape.
        options: Which measures are fitted without being judged first (those set to ``true``).
        agree: Makes all processes use the first one's number: rounding differs between processors.
    """

    encoder: ResNetEncoder
    images: NormalImages
    normalise: Callable[[Tensor], Tensor]
    simulate: Callable[[Tensor, Tensor], Tensor]
    options: NormalityOptions
    agree: Callable[[float], float]

    @torch.no_grad()
    def fit(self, normality: Normality, resumed: bool = False) -> None:
        """Fit the measures that are always used or tell simulated anomalies from normal images.

        Args:
            normality: The measures of the model; what they have learnt of other images is forgotten.
            resumed: Leave fitted ones as they are, because training goes on.
        """
        unfitted = [measure for measure in normality.measures if not (measure.fitted and resumed)]
        for measure in unfitted:
            measure.reset()
        if unfitted and len(self.images) < 2:
            logger.warning("model.normality is left out: it needs at least two normal images, and there is one.")
            return
        self.encoder.eval()
        wanted = self._those_that_separate(unfitted)
        if not wanted:
            return
        features, rounding, size = self._features_and_rounding(wanted[0])
        for measure in wanted:
            if isinstance(measure, Places):
                measure.fit(features, rounding, size, offsets(self.encoder, size, features.device))
            else:
                measure.fit(features, rounding)

    def _features_and_rounding(self, measure: Places | Composition) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Features of normal images, by how much rounding changes them, and the images' size.

        Features are those of images that a model resizes itself, in 32 bits, as it is exported. Cameras and programmes
        that resize give images of 8 bits, and processors compute in bfloat16, torch and OpenVINO each in its own way;
        images take turns with these two.
        """
        rounded_encoders = [imitate_bfloat16(self.encoder, precise_stem) for precise_stem in (True, False)]
        features: list[Tensor] = []
        rounding: list[Tensor] = []
        size = (0, 0)
        for images in self.images.read(self.images.spread_evenly(FITTED_IMAGES)):
            size = (images.shape[-2], images.shape[-1])
            exact, of_bytes = self.normalise(images), self.normalise(rounded_to_bytes(images))
            features.append(measure.gather([self.encoder(exact)]))
            rounding.append(-features[-1])
            for turn, rounded_encoder in enumerate(rounded_encoders[: len(images)]):
                rounding[-1][turn::2] += measure.gather([rounded_encoder(of_bytes[turn::2])])
        return torch.cat(features), torch.cat(rounding), size

    def _those_that_separate(self, measures: list[Places | Composition]) -> list[Places | Composition]:
        """Leave out what is not always used and does not tell simulated anomalies from normal images."""
        always = [measure for measure in measures if getattr(self.options, measure.name) is True]
        if always == measures:
            return measures
        chosen = self.images.spread_evenly(JUDGED_IMAGES)
        normal = measures[0].gather(self.encoder(self.normalise(images)) for images in self.images.in_parts(chosen))
        anomalous = measures[0].gather(map(self.encoder, self._simulated_images(chosen)))
        return [measure for measure in measures if measure in always or self._separates(measure, normal, anomalous)]

    def _simulated_images(self, chosen: Tensor) -> Iterator[Tensor]:
        """Judged images with simulated anomalies, once or several times, as the network takes them."""
        # paste from the same fold: the others, which images are compared with, would know the pasted part as normal
        others = chosen[another_of_the_fold(len(chosen))]
        device = next(self.encoder.parameters()).device
        for _ in range(-(-JUDGED_ANOMALIES // len(chosen))):
            for each, other in zip(self.images.in_parts(chosen), self.images.in_parts(others), strict=True):
                yield self.normalise(self.simulate(each.to(device), other.to(device)))

    def _separates(self, measure: Places | Composition, normal: Tensor, anomalous: Tensor) -> bool:
        separation = self.agree(measure.separation(normal, anomalous))
        separates = separation >= measure.least_separation
        logger.info(
            "model.normality.%s: %s (AUROC of simulated anomalies %.2f, needs %.2f).",
            measure.name,
            "on" if separates else "off",
            separation,
            measure.least_separation,
        )
        return separates
