"""How far features are from those of normal images at the same place. Not in the paper."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from anomalib_slsg.normality.folds import MOST_FOLDS, by_other_folds, judging_folds
from anomalib_slsg.normality.gaussian import Normal
from anomalib_slsg.normality.measure import STEEPNESS, FeatureStatistics, at_least, image_auroc

EXAMPLES = 64  # normal features that are kept at each place
LEAST_SPREAD = 0.02  # of normal distances, where all images are the same
UNUSUAL_SHARE = 0.01  # of an image's cells that decide how unusual it is
# An image as far above the median of normal ones as this many times their ninth decile is as likely anomalous as not.
TOLERANCE = 2.0


class FeatureDistance(FeatureStatistics):
    """Turns the distance of features at strides 8 and 16 from normal ones into the log odds that they are anomalous.

    A decoder taught by simulated anomalies knows nothing of anomalies that resemble none of them, such as an empty
    bottle. The features of the frozen encoder do. A covariance says how much they vary at each place, as in PaDiM
    (Defard et al. 2021). The distance, Mahalanobis' with that covariance, is the one from the nearest of many examples
    of normal features, as in PatchCore (Roth et al. 2022), but of the same place: where a product comes in several
    kinds, what lies between two kinds is not normal. The encoder is the one that GPT-Net has trained, and the scale
    SegNet's own, which :func:`add_evidence` needs.

    Args:
        channels: Channels of the encoder's maps at strides 8 and 16.
    """

    # With 0.68 to 0.75, on images each turned by another angle, the distance spoilt SegNet's scores; with 0.82 to 0.85,
    # on others of that kind, it helped, as on all data whose images are aligned, with 0.79 to 1.00.
    least_separation = 0.77
    option = "feature_distance"
    of_any_shape = ("mean", "whitening", "examples", "rows", "columns")
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
            features: Those of normal images, from :meth:`gather`.
            rounding: By how much rounding changes them, of the same shape; not at all if left out.
            size: Height and width of the images in pixels; that of the grid if left out.
            offsets: How far the cells of both maps look past their places, of shape (2, 2), from
                :func:`~anomalib_slsg.normality.receptive_field.offsets`; not at all if left out.

        Raises:
            ValueError: If there are fewer than two images.
        """
        self._check_number(features)
        rounded = features if rounding is None else features + rounding
        (unusual,) = _by_other_folds(min(MOST_FOLDS, len(features)), features, rounding, rounded)
        self.mean, self.whitening, self.examples = Normal.fit(features, _scale(features), EXAMPLES, rounding)
        shares = torch.stack([self.selected < self.fine_channels, self.selected >= self.fine_channels]).to(features)
        offset = shares.mean(dim=1) @ (features.new_zeros(2, 2) if offsets is None else offsets.to(features))
        cells = features.shape[-2:]
        self.rows, self.columns = (
            _enlarging(number, pixels, past) for number, pixels, past in zip(cells, size or cells, offset, strict=True)
        )
        self._calibrate(unusual, LEAST_SPREAD)

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
        return image_auroc(*_by_other_folds(judging_folds(len(normal)), normal, None, normal, anomalous))

    def forward(self, pyramid: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Tell how likely each pixel is anomalous.

        Args:
            pyramid: Feature maps; the last two are those at strides 8 and 16.
            size: Height and width of the result.

        Returns:
            Log odds of shape (B, 1, height, width).
        """
        height, width = self.mean.shape[-2:]
        normal = Normal(self.mean, self.whitening, self.examples)
        distances = normal.distances(self._select(pyramid, (height, width)))
        log_odds = STEEPNESS * ((distances - self.median) / self.spread - TOLERANCE)
        return interpolate(self.rows @ log_odds @ self.columns.T, size, mode="bilinear", align_corners=False)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load; a checkpoint from before there were examples measured from the mean, which is a single example."""
        whitening = state_dict.get(prefix + "whitening")
        if whitening is not None and prefix + "examples" not in state_dict:
            mean = whitening.new_zeros(len(whitening), 1, whitening.shape[-1]) if whitening.numel() else whitening
            state_dict = {**state_dict, prefix + "examples": mean}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _enlarging(cells: int, pixels: int, offset: Tensor) -> Tensor:
    """Bilinear interpolation from cells that look ``offset`` pixels past their places, of shape (pixels, cells)."""
    places = torch.arange(pixels, device=offset.device) + 0.5 - offset
    places = (places * (cells / pixels) - 0.5).clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells, device=offset.device)).abs()).clamp(min=0)


def _scale(features: Tensor) -> Tensor:
    """How much channels vary: (C,)."""
    return at_least(features.std(dim=(0, 2, 3)))


def _by_other_folds(folds: int, normal: Tensor, rounding: Tensor | None, *groups: Tensor) -> list[Tensor]:
    """How unusual groups of images (B, C, H, W) are to the normal ones of other folds than theirs."""
    scale = _scale(normal)

    def learn(rest: Tensor) -> Callable[[Tensor], Tensor]:
        judge = Normal.fit(normal[rest], scale, EXAMPLES, None if rounding is None else rounding[rest])
        return lambda images: _largest(judge.distances(images))

    return by_other_folds(folds, learn, *groups)


def _largest(distances: Tensor) -> Tensor:
    """Mean of each image's largest distances: (B,)."""
    cells = distances.flatten(1)
    return cells.topk(max(1, round(UNUSUAL_SHARE * cells.shape[1])), dim=1).values.mean(dim=1)


def add_evidence(decoder: Tensor, distance: Tensor, rarity: float) -> Tensor:
    """Join two opinions that rest on independent evidence: by Bayes' theorem, log likelihood ratios add up.

    What raises the decoder's log odds above those of an unknown pixel is its evidence. Its silence is no evidence
    against anomalies that it was not taught: however small, its log odds count as those of an unknown pixel. Its
    false alarms are outweighed where features are very normal.

    Args:
        decoder: Log odds of SegNet's decoder, of shape (B, 1, H, W).
        distance: Log odds of :class:`FeatureDistance`, of the same shape.
        rarity: Log odds that an unknown pixel is anomalous.

    Returns:
        Log odds of the same shape.
    """
    return decoder.clamp(min=rarity) - rarity + distance
