"""A Gaussian of features at each place, and examples that distances are measured from. Not in the paper."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

SHRINKAGE = 0.1  # added to variances, which are about 1


class Gaussian(NamedTuple):
    """What is normal at each place."""

    mean: Tensor  # (C, H, W)
    whitening: Tensor  # (H W, C, C)
    examples: Tensor  # (H W, N, C), whitened

    @classmethod
    def fit(
        cls, features: Tensor, scale: Tensor, number: int, meaningless: Tensor | None = None, correction: int = 1
    ) -> "Gaussian":
        """Learn from examples.

        Args:
            features: Those of normal images, of shape (B, C, H, W).
            scale: By how much their channels vary, of shape (C,).
            number: How many examples are kept at each place.
            meaningless: How features vary by changes that mean nothing, from :func:`covariance_of_changes`; not at all
                if left out. It is added to the covariance of normal images: those that resemble each other vary so
                little in some directions that whitening would make much of it.
            correction: What the covariance divides by less than B.

        Returns:
            What is normal.
        """
        mean = features.mean(dim=0)
        deviations = _in_places(features - mean, scale)
        covariance = deviations @ deviations.transpose(1, 2) / max(len(features) - correction, 1)
        if meaningless is not None:
            covariance += meaningless
        identity = torch.eye(features.shape[1], device=features.device, dtype=features.dtype)
        triangle = torch.linalg.cholesky(covariance + SHRINKAGE * identity)
        whitening = torch.linalg.solve_triangular(triangle, identity.expand_as(triangle), upper=False)
        return cls(mean, whitening / scale, _most_different((whitening @ deviations).transpose(1, 2), number))

    @classmethod
    def of_rows(cls, rows: Iterable["Gaussian"]) -> "Gaussian":
        """Put together what is normal in each row of cells."""
        mean, whitening, examples = zip(*rows, strict=True)
        return cls(torch.cat(mean, dim=1), torch.cat(whitening), torch.cat(examples))

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
        # maximum is multiplied by -2, and not itself, which OpenVINO would round, see deployment.openvino.
        lengths = torch.linalg.vector_norm(self.examples, dim=2, keepdim=True).square()  # (H W, N, 1)
        nearest = (self.examples @ whitened - lengths / 2).amax(dim=1)  # (H W, B): half of |w|^2 - |w - e|^2
        squares = (whitened.square().sum(dim=1) + nearest * -2.0).clamp(min=0) / features.shape[1]
        return squares.sqrt().transpose(0, 1).unflatten(1, (1, *self.mean.shape[-2:]))

    def log_likelihoods(self, features: Tensor) -> Tensor:
        """Tell how likely images are, by the mean and the covariance alone.

        Args:
            features: Features of shape (B, C, H, W).

        Returns:
            Mean of their cells' log likelihoods, but for a constant, of shape (B,).
        """
        whitened = self.whitening @ (features - self.mean).flatten(2).permute(2, 1, 0)  # (H W, C, B)
        determinants = self.whitening.diagonal(dim1=1, dim2=2).log().sum(dim=1)  # of triangles
        return (determinants[:, None] - whitened.square().sum(dim=1) / 2).mean(dim=0)


def covariance_of_changes(changes: Tensor, scale: Tensor, kinds: int) -> Tensor:
    """Learn how features vary by changes of several kinds, which may come together.

    Args:
        changes: By how much features changed, of shape (kinds * B, C, H, W).
        scale: By how much the features of normal images vary, of shape (C,).
        kinds: How many kinds of change there are.

    Returns:
        The sum of the kinds' second moments, of shape (H W, C, C).
    """
    changes = _in_places(changes, scale)
    return changes @ changes.transpose(1, 2) * (kinds / changes.shape[2])


def _in_places(deviations: Tensor, scale: Tensor) -> Tensor:
    """Standardised deviations (B, C, H, W), place by place: (H W, C, B)."""
    return (deviations / scale[:, None, None]).flatten(2).permute(2, 1, 0)


def _most_different(points: Tensor, number: int) -> Tensor:
    """At most ``number`` of ``points`` (P, B, C) for each P: the most usual, then always the farthest of the rest."""
    if number >= points.shape[1]:
        return points
    place = torch.arange(len(points), device=points.device)
    lengths = points.square().sum(dim=2)
    indices = [lengths.argmin(dim=1)]
    nearest = points.new_full(points.shape[:2], float("inf"))
    while len(indices) < number:
        last = indices[-1]
        products = (points @ points[place, last][:, :, None])[:, :, 0]  # many times faster than torch.cdist here
        nearest = torch.minimum(nearest, lengths + lengths[place, last][:, None] - 2 * products)
        indices.append(nearest.argmax(dim=1))
    return points[place[:, None], torch.stack(indices, dim=1)]
