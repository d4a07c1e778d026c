"""Options of normality, as plain data for YAML, the command line and checkpoints."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from anomalib_slsg.utils.options import Options, choice

Use = bool | Literal["auto"]


@dataclass(frozen=True)
class NormalityOptions(Options):
    """Which measures of how unusual features are join what SegNet finds. Not in the paper, whose network has none.

    Each is ``true`` (always), ``false`` (never) or ``auto``: where it tells simulated anomalies from normal images.
    They need two normal images or more. With either of them, INT8 exports leave the encoder unquantised, because
    whitening magnifies rounding errors.

    Args:
        places: How far the encoder's features are from those of normal images at the same place. It adds to the map and
            to the image score.
        composition: How unusual it is what the image is made of, wherever its parts lie: one too many, or one that does
            not belong to the others. It adds to the image score only.

    Raises:
        ValueError: If a value is none of the three.
    """

    group: ClassVar[str] = "normality"
    places: Use = choice("auto", (True, False, "auto"))
    composition: Use = choice("auto", (True, False, "auto"))

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that a model with these options has, whether or not they come to be used."""
        return tuple(name for name in ("places", "composition") if getattr(self, name) is not False)
