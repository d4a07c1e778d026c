"""The measure *composition*: how unusual it is what an image is made of, wherever it lies. Not in the paper."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_slsg.normality.folds import BLOCKS, cross_fold_scores
from anomalib_slsg.normality.gaussian import Gaussian, covariance_of_changes
from anomalib_slsg.normality.measure import Measure, at_least
from anomalib_slsg.normality.poses import Posed, in_all_poses

WORDS = 512  # kinds of feature that are told apart, at the most
CELLS_OF_A_WORD = 20  # at the least, on average: what is rare in normal images is no kind of its own
EXAMINED_CELLS = 20_000  # that words are learnt from; more of them take time and change nothing
ROUNDS = 10  # of Lloyd's algorithm, after which words hardly move
IMAGES_AT_A_TIME = 16
LEAST_CELLS = 0.1  # smallest standard deviation of the number of cells that show a word; 0.05 to 1 is common
LEAST_SPREAD = 0.05  # of normal distances, half of what was seen on real data


class Composition(Measure):
    """How unusual an image's composition is.

    An extra part, or one that does not match the others, looks normal by itself and lies where parts may lie (section
    4.9 names such rules as a limit). But it changes how large a share of the image each kind of feature takes. Each
    cell of features is assigned softly to words, the centres that k-means finds in normal images. The mean of the
    assignments is the image's composition. As in :class:`~anomalib_slsg.normality.places.Places`,
    the distance is Mahalanobis' one from the nearest normal example. Sets of features were described by histograms
    for logical anomalies before (SINBAD, Cohen et al. 2023).
    """

    dynamic_buffers = ("words", "mean", "scale", "temperature", "usual", "whitening", "examples", "held_out")
    words: Tensor  # (K, C), standardised
    mean: Tensor  # (C,)
    scale: Tensor  # (C,)
    temperature: Tensor  # (1,): mean squared distance of cells from their word
    usual: Tensor  # (K,)
    whitening: Tensor  # (K, K)
    examples: Tensor  # (N, K), whitened

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        changed: Tensor | None = None,
        unchanged: Tensor | None = None,
        posed: Posed | None = None,
    ) -> None:
        """Learn what is normal.

        Args:
            features: Those of two normal images or more, of shape (B, C, H, W).
            changed: Features of images after changes that mean nothing, of shape (kinds, B', C, H, W); none if left
                out.
            unchanged: Those of the same images before, of shape (B', C, H, W).
            posed: Those in further poses that are normal; none if left out.
        """
        words = _Words.learn(features, *([] if posed is None else [posed.features]))
        shares = words.shares_in_parts(features)
        further = posed and Posed(words.shares_in_parts(posed.features), posed.image)
        normal_shares = in_all_poses(shares, further)
        variance, changes, kinds = normal_shares.var(dim=0, correction=0), None, 1
        if changed is not None and unchanged is not None:
            before = words.shares_in_parts(unchanged)
            changes = torch.cat([words.shares_in_parts(kind) - before for kind in changed])
            kinds = len(changed)
            variance = variance + kinds * changes.square().mean(dim=0)
        scale = variance.sqrt().clamp(min=LEAST_CELLS / (features.shape[2] * features.shape[3]))
        meaningless = None if changes is None else covariance_of_changes(changes[:, :, None, None], scale, kinds)

        def learn(rest: Tensor) -> Callable[[Tensor], Tensor]:
            return partial(_distances, _learn(in_all_poses(shares, further, rest), scale, meaningless))

        (self.held_out,) = cross_fold_scores(min(BLOCKS, len(shares)), learn, shares)
        self.words, self.mean, self.scale, self.temperature = words
        normal = _learn(normal_shares, scale, meaningless)
        self.usual, self.whitening, self.examples = normal.mean[:, 0, 0], normal.whitening[0], normal.examples[0]
        self.calibrate(self.held_out, LEAST_SPREAD)

    def forward(self, features: Tensor) -> Tensor:
        """Tell how likely images are anomalous.

        Args:
            features: Fine features of shape (B, C, H, W).

        Returns:
            Log odds of shape (B,).
        """
        shares = _Words(self.words, self.mean, self.scale, self.temperature).shares(features)
        normal = Gaussian(self.usual[:, None, None], self.whitening[None], self.examples[None])
        return self.log_odds(_distances(normal, shares))


class _Words(NamedTuple):
    """Kinds of feature."""

    words: Tensor  # (K, C), standardised
    mean: Tensor  # (C,)
    scale: Tensor  # (C,)
    temperature: Tensor  # (1,)

    @classmethod
    def learn(cls, *features: Tensor) -> "_Words":
        """Find the centres of the cells of features (B, C, H, W), which are drawn from all of them."""
        generator = torch.Generator().manual_seed(0)  # always the same ones, as the chosen channels
        counts = [len(each) * each.shape[2] * each.shape[3] for each in features]
        drawn = torch.randperm(sum(counts), generator=generator)[:EXAMINED_CELLS].to(features[0].device)
        cells = features[0].new_empty(len(drawn), features[0].shape[1])
        for each, count, end in zip(features, counts, accumulate(counts), strict=True):
            inside = (drawn >= end - count) & (drawn < end)
            image, row, column = torch.unravel_index(drawn[inside] - (end - count), (len(each), *each.shape[2:]))
            cells[inside] = each[image, :, row, column]
        mean, scale = cells.mean(dim=0), at_least(cells.std(dim=0))
        cells = (cells - mean) / scale
        words = cells[: min(WORDS, max(1, len(cells) // CELLS_OF_A_WORD))]
        for _ in range(ROUNDS):
            nearest = torch.cdist(cells, words).argmin(dim=1, keepdim=True)
            nearest = (nearest == torch.arange(len(words), device=cells.device)).to(cells.dtype)
            number = nearest.sum(dim=0)[:, None]
            words = torch.where(number > 0, nearest.T @ cells / number.clamp(min=1), words)
        temperature = torch.cdist(cells, words).amin(dim=1).square().mean().clamp(min=torch.finfo(cells.dtype).eps)
        return cls(words, mean, scale, temperature.reshape(1))

    def shares(self, features: Tensor) -> Tensor:
        """Share of each word in images (B, C, H, W): (B, K)."""
        cells = (features.flatten(2) - self.mean[:, None]) / self.scale[:, None]  # (B, C, H W)
        # half of -|c - w|^2, less -|c|^2, which all words have in common
        closeness = self.words @ cells - self.words.square().sum(dim=1, keepdim=True) / 2  # (B, K, H W)
        # OpenVINO rounds what enters a softmax, to little effect if the largest is 0, and would round a subtraction
        # (see deployment.openvino)
        largest = closeness.amax(dim=1, keepdim=True)
        logits = closeness * (2 / self.temperature) + largest * (-2 / self.temperature)
        return torch.softmax(logits, dim=1).mean(dim=2)

    def shares_in_parts(self, features: Tensor) -> Tensor:
        """The same of any number of images: all at once they would take gigabytes."""
        return torch.cat([self.shares(part) for part in features.split(IMAGES_AT_A_TIME)])


def _learn(shares: Tensor, scale: Tensor, meaningless: Tensor | None) -> Gaussian:
    """Which compositions (B, K) are normal, each an image of a single place."""
    return Gaussian.fit(shares[:, :, None, None], scale, len(shares), meaningless, correction=0)


def _distances(normal: Gaussian, shares: Tensor) -> Tensor:
    """How far compositions (B, K) are from a normal one: (B,)."""
    # OpenVINO would round at the new operation that it makes of an index by None, see deployment.openvino
    return normal.distances(shares.reshape(*shares.shape, 1, 1)).flatten()
