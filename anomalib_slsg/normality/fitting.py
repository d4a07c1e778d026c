"""Fits the measures of normality to the training images. Not in the paper."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.normality.backbone import Features
from anomalib_slsg.normality.description import FITTED_IMAGES, describe
from anomalib_slsg.normality.normality import Normality
from anomalib_slsg.normality.receptive_field import offsets
from anomalib_slsg.utils.processes import share_buffers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NormalityFitting:
    """Fits measures to the features of normal images.

    Args:
        images: Training images.
        normalise: Prepares images in [0, 1] of shape (B, 3, H, W) for the backbone.
        device: Where the backbone is.
        show_progress: Show a progress bar.
        alone: Nothing else judges images.
    """

    images: NormalImages
    normalise: Callable[[Tensor], Tensor]
    device: torch.device
    show_progress: bool = False
    alone: bool = False

    def is_done(self, normality: Normality) -> bool:
        """Whether measures, from a checkpoint, are fitted to so many images of this size."""
        if (held_out := normality.held_out) is None:
            return False
        examples = self.images.spread_evenly(FITTED_IMAGES)
        places, size = normality.places, self.images[examples[:1]].shape[-2:]
        return len(held_out.images) == len(examples) and (places is None or places.size == size)

    @torch.no_grad()
    def fit(self, normality: Normality, generator: torch.Generator) -> None:
        """Fit all measures.

        Args:
            normality: The measures; what they have learnt of other images is forgotten.
            generator: CPU generator of the changes and poses that count as normal.

        Raises:
            ValueError: If there is one image, and nothing else judges.
        """
        for measure in normality.measures:
            measure.reset()
        if len(self.images) < 2:
            if self.alone:
                raise ValueError("normality alone, without SegNet (optimizer.iterations is 0), needs two normal images")
            logger.warning("model.normality is left out: it needs at least two normal images, and there is one.")
            return
        backbone = fold_batch_norm(normality.backbone)

        def features_of(images: Tensor) -> Features:
            return backbone(self.normalise(images.to(self.device)))

        found = describe(self.images, features_of, generator, self.show_progress)
        if normality.places is not None and normality.details is not None:
            image = self.images[found.few[:1]]
            size = (image.shape[-2], image.shape[-1])
            looks = offsets(backbone.network, size, found.normal.fine.device)
            for measure, name in ((normality.details, "finest"), (normality.places, "fine")):
                measure.fit(*found.of(name))
                measure.align(size, normality.backbone.mean_offset(looks, name))
        if normality.whole is not None:
            normality.whole.fit(*found.of("coarse"))
        if normality.composition is not None:
            features, _, _, posed = found.of("fine")
            changed = torch.stack([kind.fine for kind in found.changed])
            normality.composition.fit(features, changed, features[found.few], posed)
        share_buffers(normality)
