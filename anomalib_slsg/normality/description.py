"""Features of training images: as they are, after small changes, and in the poses that are normal. Not in the paper."""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_slsg.data.normal_images import NormalImages, spread_evenly
from anomalib_slsg.normality.backbone import Features
from anomalib_slsg.normality.measure import at_least
from anomalib_slsg.normality.poses import POSES, TIMES, Posed, Variation, normal_pose
from anomalib_slsg.normality.small_changes import KINDS, small_changes
from anomalib_slsg.utils.progress import progress_bar

logger = logging.getLogger(__name__)

FITTED_IMAGES = 500  # more of them add memory and nothing else
CHANGED_IMAGES = 100  # of them, in each of the ways that mean nothing, and in poses that may be normal
TRIED_POSES = 3  # of each of these
POSED_IMAGES = 1000  # at the most, of poses that are normal


class Description(NamedTuple):
    """Features of training images.

    Attributes:
        normal: Those of images as they are.
        few: Indices of the images that were changed.
        changed: Features of these after each kind of small change.
        posed: Features of images in the poses that are normal; ``None`` where there are no such poses.
        image_of_posed: Index of the image that each of these was made of.
    """

    normal: Features
    few: Tensor
    changed: list[Features]
    posed: Features | None
    image_of_posed: Tensor

    def of(self, name: str) -> tuple[Tensor, Tensor, int, Posed | None]:
        """What measures that compare places are fitted to.

        Args:
            name: Which features.

        Returns:
            Those of the images, of shape (B, C, H, W); by how much small changes change them, of shape
            (kinds * B', C, H, W); how many kinds there are; those in further poses.
        """
        normal = getattr(self.normal, name)
        changes = torch.cat([getattr(kind, name) - normal[self.few] for kind in self.changed])
        posed = None if self.posed is None else Posed(getattr(self.posed, name), self.image_of_posed)
        return normal, changes, len(self.changed), posed


def describe(
    images: NormalImages,
    features_of: Callable[[Tensor], Features],
    generator: torch.Generator,
    show_progress: bool = False,
) -> Description:
    """Compute features of training images.

    Args:
        images: Two or more.
        features_of: The frozen network, for images in [0, 1] of shape (B, 3, H, W).
        generator: CPU generator of changes and poses.
        show_progress: Show a progress bar.

    Returns:
        All that the measures are fitted to.
    """
    chosen = images.spread_evenly(FITTED_IMAGES)
    few = spread_evenly(len(chosen), CHANGED_IMAGES)
    posed, image_of_posed = None, few[:0]
    with progress_bar(show_progress, transient=True) as bar:
        total = len(chosen) + (KINDS + TRIED_POSES * len(POSES)) * len(few)
        task = bar.add_task("Fitting normality", total=total)

        def varied(
            indices: Tensor, vary: Variation, number: int, levels_of: Callable[[Tensor], Sequence[Tensor]] = features_of
        ) -> list[Tensor]:
            """Levels of features of images, one variation of all of them after the other."""
            found: list[Tensor] = []
            done = 0
            for part in images.in_parts(indices):
                for place, changed in enumerate(islice(vary(part, generator), number)):
                    levels = levels_of(changed)
                    # filled and not joined in the end, when all would be there twice
                    found = found or [level.new_empty(number, len(indices), *level.shape[1:]) for level in levels]
                    for level, whole in zip(levels, found, strict=True):
                        whole[place, done : done + len(part)] = level
                    bar.advance(task, len(part))
                done += len(part)
            return [whole.flatten(0, 1) for whole in found]

        def find_pose() -> str | None:
            image = torch.arange(len(few)).repeat(TRIED_POSES)
            tried = {
                name: Posed(varied(chosen[few], pose, TRIED_POSES, lambda posed: [features_of(posed).fine])[0], image)
                for name, pose in POSES.items()
            }
            return normal_pose(normal.fine[few], tried, at_least(normal.fine.std(dim=(0, 2, 3))))

        normal = Features(*varied(chosen, _unchanged, 1))
        levels = varied(chosen[few], small_changes, KINDS)
        changed = [Features(*kind) for kind in zip(*(level.split(len(few)) for level in levels), strict=True)]
        if (name := find_pose()) is not None:
            some = spread_evenly(len(chosen), POSED_IMAGES // TIMES[name])
            bar.update(task, total=total + TIMES[name] * len(some))
            posed, image_of_posed = Features(*varied(chosen[some], POSES[name], TIMES[name])), some.repeat(TIMES[name])
            logger.info("Normality: %s images are normal, so %d of them are fitted to, too.", name, len(image_of_posed))
    return Description(normal, few, changed, posed, image_of_posed)


def _unchanged(images: Tensor, _generator: torch.Generator) -> Iterator[Tensor]:
    yield images
