"""What is normal, learnt from examples. Not in the paper."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

SHRINKAGE = 0.1  # added to variances, which are about 1
BLOCKS = 10  # runs of images that are held out together
# To what is learnt from few images new ones are more unusual than to what is learnt from all, so four fifths judge the
# rest where scores are calibrated.
MOST_FOLDS = 5
ENOUGH_IMAGES = 40  # or about as many, to tell whether a measure is of use; a half where that is larger


class Normal(NamedTuple):
    """What is normal at each place."""

    mean: Tensor  # (C, H, W)
    whitening: Tensor  # (H W, C, C)
    examples: Tensor  # (H W, N, C), whitened

    @classmethod
    def fit(
        cls, features: Tensor, scale: Tensor, number: int, rounding: Tensor | None = None, correction: int = 1
    ) -> "Normal":
        """Learn from examples.

        Args:
            features: Those of normal images, of shape (B, C, H, W).
            scale: By how much their channels vary, of shape (C,).
            number: How many examples are kept at each place.
            rounding: By how much rounding changes the features, of the same shape; not at all if left out. Images that
                resemble each other vary so little in some directions that whitening would make much of it.
            correction: What the covariance divides by less than B.

        Returns:
            What is normal.
        """
        channels = features.shape[1]
        mean = features.mean(dim=0)
        deviations = _in_places(features - mean, scale)
        covariance = deviations @ deviations.transpose(1, 2) / max(len(features) - correction, 1)
        if rounding is not None:
            errors = _in_places(rounding, scale)
            covariance += errors @ errors.transpose(1, 2) / len(features)
        identity = torch.eye(channels, device=features.device, dtype=features.dtype)
        triangle = torch.linalg.cholesky(covariance + SHRINKAGE * identity)
        whitening = torch.linalg.solve_triangular(triangle, identity.expand_as(triangle), upper=False)
        return cls(mean, whitening / scale, _most_different((whitening @ deviations).transpose(1, 2), number))

    def distances(self, features: Tensor) -> Tensor:
        """Measure how far features are from the nearest example.

        Args:
            features: Features of shape (B, C, H, W).

        Returns:
            Root mean square of the whitened difference, of shape (B, 1, H, W).
        """
        deviations = (features - self.mean).flatten(2).permute(2, 1, 0)  # (H W, C, B)
        whitened = self.whitening @ deviations
        # |w - e|^2 by a product, which needs no tensor of all differences, nor another one of the examples' size. Its
        # maximum is multiplied by -2, and not itself, which OpenVINO would round, see keep_composition_unrounded.
        lengths = torch.linalg.vector_norm(self.examples, dim=2, keepdim=True).square()  # (H W, N, 1)
        nearest = (self.examples @ whitened - lengths / 2).amax(dim=1)  # (H W, B): half of |w|^2 - |w - e|^2
        squares = (whitened.square().sum(dim=1) + nearest * -2.0).clamp(min=0) / features.shape[1]
        return squares.sqrt().transpose(0, 1).unflatten(1, (1, *self.mean.shape[-2:]))


def _in_places(deviations: Tensor, scale: Tensor) -> Tensor:
    """Standardised deviations (B, C, H, W), place by place: (H W, C, B)."""
    return (deviations / scale[:, None, None]).flatten(2).permute(2, 1, 0)


def _most_different(points: Tensor, number: int) -> Tensor:
    """At most ``number`` of ``points`` (P, B, C) for each P: the most usual, then always the farthest of the rest."""
    if number >= points.shape[1]:
        return points
    place = torch.arange(len(points), device=points.device)
    chosen = [points[place, points.square().sum(dim=2).argmin(dim=1)]]
    nearest = points.new_full(points.shape[:2], float("inf"))
    while len(chosen) < number:
        nearest = torch.minimum(nearest, torch.cdist(chosen[-1][:, None], points)[:, 0])
        chosen.append(points[place, nearest.argmax(dim=1)])
    return torch.stack(chosen, dim=1)


def fold_of_each(number: int, folds: int) -> Tensor:
    """Tell which images are held out together.

    Neighbours are, since photographs of one part, or a video's frames, follow each other and are almost the same: held
    out one by one they would resemble what is learnt from more than new images do. Where there are fewer folds than
    runs, several runs far from each other make up a fold, so that it holds images of several kinds where files are
    sorted by kind.

    Args:
        number: How many images there are.
        folds: How many folds they belong to, at the most ``BLOCKS``.

    Returns:
        The fold of each image, of shape (number,).
    """
    return torch.arange(number) * min(BLOCKS, number) // number % folds


def judging_folds(number: int) -> int:
    """Choose into how many folds images are divided that are judged by what is learnt from the other folds.

    Args:
        number: How many images there are.

    Returns:
        Two, whose halves judge each other, or as many as leave enough images to learn from: half of ten photographs
        knows little of what all ten would tell. Where there are four images or more, each fold has two, so that
        anomalies can be pasted from one into the other.
    """
    enough = (folds for folds in range(2, MOST_FOLDS) if number * (folds - 1) >= ENOUGH_IMAGES * folds)
    return max(2, min(next(enough, MOST_FOLDS), number // 2))


def another_of_the_fold(number: int) -> Tensor:
    """Find another image for each, of the same one of the judging folds, and far away in it.

    Args:
        number: How many images there are.

    Returns:
        Indices of shape (number,); an image that is alone in its fold has itself.
    """
    folds, others = fold_of_each(number, judging_folds(number)), torch.arange(number)
    for fold in folds.unique():
        members = (folds == fold).nonzero()[:, 0]
        others[members] = members.roll(len(members) // 2)
    return others


def by_other_folds(folds: int, learn: Callable[[Tensor], Callable[[Tensor], Tensor]], *groups: Tensor) -> list[Tensor]:
    """Measure how unusual images are to normal ones of other folds than theirs.

    An image that was learnt from is its own example.

    Args:
        folds: How many there are.
        learn: Makes what measures how unusual images are, one number for each, of the normal ones that it is told to
            learn from: true or false for each in the order of their files, of shape (B,).
        groups: Images to be measured, in the order of the normal ones that they belong to, once or several times,
            described by tensors whose first dimension is theirs. The first group has each normal one once.

    Returns:
        How unusual the images of each group are, of shape (B,).
    """
    fold_of = fold_of_each(len(groups[0]), folds).to(groups[0].device)
    found = [each.new_empty(len(each)) for each in groups]
    for fold in range(folds):
        inside = fold_of == fold
        measure = learn(~inside)
        for each, measured in zip(groups, found, strict=True):
            members = inside.repeat(len(each) // len(inside))
            measured[members] = measure(each[members])
    return found
