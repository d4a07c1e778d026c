"""Fits feature distance and composition to the training images. Not in the paper."""

import logging
from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor

from anomalib_slsg.data.normal_images import NormalImages, rounded_to_bytes
from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.normality.folds import another_of_the_fold
from anomalib_slsg.normality.measure import FITTED_IMAGES, JUDGED_ANOMALIES, JUDGED_IMAGES
from anomalib_slsg.normality.places import FeatureDistance
from anomalib_slsg.normality.receptive_field import offsets
from anomalib_slsg.normality.rounding import imitate_bfloat16
from anomalib_slsg.torch_model import SlsgModel

logger = logging.getLogger(__name__)

Measure = FeatureDistance | Composition


class FeatureFitting:
    """Fits measures to features of normal images, and leaves those out that tell nothing.

    Args:
        model: Model whose measures are fitted. Its encoder has to stay as it is afterwards.
        images: Training images, two or more.
        simulate: Puts anomalies into images of shape (B, 3, H, W) in [0, 1], pasted from others of the same shape.
        always: Measures that are fitted whatever they tell.
        agree: Makes all processes use the first one's number: rounding differs between processors.
    """

    def __init__(
        self,
        model: SlsgModel,
        images: NormalImages,
        simulate: Callable[[Tensor, Tensor], Tensor],
        always: Collection[Measure],
        agree: Callable[[float], float],
    ) -> None:
        self._model = model
        self._encoder = model.seg_net.measured_encoder
        self._images = images
        self._simulate = simulate
        self._always = always
        self._agree = agree

    @torch.no_grad()
    def fit(self, measures: list[Measure]) -> None:
        """Fit those that are always used or tell simulated anomalies from normal images.

        Args:
            measures: Measures of the model, not fitted.
        """
        self._encoder.eval()
        wanted = self._those_that_separate(measures)
        if not wanted:
            return
        features, rounding, size = self._features_and_rounding(wanted[0])
        for measure in wanted:
            if isinstance(measure, FeatureDistance):
                measure.fit(features, rounding, size, offsets(self._encoder, size, features.device))
            else:
                measure.fit(features, rounding)

    def _features_and_rounding(self, measure: Measure) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Features of normal images, by how much rounding changes them, and the images' size.

        Features are those of images that a model resizes itself, in 32 bits, as it is exported. Cameras and programmes
        that resize give images of 8 bits, and processors compute in bfloat16, torch and OpenVINO each in its own way;
        images take turns with these two.
        """
        example = next(whole_images(self._model, self._images, 1))
        rounded_encoders = [imitate_bfloat16(self._encoder, example, precise_stem) for precise_stem in (True, False)]
        features: list[Tensor] = []
        rounding: list[Tensor] = []
        for images in self._images.read(self._images.spread_evenly(FITTED_IMAGES)):
            exact, of_bytes = (
                self._model.normalise(each.to(example.device)) for each in (images, rounded_to_bytes(images))
            )
            features.append(measure.gather([self._encoder(exact)]))
            rounding.append(-features[-1])
            for turn, rounded_encoder in enumerate(rounded_encoders[: len(images)]):
                rounding[-1][turn::2] += measure.gather([rounded_encoder(of_bytes[turn::2])])
        return torch.cat(features), torch.cat(rounding), (example.shape[-2], example.shape[-1])

    def _those_that_separate(self, measures: list[Measure]) -> list[Measure]:
        """Leave out what is not always used and does not tell simulated anomalies from normal images."""
        if all(measure in self._always for measure in measures):
            return measures
        normal = measures[0].gather(map(self._encoder, whole_images(self._model, self._images, JUDGED_IMAGES)))
        anomalous = measures[0].gather(map(self._encoder, self._simulated_images()))
        return [
            measure for measure in measures if measure in self._always or self._separates(measure, normal, anomalous)
        ]

    def _simulated_images(self) -> Iterator[Tensor]:
        """Judged images with simulated anomalies, once or several times, as the network takes them."""
        chosen, device = self._images.spread_evenly(JUDGED_IMAGES), self._model.mean.device
        # not of those that judge distances, among which what is pasted is normal
        others = chosen[another_of_the_fold(len(chosen))]
        for _ in range(-(-JUDGED_ANOMALIES // len(chosen))):
            for each, other in zip(self._images.in_parts(chosen), self._images.in_parts(others), strict=True):
                yield self._model.normalise(self._simulate(each.to(device), other.to(device)))

    def _separates(self, measure: Measure, normal: Tensor, anomalous: Tensor) -> bool:
        separation = self._agree(measure.separation(normal, anomalous))
        separates = separation >= measure.least_separation
        logger.info(
            "model.%s=auto: it tells simulated anomalies from normal images with an AUROC of %.3f, and is %s "
            "(%.2f is asked for).",
            measure.option,
            separation,
            "added to what SegNet finds" if separates else "left out",
            measure.least_separation,
        )
        return separates


def whole_images(model: SlsgModel, images: NormalImages, most: int | None = None) -> Iterator[Tensor]:
    """Show a model the training images without anomalies.

    Args:
        model: Model that they are normalised for.
        images: The images.
        most: How many of them, spread evenly; all if left out.

    Yields:
        Images as the network takes them, of shape (B, 3, H, W), on the model's device.
    """
    for part in images.in_parts(images.spread_evenly(most)):
        yield model.normalise(part.to(model.mean.device))
