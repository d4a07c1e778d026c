"""The threshold whose rate of false alarms is promised. Not in the paper."""

import math
from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any, ClassVar

import torch
from torch import Tensor

from anomalib_slsg.data.training_images import number_kept
from anomalib_slsg.normality.description import FITTED_IMAGES
from anomalib_slsg.normality.joining import Verdict, concatenate
from anomalib_slsg.normality.measure import Learnt, log_odds, usual
from anomalib_slsg.normality.normality import HeldOut
from anomalib_slsg.utils.processes import share_buffers

LEAST_SPREAD = 0.5  # of SegNet's log odds of normal images, where all of them are the same
SILENT_SPREAD = 1e9  # of SegNet's log odds where a single normal image cannot tell how far they vary
BINS = 20  # of the card's histogram
IMAGES_AT_A_TIME = 16


class Calibration(Learnt):
    """Scales SegNet's opinion by what is usual, and shifts log odds so that those of the threshold are 0.

    What it learns comes from normal images that the opinions were not fitted to. Without them opinions are joined as
    they are, and nothing is shifted.
    """

    dynamic_buffers = ("images", "pixels")
    scalars: ClassVar[dict[str, float]] = {
        "segnet_median": 0.0,
        "segnet_spread": 1.0,
        "image_shift": 0.0,
        "pixel_shift": 0.0,
        "false_alarm_rate": 0.0,
        "kept": 0.0,
    }
    images: Tensor  # (n,): log odds of normal images; the last ones were kept from training
    pixels: Tensor  # (n,): of the highest pixel of each
    segnet_median: Tensor
    segnet_spread: Tensor
    image_shift: Tensor
    pixel_shift: Tensor
    false_alarm_rate: Tensor
    kept: Tensor  # how many were kept from training

    def join(self, verdict: Verdict) -> Tensor:
        """Join what opinions say of images, with SegNet's in the units that normality's has.

        Args:
            verdict: The opinions.

        Returns:
            Log odds of shape (B,).
        """
        segnet = verdict.segnet
        if segnet is not None and verdict.normality is not None and self.fitted:
            image = log_odds(segnet.image, self.segnet_median, self.segnet_spread)
            verdict = verdict._replace(segnet=segnet._replace(image=image))
        return verdict.image

    @torch.no_grad()
    def fit(self, batches: Iterable[Verdict], false_alarm_rate: float, held_out: HeldOut | None = None) -> None:
        """Learn from normal images.

        Args:
            batches: What is known of those that were kept from training, batch by batch.
            false_alarm_rate: The promised rate.
            held_out: Those that were trained with; ``None`` without normality.
        """
        self.reset()
        kept = concatenate(list(batches))
        if kept.segnet is not None:
            self.segnet_median, self.segnet_spread = _scale(kept.segnet.image)
            if kept.normality is not None:
                kept = kept._replace(segnet=kept.segnet._replace(image=_by_the_others(kept.segnet.image)))
        judged = chain(() if held_out is None else _in_turn(held_out, kept), [kept])
        found = [(verdict.image, verdict.pixels.flatten(1).amax(dim=1)) for verdict in judged]
        self.images, self.pixels = (torch.cat(each) for each in zip(*found, strict=True))
        self.false_alarm_rate.fill_(false_alarm_rate)
        self.kept.fill_(len(kept.image))
        index = conformal_index(len(self.images), false_alarm_rate)
        self.image_shift, self.pixel_shift = (each.sort().values[index].clone() for each in (self.images, self.pixels))
        share_buffers(self)

    def card(self) -> dict[str, Any]:
        """Tell what the promise rests on.

        Returns:
            ``images``: how many normal images; ``kept``: how many of them were kept from training;
            ``false_alarm_rate``: the promised one; ``supported_rate``: the lowest that so many support; ``scores``:
            theirs, from 0 to 1, of which the threshold is 0.5; ``histogram``: how many of them there are in each
            twentieth from 0 to 1.
        """
        scores = torch.sigmoid(self.images - self.image_shift).sort().values
        return {
            "images": len(scores),
            "kept": int(self.kept.item()),
            "false_alarm_rate": round(self.false_alarm_rate.item(), 6),
            "supported_rate": supported_rate(len(scores)),
            "scores": [round(score, 6) for score in scores.tolist()],
            "histogram": torch.histc(scores.float().cpu(), BINS, 0, 1).int().tolist(),
        }

    def sentence(self) -> str:
        """Say in one line what is promised."""
        number, rate = len(self.images), self.false_alarm_rate.item()
        if rate >= supported_rate(number) - 1e-6:
            return f"At 0.5, {rate:.1%} of normal images or fewer are expected to raise an alarm (from {number})."
        images = f"{number} normal image supports" if number == 1 else f"{number} normal images support"
        return (
            f"{images} no rate of false alarms below {supported_rate(number):.1%}, so 0.5 is the highest of their "
            f"scores; {what_a_rate_takes(rate, normality=number > self.kept.item())}."
        )


def _in_turn(held_out: HeldOut, kept: Verdict) -> Iterator[Verdict]:
    """Judge images that were trained with as if they were new.

    Normality knows them by what it learns of the others. What SegNet says of them tells nothing of new ones, since it
    was trained with them; so each gets SegNet's opinion of a kept one, in turn.
    """
    for images in torch.arange(held_out.number).split(IMAGES_AT_A_TIME):
        segnet = kept.segnet and kept.segnet.of(images % len(kept.segnet.image))
        yield Verdict(segnet, held_out.opinion(images))


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


def what_a_rate_takes(rate: float, normality: bool) -> str:
    """Say how many training images a rate of false alarms takes.

    Args:
        rate: The promised one, in (0, 1).
        normality: Whether normality judges: SegNet cannot judge images that it was trained with.
    """

    def judged(number: int) -> int:
        kept = number_kept(number)
        return kept + (min(number - kept, FITTED_IMAGES) if normality and kept else 0)

    least = next(number for number in count(1) if supported_rate(judged(number)) <= rate + 1e-6)
    return f"{rate:.1%} takes {least} training images"


def supported_rate(number: int) -> float:
    """Tell the lowest rate of false alarms that so many normal scores support."""
    return 1 / (number + 1)
