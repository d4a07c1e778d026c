"""Options of normality and of the calibration, as plain data for YAML, the command line and checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from anomalib_slsg.utils.options import Options, number
from anomalib_slsg.utils.validation import check_choice

MEASURES = ("places", "whole", "composition")


def _check_measures(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name} must be a list of {', '.join(MEASURES)}, or an empty one, got {value!r}")
    for each in value:
        check_choice(name, each, MEASURES)
    return tuple(each for each in MEASURES if each in value)


@dataclass(frozen=True)
class NormalityOptions(Options):
    """What measures how unusual an image is, beside SegNet. Not in the paper, whose network has none.

    Nothing is trained for it: a frozen network describes the training images, and an image is as unusual as its
    description is far from theirs. It needs two normal images or more.

    Args:
        backbone: Name of a timm CNN with features at strides 4, 8, 16 and 32. It is not SegNet's, and stays frozen.
        encoder_weights: Its weights: ``imagenet``, the path of a state dict, or ``null`` (random, for tests; on the
            command line ``--model.normality '{encoder_weights: null}'``).
        measures: Which measures there are; none leaves SegNet alone. ``places``: what lies at each place, which also
            gives a map. ``whole``: what larger regions show. ``composition``: what the image is made of, wherever its
            parts lie.

    Raises:
        ValueError: If a measure is none of the three.
    """

    group: ClassVar[str] = "normality"
    backbone: str = "tf_efficientnet_lite0"
    encoder_weights: str | None = "imagenet"
    measures: tuple[str, ...] = field(
        default=MEASURES, metadata={"check": _check_measures, "allowed": f"a list of {', '.join(MEASURES)}"}
    )


@dataclass(frozen=True)
class CalibrationOptions(Options):
    """The promised rate of false alarms.

    Normal images are judged as if they were new, and scores are shifted so that 0.5 is the threshold with the promised
    rate. SegNet judges a tenth of them, ten at the least where there are forty or more, which is kept from training.

    Args:
        false_alarm_rate: Share of normal images that may be called anomalous, in (0, 0.5]; the same share may have any
            pixel marked. ``null`` (on the command line ``--model.calibration '{false_alarm_rate: null}'``) keeps no
            images, and leaves scores as they are.

    Raises:
        ValueError: If the rate lies outside its range.
    """

    group: ClassVar[str] = "calibration"
    false_alarm_rate: float | None = number(0.05, "(0, 0.5]", optional=True)
