"""Saturated per-region overlap (sPRO) as pure functions.

Source: Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and
Localization", IJCV 2022, section 5; used in section 4.3 of the SLSG paper.

Everything rests on one table, :class:`AreaByScore`: how much area lies at each score. A curve needs nothing else, since

    min(TP_d(t) / S_d, 1) = area of d above t / S_d, where only d's S_d highest pixels have an area.

So every defect becomes a table of total area 1, every set of normal pixels one of total area 1 pixel each, and tables
are added, stored and thinned in the same way.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class AreaByScore(NamedTuple):
    """Area at each of the scores that occur.

    Attributes:
        scores: Distinct scores, descending, of shape (M,).
        areas: Area at each of them, above 0, of shape (M,), float64.
    """

    scores: Array
    areas: Array

    @property
    def total(self) -> float:
        """Area of all scores."""
        return float(self.areas.sum())


class SPROPoints(NamedTuple):
    """Points of a curve, from the highest threshold, where nothing is positive, to the lowest, where all is.

    Attributes:
        thresholds: Descending, of shape (P,). A pixel is positive if its score is strictly above; the last is -inf.
        fpr: False-positive rate in [0, 1], of shape (P,).
        spro: Mean sPRO in [0, 1], of shape (P,).
    """

    thresholds: Array
    fpr: Array
    spro: Array


def saturation_area(defect_area: int, threshold: float, relative: bool) -> float:
    """Area of a defect that has to be found for its full score.

    Args:
        defect_area: Pixels of the defect, at least 1.
        threshold: ``saturation_threshold`` of the defect's type.
        relative: Whether the threshold is a share of the defect's area rather than a number of pixels.

    Returns:
        Number of pixels, at least 1, so that a tiny defect of small relative threshold can be found.
    """
    return max(int(threshold * defect_area), 1) if relative else min(threshold, defect_area)


def area_by_score(scores: Array, exact_scores: float = math.inf, resolution: float = 0.0) -> AreaByScore:
    """Count the pixels of each score: the false-positive areas, if the pixels are normal.

    Args:
        scores: Scores of the pixels, of any shape.
        exact_scores: Thin the table, as :func:`thin` does, if there are more different scores than this.
        resolution: Bound of the relative change by thinning.

    Returns:
        The table; its total is the number of pixels.
    """
    descending = np.sort(scores, axis=None)[::-1]
    is_last = np.append(descending[1:] != descending[:-1], True)[: len(descending)]
    if np.count_nonzero(is_last) > exact_scores:
        # the pixels themselves are the rows; a table of millions of them would take as long as sorting
        ends = _ends(_levels(1.0, len(descending), resolution).astype(np.intp), len(descending))
        starts = np.append(0, ends[:-1])
        return tabulate(descending[(starts + ends - 1) // 2], (ends - starts).astype(np.float64))
    last = np.flatnonzero(is_last)
    return AreaByScore(descending[last], np.diff(last, prepend=-1).astype(np.float64))


def saturate(areas: AreaByScore, saturation: float) -> AreaByScore:
    """Turn a defect's areas into shares of its sPRO.

    Args:
        areas: Pixels of the defect at each score.
        saturation: Its saturation area, in pixels, at most the defect's area.

    Returns:
        The table whose area above any threshold is the defect's sPRO there; its total is 1.
    """
    sufficient = int(np.searchsorted(np.cumsum(areas.areas), saturation)) + 1
    capped = np.minimum(np.cumsum(areas.areas[:sufficient]), saturation)
    return AreaByScore(areas.scores[:sufficient], np.diff(capped, prepend=0.0) / saturation)


def area_above(areas: AreaByScore, thresholds: Array) -> Array:
    """Area of scores strictly above each threshold.

    Args:
        areas: The table.
        thresholds: Any number, in any order.

    Returns:
        Areas of the thresholds' shape: false-positive pixels, or sPRO if the table is a saturated defect's.
    """
    cumulative = np.concatenate([[0.0], np.cumsum(areas.areas)])
    return cumulative[np.searchsorted(-areas.scores, -thresholds, side="left")]


def tabulate(scores: Array, areas: Array) -> AreaByScore:
    """Make a table of scores in any order that may repeat.

    Args:
        scores: Scores, of shape (M,).
        areas: Area at each, of shape (M,).

    Returns:
        The table.
    """
    order = np.argsort(scores)[::-1]
    scores = scores[order]
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1])[: len(scores)])
    return AreaByScore(scores[first], np.add.reduceat(areas[order], first, dtype=np.float64) if len(first) else areas)


def add(tables: Sequence[AreaByScore]) -> AreaByScore:
    """Add tables up.

    Args:
        tables: At least one.

    Returns:
        One table of all scores.
    """
    return tabulate(*(np.concatenate(column) for column in zip(*tables)))


def thin(areas: AreaByScore, resolution: float) -> AreaByScore:
    """Shorten a table by joining neighbouring scores.

    Joined scores become their median by area, so that no area above a threshold changes by more than ``resolution``
    of itself. A single score is never split, whatever its area. Only the scores' order counts, not their values.

    Args:
        areas: The table.
        resolution: Bound of the relative change.

    Returns:
        The shorter table; about ``log(total area / area of the highest score) / resolution`` rows.
    """
    if len(areas.scores) == 0:
        return areas
    cumulative = np.cumsum(areas.areas)
    levels = _levels(cumulative[0], cumulative[-1], resolution)
    ends = _ends(np.searchsorted(cumulative, levels, side="right"), len(cumulative))
    upper = cumulative[ends - 1]
    lower = np.concatenate([[0.0], upper[:-1]])
    medians = np.minimum(np.searchsorted(cumulative, (lower + upper) / 2), ends - 1)
    return AreaByScore(areas.scores[medians], upper - lower)


def _levels(first: float, last: float, resolution: float) -> Array:
    """Give areas from the first to just below the last that grow by the factor ``1 + resolution``."""
    return first * (1 + resolution) ** np.arange(int(math.log(last / first) / math.log1p(resolution)) + 1)


def _ends(ends: NDArray[np.intp], last: int) -> NDArray[np.intp]:
    """Append the last end and leave out repeated ones."""
    ends = np.append(ends, last)
    return ends[np.append(True, ends[1:] != ends[:-1])]


def spro_curve(normal: AreaByScore, defects: AreaByScore) -> SPROPoints:
    """Curve of the mean sPRO over the false-positive rate.

    Args:
        normal: Pixels that are free of defects.
        defects: Sum of the saturated tables of all defects; see :func:`saturate`.

    Returns:
        A point for each score that occurs, and one above them all.

    Raises:
        ValueError: If there are no normal pixels or no defects, which leaves a rate undefined.
    """
    if not len(normal.scores) or not len(defects.scores):
        raise ValueError(f"a curve needs {'a defect' if len(normal.scores) else 'normal pixels'}, there is none")
    below = add([normal, defects]).scores
    thresholds = np.append(below, -np.inf).astype(below.dtype)
    above = [area_above(table, thresholds) for table in (normal, defects)]
    # the last threshold is below all scores, so that both rates end at exactly 1
    return SPROPoints(thresholds, *(areas / areas[-1] for areas in above))


def thin_curve(points: SPROPoints, resolution: float) -> SPROPoints:
    """Leave out points of a curve as long as neighbours stay close.

    Args:
        points: The curve.
        resolution: Distance in false-positive rate and in sPRO that neighbours keep within, unless neighbours in the
            given curve are further apart already, for instance because many pixels have the same score.

    Returns:
        The curve through at most ``9 / resolution`` of the points, the first and the last among them.
    """
    rates = (points.fpr, points.spro)
    # a little less than half the distance, so that a cell and a jump of half of it stay within, rounded or not
    cells = [np.floor(rate / (0.49 * resolution)) for rate in rates]
    changes = np.any([cell[1:] != cell[:-1] for cell in cells], axis=0)
    jumps = np.any([np.diff(rate) > resolution / 2 for rate in rates], axis=0)
    # the last point of every cell, and both sides of what is wider than one
    keep = np.append(changes, True)
    keep[1:] |= jumps
    keep[0] = True
    return SPROPoints(*(values[keep] for values in points))


def area_under_curve(points: SPROPoints, fpr_limit: float) -> float:
    """Area under the curve up to a false-positive rate, divided by that rate.

    Args:
        points: The curve.
        fpr_limit: Above 0 and at most 1.

    Returns:
        Value in [0, 1]: trapezoids, the last one cut by linear interpolation.

    Raises:
        ValueError: If the limit is out of range.
    """
    check_fpr_limit(fpr_limit)
    inside = int(np.searchsorted(points.fpr, fpr_limit, side="right"))
    fpr, spro = points.fpr[:inside], points.spro[:inside]
    if fpr[-1] < fpr_limit:
        share = (fpr_limit - fpr[-1]) / (points.fpr[inside] - fpr[-1])
        fpr = np.append(fpr, fpr_limit)
        spro = np.append(spro, spro[-1] + share * (points.spro[inside] - spro[-1]))
    return float(np.sum(np.diff(fpr) * (spro[1:] + spro[:-1]) / 2) / fpr_limit)


def check_fpr_limit(fpr_limit: float) -> None:
    """Raise :class:`ValueError` unless the limit is above 0 and at most 1."""
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be above 0 and at most 1, got {fpr_limit}")
