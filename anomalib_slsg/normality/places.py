"""The measure *places*: how far features are from those of normal images at the same place. Not in the paper."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from anomalib_slsg.normality.folds import MOST_FOLDS, cross_fold_scores, judging_folds
from anomalib_slsg.normality.gaussian import Gaussian
from anomalib_slsg.normality.measure import STEEPNESS, Measure, at_least
from anomalib_slsg.utils.auroc import area_under_roc

EXAMPLES = 64  # normal features that are kept at each place
LEAST_SPREAD = 0.02  # of normal distances, where all images are the same
UNUSUAL_SHARE = 0.01  # of an image's cells that decide how unusual it is
# An image as far above the median of normal ones as this many times their ninth decile is as likely anomalous as not.
TOLERANCE = 2.0


class Places(Measure):
    """Turns the distance of features at strides 8 and 16 from normal ones into the log odds that they are anomalous.

    A decoder taught by simulated anomalies knows nothing of anomalies that resemble none of them, such as an empty
    bottle. The features of the frozen encoder do. A covariance says how much they vary at each place, as in PaDiM
    (Defard et al. 2021). The distance, Mahalanobis' with that covariance, is the one from the nearest of many examples
    of normal features, as in PatchCore (Roth et al. 2022), but of the same place: where a product comes in several
    kinds, what lies between two kinds is not normal. The encoder is the one that GPT-Net has trained.

    Args:
        channels: Channels of the encoder's maps at strides 8 and 16.
    """

    # On images that are each turned by another angle, the measure lowered SegNet's scores where this AUROC was 0.68 to
    # 0.75 and raised them where it was 0.82 to 0.85; on aligned images it was 0.79 to 1.00 and always raised them.
    least_separation = 0.77
    name = "places"
    dynamic_buffers = ("mean", "whitening", "examples", "rows", "columns")
    mean: Tensor  # (C, H, W)
    whitening: Tensor  # (H W, C, C)
    examples: Tensor  # (H W, N, C), whitened
    # products with these enlarge from cells to pixels
    rows: Tensor  # (height, H)
    columns: Tensor  # (width, W)

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.fine_channels = channels[0]

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        rounding: Tensor | None = None,
        size: tuple[int, int] | None = None,
        offsets: Tensor | None = None,
    ) -> None:
        """Learn what is normal.

        Args:
            features: Those of two normal images or more, from :meth:`gather`.
            rounding: By how much rounding changes them, of the same shape; not at all if left out.
            size: Height and width of the images in pixels; that of the grid if left out.
            offsets: How far the cells of both maps look past their places, of shape (2, 2), from
                :func:`~anomalib_slsg.normality.receptive_field.offsets`; not at all if left out.
        """
        rounded = features if rounding is None else features + rounding
        (unusual,) = _cross_fold_scores(min(MOST_FOLDS, len(features)), features, rounding, rounded)
        self.mean, self.whitening, self.examples = Gaussian.fit(features, _scale(features), EXAMPLES, rounding)
        shares = torch.stack([self.selected < self.fine_channels, self.selected >= self.fine_channels]).to(features)
        offset = shares.mean(dim=1) @ (features.new_zeros(2, 2) if offsets is None else offsets.to(features))
        cells = features.shape[-2:]
        self.rows, self.columns = (
            _enlarging(number, pixels, past) for number, pixels, past in zip(cells, size or cells, offset, strict=True)
        )
        self.calibrate(unusual, LEAST_SPREAD)

    @torch.no_grad()
    def separation(self, normal: Tensor, anomalous: Tensor) -> float:
        """Measure how well the distance would tell simulated anomalies from normal images that it was not fitted to.

        Where parts lie at another angle or place in each image, features at the same place tell little. Rounding plays
        no part: ``least_separation`` was found without it.

        Args:
            normal: Features of two normal images or more, from :meth:`gather`.
            anomalous: Those of the same images with simulated anomalies, in the same order, once or several times.

        Returns:
            Area under the ROC curve of the images.
        """
        scores = _cross_fold_scores(judging_folds(len(normal)), normal, None, normal, anomalous)
        return area_under_roc(*scores).item()

    def forward(self, pyramid: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Tell how likely each pixel is anomalous.

        Args:
            pyramid: Feature maps; the last two are those at strides 8 and 16.
            size: Height and width of the result.

        Returns:
            Log odds of shape (B, 1, height, width).
        """
        height, width = self.mean.shape[-2:]
        normal = Gaussian(self.mean, self.whitening, self.examples)
        distances = normal.distances(self.select(pyramid, (height, width)))
        log_odds = STEEPNESS * ((distances - self.median) / self.spread - TOLERANCE)
        return interpolate(self.rows @ log_odds @ self.columns.T, size, mode="bilinear", align_corners=False)


def _enlarging(cells: int, pixels: int, offset: Tensor) -> Tensor:
    """Bilinear interpolation from cells that look ``offset`` pixels past their places, of shape (pixels, cells)."""
    places = torch.arange(pixels, device=offset.device) + 0.5 - offset
    places = (places * (cells / pixels) - 0.5).clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells, device=offset.device)).abs()).clamp(min=0)


def _scale(features: Tensor) -> Tensor:
    """How much channels vary: (C,)."""
    return at_least(features.std(dim=(0, 2, 3)))


def _cross_fold_scores(folds: int, normal: Tensor, rounding: Tensor | None, *groups: Tensor) -> list[Tensor]:
    """How unusual groups of images (B, C, H, W) are to the normal ones of other folds than theirs."""
    scale = _scale(normal)

    def learn(rest: Tensor) -> Callable[[Tensor], Tensor]:
        judge = Gaussian.fit(normal[rest], scale, EXAMPLES, None if rounding is None else rounding[rest])
        return lambda images: _largest(judge.distances(images))

    return cross_fold_scores(folds, learn, *groups)


def _largest(distances: Tensor) -> Tensor:
    """Mean of each image's largest distances: (B,)."""
    cells = distances.flatten(1)
    return cells.topk(max(1, round(UNUSUAL_SHARE * cells.shape[1])), dim=1).values.mean(dim=1)
