"""The threshold whose rate of false alarms is promised. Not in the paper."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from anomalib_slsg.data.training_images import ENOUGH_IMAGES, LEAST_KEPT, images_that_keep
from anomalib_slsg.normality.description import FITTED_IMAGES
from anomalib_slsg.normality.joining import Opinion, Verdict, join_images, join_pixels
from anomalib_slsg.normality.measure import Learnt, log_odds, usual
from anomalib_slsg.normality.normality import HeldOut
from anomalib_slsg.utils.processes import share_buffers

LEAST_SPREAD = 0.5  # of SegNet's log odds of normal images, where all of them are the same
SILENT_SPREAD = 1e9  # of SegNet's log odds where normal images are too few to tell how far they vary
BINS = 20  # of the card's histogram


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
        segnet, normality = (None if opinion is None else opinion.image for opinion in verdict)
        if segnet is not None and normality is not None and self.fitted:
            segnet = log_odds(segnet, self.segnet_median, self.segnet_spread)
        return join_images(segnet, normality)

    @torch.no_grad()
    def fit(self, batches: Iterable[Verdict], false_alarm_rate: float, held_out: HeldOut | None = None) -> None:
        """Learn from normal images.

        Those that were trained with are judged as if they were new: normality knows them by what it learns of the
        others. What SegNet says of them tells nothing of new ones, so each gets what it says of a kept one, in turn.

        Args:
            batches: What is known of the images that were kept from training, batch by batch.
            false_alarm_rate: The promised rate.
            held_out: The images that were trained with; ``None`` without normality.
        """
        self.reset()
        kept, peaks = [], []
        for verdict in batches:
            peaks.append(_peaks(verdict.pixels, self.join(verdict)))
            kept.append(verdict._replace(normality=verdict.normality and verdict.normality._replace(pixels=None)))
        segnet, normality = (_images(opinions) for opinions in zip(*kept, strict=True))
        if segnet is not None:
            self.segnet_median, self.segnet_spread = _scale(segnet)
            segnet = segnet if normality is None else _by_the_others(segnet)
        self.pixels = kept_pixels = torch.cat(peaks)
        number = len(kept_pixels)
        if held_out is not None and normality is not None:
            turns = torch.cat([torch.arange(len(held_out.images)) % number, torch.arange(number)])
            segnet = None if segnet is None else segnet[turns]
            normality = torch.cat([held_out.images, normality])
            self.pixels = torch.cat([_peaks_in_turn(held_out, kept, [len(each) for each in peaks]), kept_pixels])
        self.images = join_images(segnet, normality)
        self.false_alarm_rate.fill_(false_alarm_rate)
        self.kept.fill_(number)
        self.image_shift, self.pixel_shift = (_threshold(each, false_alarm_rate) for each in (self.images, self.pixels))
        if segnet is not None:  # its map counts as it is, however far it varies, and few kept images hardly tell
            self.pixel_shift = torch.maximum(self.pixel_shift, _threshold(kept_pixels, false_alarm_rate))
        share_buffers(self)

    def card(self) -> dict[str, Any]:
        """Tell what the promise rests on.

        Returns:
            ``images``: how many normal images; ``kept``: how many of them were kept from training;
            ``false_alarm_rate``: the promised one; ``supported_rate``: the lowest that so many support; ``scores``:
            theirs, from 0 to 1, of which the threshold is 0.5; ``histogram``: how many of them there are in each
            twentieth from 0 to 1.
        """
        scores = torch.sigmoid(self.images.sort().values - self.image_shift)
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
            said = f"At 0.5, about {rate:.1%} of normal images are expected to raise an alarm (measured on {number})."
        else:
            images = f"{number} normal image supports" if number == 1 else f"{number} normal images support"
            said = (
                f"{images} no rate of false alarms below {supported_rate(number):.1%}, so 0.5 is the highest of their "
                f"scores; {what_a_rate_takes(rate, normality=number > self.kept.item())}."
            )
        if self.segnet_spread.item() >= SILENT_SPREAD and number > self.kept.item():
            said += f" SegNet only sharpens maps: {ENOUGH_IMAGES} images would tell what is usual for it."
        return said


def _peaks_in_turn(held_out: HeldOut, kept: Sequence[Verdict], lengths: Sequence[int]) -> Tensor:
    """Highest pixels of images that were trained with, each with SegNet's map of a kept one of these batches."""
    peaks, number = torch.zeros_like(held_out.images), sum(lengths)
    start = 0
    for verdict, length in zip(kept, lengths, strict=True):
        maps = None if verdict.segnet is None else verdict.segnet.pixels
        for first in range(start, len(peaks), number):
            images = torch.arange(first, min(first + length, len(peaks)))
            segnet = None if maps is None else maps[: len(images)]
            peaks[images] = _peaks(join_pixels(segnet, held_out.pixels(images)), peaks[images])
        start += length
    return peaks


def _peaks(pixels: Tensor | None, images: Tensor) -> Tensor:
    """The highest of each image's pixels (B, 1, H, W); without a map 0 for each of the images (B,)."""
    return torch.zeros_like(images) if pixels is None else pixels.flatten(1).amax(dim=1)


def _images(opinions: Sequence[Opinion | None]) -> Tensor | None:
    said = [opinion.image for opinion in opinions if opinion is not None]
    return torch.cat(said) if said else None


def _threshold(scores: Tensor, rate: float) -> Tensor:
    return scores.sort().values[conformal_index(len(scores), rate)].clone()


def _scale(segnet: Tensor) -> tuple[Tensor, Tensor]:
    """Median and spread of what SegNet says of kept images (B,)."""
    median, spread = usual(segnet, LEAST_SPREAD)
    return median, spread if len(segnet) >= LEAST_KEPT else torch.full_like(spread, SILENT_SPREAD)


def _by_the_others(segnet: Tensor) -> Tensor:
    """SegNet's log odds (B,) of kept images in the spread of the others, as those of new images will be.

    In a spread that an image itself has widened it would seem more usual than a new one, and the threshold would be
    too low.
    """
    if len(segnet) < LEAST_KEPT:
        return log_odds(segnet, *_scale(segnet))
    others = [segnet[torch.arange(len(segnet), device=segnet.device) != place] for place in range(len(segnet))]
    median, spread = zip(*(usual(each, LEAST_SPREAD) for each in others), strict=True)
    return log_odds(segnet, torch.stack(median), torch.stack(spread))


def conformal_index(number: int, rate: float) -> int:
    """Find the score that a new image exceeds at no more than the promised rate.

    Of ``number + 1`` images that are alike in all but their order, the new one is among the highest ones no more often
    than any other. Images that others teach about are only nearly so, since what judges new ones has learnt of all.

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
        normality: Whether normality judges. Without it, only the kept images tell.
    """
    judged = math.ceil(round(1 / rate, 3)) - 1  # the fewest whose lowest rate is no higher
    # normality is fitted to no more than FITTED_IMAGES, and beyond these only a tenth is judged
    images = max(judged, images_that_keep(1), 10 * (judged - FITTED_IMAGES)) if normality else images_that_keep(judged)
    return f"{rate:.1%} takes {images} training images"


def supported_rate(number: int) -> float:
    """Tell the lowest rate of false alarms that so many normal scores support."""
    return 1 / (number + 1)
