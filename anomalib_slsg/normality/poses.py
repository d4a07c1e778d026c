"""Poses that objects are photographed in. Held-out normal images tell which of them are normal. Not in the paper."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_slsg.normality.folds import MOST_FOLDS, cross_fold_scores
from anomalib_slsg.normality.gaussian import Gaussian
from anomalib_slsg.simulation.perlin import rotate

TURNS = 8  # of an image, where objects lie at any angle
FEWEST_IMAGES = 10  # that tell which poses are normal
CONFIDENCE = 2.0  # standard errors by which a pose has to gain
LIKENESS = 1.0  # standard deviations of normal images' likelihood by which posed ones may be less likely

Variation = Callable[[Tensor, torch.Generator], Iterator[Tensor]]


class Posed(NamedTuple):
    """Features of normal images in further poses.

    Attributes:
        features: Of shape (P, ...).
        image: Index of the normal image that each was made of, of shape (P,).
    """

    features: Tensor
    image: Tensor


def in_all_poses(normal: Tensor, posed: Posed | None, images: Tensor | None = None) -> Tensor:
    """Features of normal images as they are and in further poses.

    Args:
        normal: As they are, of shape (B, ...).
        posed: In further poses, if there are any.
        images: Which images are meant, true or false, of shape (B,); all if left out.

    Returns:
        All features of these images, of shape (B', ...).
    """
    if images is not None:
        normal, posed = normal[images], posed and Posed(posed.features[images[posed.image]], posed.image)
    return normal if posed is None else torch.cat([normal, posed.features])


def mirrored(images: Tensor, _generator: torch.Generator) -> Iterator[Tensor]:
    """Mirror images left to right, top to bottom, and both.

    Args:
        images: Images of shape (B, 3, H, W).

    Yields:
        Three times the images.
    """
    yield images.flip(3)
    yield images.flip(2)
    yield images.flip(2, 3)


def turned(images: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Turn images by quarters, which blurs nothing, and then each by angles of its own.

    Args:
        images: Images of shape (B, 3, H, W).
        generator: CPU generator.

    Yields:
        ``TURNS`` times the images.
    """
    for quarters in range(1, 4):
        yield rotate(images, torch.full((len(images),), 90.0 * quarters))
    for _ in range(TURNS - 3):
        yield rotate(images, 360 * torch.rand(len(images), generator=generator))


POSES: dict[str, Variation] = {"mirrored": mirrored, "turned": turned}
TIMES = {"mirrored": 3, "turned": TURNS}


def normal_pose(features: Tensor, tried: dict[str, Posed], scale: Tensor) -> str | None:
    """Find the poses that are as normal as the training images' own.

    Normal images that are held out are as likely in these poses as they are, and likelier where the others were fitted
    to in these poses, too. Where objects are never photographed in them, they are far less likely. That the fit gains
    is not enough: a few images gain by any more of them, since most places show what looks the same in all poses.

    Args:
        features: Those of normal images, of shape (B, C, H, W).
        tried: For each name, features of these images in some of the poses.
        scale: By how much the channels of normal images vary, of shape (C,).

    Returns:
        The name that gains most, if it does so with confidence.
    """
    if len(features) < FEWEST_IMAGES:
        return None

    def likelihoods(fitted: Posed | None, *groups: Tensor) -> list[Tensor]:
        def learn(rest: Tensor) -> Callable[[Tensor], Tensor]:
            return Gaussian.fit(in_all_poses(features, fitted, rest), scale, number=1).log_likelihoods

        return cross_fold_scores(MOST_FOLDS, learn, *groups)

    plain, *as_posed = likelihoods(None, features, *(posed.features for posed in tried.values()))
    least = plain.mean() - LIKENESS * plain.std()
    best, most = None, 0.0
    for (name, posed), found in zip(tried.items(), as_posed, strict=True):
        if found.mean() < least:
            continue
        gain = likelihoods(posed, features)[0] - plain
        mean = gain.mean().item()
        if mean > max(most, CONFIDENCE * gain.std().item() / len(gain) ** 0.5):
            best, most = name, mean
    return best
