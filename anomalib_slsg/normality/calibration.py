"""The threshold whose rate of false alarms is promised. Not in the paper."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from anomalib_slsg.data.training_images import images_that_keep
from anomalib_slsg.normality.measure import Learnt, log_odds, usual
from anomalib_slsg.utils.processes import share_buffers

LEAST_SPREAD = 0.5  # of SegNet's log odds of normal images, where all of them are the same
SILENT_SPREAD = 1e9  # of SegNet's log odds where a single normal image cannot tell how far they vary
LEAST_EXCESS = 1e-6  # of SegNet's log odds over even ones that counts
BINS = 20  # of the card's histogram


class Verdict(NamedTuple):
    """What is known of images before it becomes probabilities, all in log odds.

    Attributes:
        segnet: SegNet's own of each image, of shape (B,); ``None`` without SegNet.
        normality: Normality's of each image, of shape (B,); ``None`` without it.
        pixels: Of each pixel, joined, of shape (B, 1, H, W).
    """

    segnet: Tensor | None
    normality: Tensor | None
    pixels: Tensor


class Calibration(Learnt):
    """Joins opinions of images, and shifts log odds so that those of the threshold are 0.

    What it learns comes from normal images that neither SegNet nor normality was fitted to. Without them opinions are
    joined as they are, and nothing is shifted.
    """

    dynamic_buffers = ("kept_pixels", "kept_images")
    scalars: ClassVar[dict[str, float]] = {
        "segnet_median": 0.0,
        "segnet_spread": 1.0,
        "image_shift": 0.0,
        "pixel_shift": 0.0,
        "false_alarm_rate": 0.0,
    }
    kept_pixels: Tensor  # (n,): log odds of the highest pixel of each kept image, sorted
    kept_images: Tensor  # (n,): log odds of the kept images, sorted
    segnet_median: Tensor
    segnet_spread: Tensor
    image_shift: Tensor
    pixel_shift: Tensor
    false_alarm_rate: Tensor

    def join(self, verdict: Verdict) -> Tensor:
        """Join what opinions say of images: an anomaly is one for any reason, so odds add up.

        SegNet knows simulated anomalies only, so it counts where it finds more than it usually does in normal images:
        by how much its odds exceed even ones. Elsewhere it is silent, and normality's opinion stands.

        Args:
            verdict: The opinions.

        Returns:
            Log odds of shape (B,).
        """
        if verdict.segnet is None or verdict.normality is None:
            opinion = verdict.normality if verdict.segnet is None else verdict.segnet
            assert opinion is not None
            return opinion
        segnet = verdict.segnet
        if self.fitted:  # in the units that normality's opinion has
            segnet = log_odds(segnet, self.segnet_median, self.segnet_spread)
        return _with_excess(verdict.normality, segnet)

    @torch.no_grad()
    def fit(self, verdicts: Iterable[Verdict], false_alarm_rate: float) -> None:
        """Learn from kept normal images.

        Args:
            verdicts: What is known of them, batch by batch.
            false_alarm_rate: The promised rate.
        """
        self.reset()
        batches = list(verdicts)
        pixels = torch.cat([each.pixels.flatten(1).amax(dim=1) for each in batches])
        segnet = _joined([each.segnet for each in batches])
        normality = _joined([each.normality for each in batches])
        if segnet is None or normality is None:
            self.of_each = self.join(Verdict(segnet, normality, pixels))
        else:
            self.of_each = _with_excess(normality, _by_the_others(segnet))
        if segnet is not None:
            self.segnet_median, self.segnet_spread = _scale(segnet)
        self.kept_pixels = pixels.sort().values
        self.kept_images = self.of_each.sort().values
        self.false_alarm_rate.fill_(false_alarm_rate)
        index = conformal_index(len(pixels), false_alarm_rate)
        self.image_shift, self.pixel_shift = self.kept_images[index].clone(), self.kept_pixels[index].clone()
        share_buffers(self)

    def card(self) -> dict[str, Any]:
        """Tell what the promise rests on.

        Returns:
            ``images``: how many were kept; ``false_alarm_rate``: the promised one; ``supported_rate``: the lowest that
            so many images support; ``scores``: theirs, from 0 to 1, of which the threshold is 0.5; ``histogram``: how
            many of them there are in each twentieth from 0 to 1.
        """
        scores = torch.sigmoid(self.kept_images - self.image_shift)
        return {
            "images": len(scores),
            "false_alarm_rate": round(self.false_alarm_rate.item(), 6),
            "supported_rate": supported_rate(len(scores)),
            "scores": [round(score, 6) for score in scores.tolist()],
            "histogram": torch.histc(scores.float().cpu(), BINS, 0, 1).int().tolist(),
        }

    def sentence(self) -> str:
        """Say in one line what is promised."""
        number, rate = len(self.kept_images), self.false_alarm_rate.item()
        if rate >= supported_rate(number) - 1e-6:
            return f"At 0.5, {rate:.1%} of normal images or fewer are expected to raise an alarm ({number} were kept)."
        images = f"{number} kept image supports" if number == 1 else f"{number} kept images support"
        return (
            f"{images} no rate of false alarms below {supported_rate(number):.1%}, so 0.5 is the highest of their "
            f"scores; {what_a_rate_takes(rate)}."
        )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.cat(given) if given else None


def _with_excess(normality: Tensor, segnet: Tensor) -> Tensor:
    """Add to normality's odds by how much SegNet's exceed even ones; all are log odds of shape (B,)."""
    excess = segnet.clamp(min=LEAST_EXCESS).expm1().log()
    return torch.where(segnet > LEAST_EXCESS, torch.logaddexp(excess, normality), normality)


def _scale(segnet: Tensor) -> tuple[Tensor, Tensor]:
    """Median and spread of what SegNet says of kept images (B,)."""
    median, spread = usual(segnet, LEAST_SPREAD)
    return median, spread if len(segnet) > 1 else torch.full_like(spread, SILENT_SPREAD)


def _by_the_others(segnet: Tensor) -> Tensor:
    """SegNet's log odds (B,) of kept images in the spread of the others, as those of new images will be.

    In a spread that an image itself has widened it would seem more usual than a new one, and the threshold would be
    too low.
    """
    if len(segnet) == 1:
        return log_odds(segnet, *_scale(segnet))
    others = [segnet[torch.arange(len(segnet), device=segnet.device) != place] for place in range(len(segnet))]
    median, spread = zip(*(usual(each, LEAST_SPREAD) for each in others), strict=True)
    return log_odds(segnet, torch.stack(median), torch.stack(spread))


def conformal_index(number: int, rate: float) -> int:
    """Find the score that a new image exceeds at no more than the promised rate.

    Of ``number + 1`` images that are alike in all but their order, the new one is among the highest ones no more often
    than any other.

    Args:
        number: How many normal scores there are, at least one.
        rate: The promised rate, in (0, 1).

    Returns:
        Index of the threshold among the ascending scores; that of the highest where so few support no such rate.
    """
    return min(number, math.ceil((1 - rate) * (number + 1) - 1e-9)) - 1


def what_a_rate_takes(rate: float) -> str:
    """Say how many training images a rate of false alarms takes, in (0, 1)."""
    kept = math.ceil(round(1 / rate, 3)) - 1  # the fewest whose lowest rate is no higher
    return f"{rate:.1%} takes {images_that_keep(kept)} training images"


def supported_rate(number: int) -> float:
    """Tell the lowest rate of false alarms that so many normal scores support."""
    return 1 / (number + 1)
