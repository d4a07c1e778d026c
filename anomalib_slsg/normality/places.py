"""The measures *places* and *whole*: how far features are from normal ones at the same place. Not in the paper."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from anomalib_slsg.normality.folds import MOST_FOLDS, cross_fold_scores
from anomalib_slsg.normality.gaussian import Gaussian, covariance_of_changes
from anomalib_slsg.normality.measure import Measure, at_least
from anomalib_slsg.normality.poses import Posed, in_all_poses

EXAMPLES = 64  # normal features that are kept at each place
LEAST_SPREAD = 0.02  # of normal distances, where all images are the same
LEAST_CHANGE = 0.1  # of the size of changes that mean nothing: no channel counts as varying less
UNUSUAL_SHARE = 0.01  # of an image's cells that decide how unusual it is


class PlaceByPlace(Measure):
    """Distance of features from normal ones at the same place.

    A covariance says how much they vary at each place, as in PaDiM (Defard et al. 2021). The distance, Mahalanobis'
    with that covariance, is the one from the nearest of many examples of normal features, as in PatchCore (Roth et al.
    2022), but of the same place: where a product comes in several kinds, what lies between two kinds is not normal.
    """

    dynamic_buffers: ClassVar[tuple[str, ...]] = ("mean", "whitening", "examples", "held_out")
    mean: Tensor  # (C, H, W)
    whitening: Tensor  # (H W, C, C)
    examples: Tensor  # (H W, N, C), whitened

    @torch.no_grad()
    def fit(self, features: Tensor, changes: Tensor | None = None, kinds: int = 1, posed: Posed | None = None) -> None:
        """Learn what is normal.

        Args:
            features: Those of two normal images or more, of shape (B, C, H, W).
            changes: By how much changes that mean nothing change features, of shape (kinds * B', C, H, W); not at all
                if left out.
            kinds: How many kinds of change there are.
            posed: Those in further poses that are normal; none if left out.
        """
        scale = at_least(features.std(dim=(0, 2, 3)))
        if changes is not None:  # images that are all the same vary by these alone
            scale = torch.maximum(scale, LEAST_CHANGE * changes.square().mean(dim=(0, 2, 3)).sqrt())
        # a row of cells at a time: all at once, features would be there several times
        rows = range(features.shape[2])
        meaningless = [
            None if changes is None else covariance_of_changes(changes[:, :, [row]], scale, kinds) for row in rows
        ]

        def learn(rest: Tensor | None) -> Gaussian:
            every = (in_all_poses(*_row(features, posed, row), rest) for row in rows)
            return Gaussian.of_rows(
                Gaussian.fit(normal, scale, EXAMPLES, least) for normal, least in zip(every, meaningless, strict=True)
            )

        def judge(rest: Tensor) -> Callable[[Tensor], Tensor]:
            normal = learn(rest)
            return normal.distances

        (self.held_out,) = cross_fold_scores(min(MOST_FOLDS, len(features)), judge, features)
        self.mean, self.whitening, self.examples = learn(None)
        self.calibrate(image_distances(self.held_out), LEAST_SPREAD)

    def distances(self, features: Tensor) -> Tensor:
        """Measure how far features (B, C, H, W) are from normal ones: (B, 1, H, W)."""
        return Gaussian(self.mean, self.whitening, self.examples).distances(features)

    def of_images(self, unusual: Tensor) -> Tensor:
        """Turn distances (B, 1, H, W) into log odds (B,), see :func:`image_distances`."""
        return self.log_odds(image_distances(unusual))


def _row(features: Tensor, posed: Posed | None, row: int) -> tuple[Tensor, Posed | None]:
    """One row of cells of features (B, C, H, W): (B, C, 1, W)."""
    return features[:, :, [row]], posed and Posed(posed.features[:, :, [row]], posed.image)


class Whole(PlaceByPlace):
    """How unusual the larger regions of an image are: which parts there are, and roughly where.

    A missing part, or a wrong one, looks normal in each of its details. Features of stride 32 see how details belong
    together.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Tell how likely images are anomalous.

        Args:
            features: Coarse features of shape (B, C, H, W).

        Returns:
            Log odds of shape (B,).
        """
        return self.of_images(self.distances(features))


class Places(PlaceByPlace):
    """How unusual each place of an image is."""

    dynamic_buffers: ClassVar[tuple[str, ...]] = (*PlaceByPlace.dynamic_buffers, "rows", "columns")
    # products with these enlarge from cells to pixels
    rows: Tensor  # (height, H)
    columns: Tensor  # (width, W)

    @torch.no_grad()
    def align(self, size: tuple[int, int], offset: Tensor) -> None:
        """Learn where cells look.

        Args:
            size: Height and width of the images in pixels.
            offset: How far cells look past their places, down and to the right, in pixels, of shape (2,).
        """
        self.rows, self.columns = (
            _enlarging(cells, pixels, past)
            for cells, pixels, past in zip(self.mean.shape[-2:], size, offset.to(self.mean), strict=True)
        )

    def forward(self, features: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Tell how likely images and their pixels are anomalous.

        Args:
            features: Fine features of shape (B, C, H, W).
            size: Height and width of the map.

        Returns:
            Log odds of shape (B,), and of shape (B, 1, height, width).
        """
        distances = self.distances(features)
        pixels = self.of_pixels(distances)
        if pixels.shape[-2:] != size:  # resizing to the size that it has takes a runtime as long as to another one
            pixels = interpolate(pixels, size, mode="bilinear", align_corners=False)
        return self.of_images(distances), pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that were fitted to."""
        return len(self.rows), len(self.columns)

    def of_pixels(self, distances: Tensor) -> Tensor:
        """Turn distances (B, 1, H, W) into log odds of pixels, at the size of the images that were fitted to."""
        return self.rows @ self.log_odds(distances) @ self.columns.T


def image_distances(distances: Tensor) -> Tensor:
    """Mean of each image's largest distances.

    Args:
        distances: Those of its cells, of shape (B, 1, H, W).

    Returns:
        Means of shape (B,).
    """
    cells = distances.flatten(1)
    number = max(1, int(UNUSUAL_SHARE * cells.shape[1] + 0.5))  # which torch.jit.trace takes, too, unlike round
    return cells.topk(number, dim=1).values.mean(dim=1)


def _enlarging(cells: int, pixels: int, offset: Tensor) -> Tensor:
    """Bilinear interpolation from cells that look ``offset`` pixels past their places, of shape (pixels, cells)."""
    places = torch.arange(pixels, device=offset.device) + 0.5 - offset
    places = (places * (cells / pixels) - 0.5).clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells, device=offset.device)).abs()).clamp(min=0)
