"""Fits the measures of normality to the training images. Not in the paper."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.normality.backbone import Features
from anomalib_slsg.normality.description import describe
from anomalib_slsg.normality.normality import Normality
from anomalib_slsg.normality.poses import Posed
from anomalib_slsg.normality.receptive_field import offsets
from anomalib_slsg.normality.small_changes import KINDS
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
    """

    images: NormalImages
    normalise: Callable[[Tensor], Tensor]
    device: torch.device
    show_progress: bool = False

    @torch.no_grad()
    def fit(self, normality: Normality, generator: torch.Generator) -> None:
        """Fit all measures.

        Args:
            normality: The measures; what they have learnt of other images is forgotten.
            generator: CPU generator of the changes and poses that count as normal.
        """
        for measure in normality.measures:
            measure.reset()
        if len(self.images) < 2:
            logger.warning("model.normality is left out: it needs at least two normal images, and there is one.")
            return
        backbone = fold_batch_norm(normality.backbone)

        def features_of(images: Tensor) -> Features:
            return backbone(self.normalise(images.to(self.device)))

        normal, few, changed, posed, image_of_posed = describe(self.images, features_of, generator, self.show_progress)
        before = Features(*(level[few] for level in normal))
        fine, coarse = (None, None) if posed is None else (Posed(level, image_of_posed) for level in posed)
        if normality.places is not None:
            normality.places.fit(normal.fine, torch.cat([kind.fine - before.fine for kind in changed]), KINDS, fine)
            image = self.images[few[:1]]
            size = (image.shape[-2], image.shape[-1])
            looks = offsets(backbone.network, size, normal.fine.device)
            share = backbone.share_of_first_stride
            normality.places.align(size, share * looks[0] + (1 - share) * looks[1])
        if normality.whole is not None:
            changes = torch.cat([kind.coarse - before.coarse for kind in changed])
            normality.whole.fit(normal.coarse, changes, KINDS, coarse)
        if normality.composition is not None:
            after = torch.stack([kind.fine for kind in changed])
            normality.composition.fit(normal.fine, after, before.fine, fine)
        share_buffers(normality)
