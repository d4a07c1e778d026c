"""Fits the measures of normality to the training images. Not in the paper."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.normality.backbone import Features
from anomalib_slsg.normality.normality import Normality
from anomalib_slsg.normality.receptive_field import offsets
from anomalib_slsg.normality.small_changes import KINDS, small_changes
from anomalib_slsg.utils.processes import share_buffers
from anomalib_slsg.utils.progress import progress_bar

logger = logging.getLogger(__name__)

FITTED_IMAGES = 500  # more of them add memory and nothing else
CHANGED_IMAGES = 100  # of them, in each of the ways that mean nothing


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
            generator: CPU generator of the changes that count as normal.
        """
        for measure in normality.measures:
            measure.reset()
        if len(self.images) < 2:
            logger.warning("model.normality is left out: it needs at least two normal images, and there is one.")
            return
        backbone = fold_batch_norm(normality.backbone)
        chosen = self.images.spread_evenly(FITTED_IMAGES)
        few = torch.linspace(0, len(chosen) - 1, min(CHANGED_IMAGES, len(chosen))).round().long()
        parts: list[Features] = []
        changed: list[list[Features]] = [[] for _ in range(KINDS)]
        with progress_bar(self.show_progress, transient=True) as bar:
            task = bar.add_task("Fitting normality", total=len(chosen) + KINDS * len(few))
            for images in self.images.in_parts(chosen):
                parts.append(backbone(self._prepared(images)))
                bar.advance(task, len(images))
            for images in self.images.in_parts(chosen[few]):
                for kind, others in zip(changed, small_changes(images, generator), strict=True):
                    kind.append(backbone(self._prepared(others)))
                bar.advance(task, KINDS * len(images))
        normal, after = _joined(parts), [_joined(kind) for kind in changed]
        before = Features(*(level[few] for level in normal))
        if normality.places is not None:
            normality.places.fit(normal.fine, torch.cat([kind.fine - before.fine for kind in after]), KINDS)
            size = (images.shape[-2], images.shape[-1])
            looks = offsets(backbone.network, size, normal.fine.device)
            share = backbone.share_of_first_stride
            normality.places.align(size, share * looks[0] + (1 - share) * looks[1])
        if normality.whole is not None:
            normality.whole.fit(normal.coarse, torch.cat([kind.coarse - before.coarse for kind in after]), KINDS)
        if normality.composition is not None:
            normality.composition.fit(normal.fine, torch.stack([kind.fine for kind in after]), before.fine)
        share_buffers(normality)

    def _prepared(self, images: Tensor) -> Tensor:
        return self.normalise(images.to(self.device))


def _joined(parts: list[Features]) -> Features:
    return Features(*(torch.cat(level) for level in zip(*parts, strict=True)))
