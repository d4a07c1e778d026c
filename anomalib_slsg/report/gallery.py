"""Cards of the report's gallery: the images that most deserve a look, with what explains their verdicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anomalib_slsg.report.judged import Judged
from anomalib_slsg.report.pictures import ImageFiles, colour, embed, outline

CARDS = 200
PICTURES = 3 * CARDS  # image, map and nearest normal image


@dataclass(frozen=True)
class Card:
    """An image of the gallery.

    Args:
        judged: What was found in it.
        picture: Address of the image, if it could be read.
        heat_map: Address of the coloured map, if there is one.
        outline: Path around the region above the threshold.
        nearest: Address of the training image that is most like it, of alarms, where it still is.
        opinions: Log odds by each opinion, highest first.
    """

    judged: Judged
    picture: str | None
    heat_map: str | None
    outline: str
    nearest: str | None
    opinions: list[tuple[str, float]]


def make_cards(images: Sequence[Judged], files: ImageFiles, most: int) -> list[Card]:
    """Make the cards of the images that most deserve a look.

    Args:
        images: All images.
        files: Reads them.
        most: How many characters the pictures of all cards may take.

    Returns:
        At most ``CARDS``, wrong verdicts and then those nearest to the threshold; sorted by the latter.
    """
    chosen = sorted(images, key=lambda image: (not _wrong(image), doubt(image)))[:CARDS]
    most //= PICTURES if len(chosen) == CARDS else 3 * len(chosen) or 1
    return [_card(image, files, most) for image in sorted(chosen, key=doubt)]


def doubt(image: Judged) -> float:
    """Distance of an image's log odds from those of the threshold; the smaller, the nearer to another verdict."""
    return abs(_log_odds(image.score) - _log_odds(image.threshold))


def _card(image: Judged, files: ImageFiles, most: int) -> Card:
    picture, heat_map = files.read(image.file), files.read(image.heat_map)
    grey = None if heat_map is None else heat_map[..., 0].copy()
    shape = next((each.shape for each in (picture, heat_map) if each is not None), (1, 1))
    nearest = files.read(image.nearest, may_be_gone=True) if image.verdict == "anomalous" else None
    opinions = sorted(image.opinions.items(), key=lambda opinion: -opinion[1])
    coloured = embed(colour(grey, shape), most)
    return Card(image, embed(picture, most), coloured, outline(grey, image.threshold), embed(nearest, most), opinions)


def _wrong(image: Judged) -> bool:
    return image.anomalous is not None and image.anomalous != (image.verdict == "anomalous")


def _log_odds(probability: float) -> float:
    inside = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside))
