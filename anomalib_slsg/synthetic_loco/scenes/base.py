"""What every drawn product can do: be sampled right, go wrong in a named way, and be drawn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from anomalib_slsg.synthetic_loco.drawing import Canvas
from anomalib_slsg.synthetic_loco.shapes import Points


@dataclass(frozen=True)
class DefectType:
    """One kind of defect, as an entry of MVTec LOCO's ``defects_config.json``.

    Attributes:
        name: ``defect_name`` of the entry.
        saturation: Pixels at 256x256 that suffice to find the defect, or, when relative, a share of its area.
        relative: Whether ``saturation`` is a share of the defect's area.
    """

    name: str
    saturation: float
    relative: bool


class Scene(ABC):
    """A product on a production line; an instance is one piece of it.

    Class attributes:
        logical: The ways in which the product can be logically wrong.
    """

    logical: ClassVar[tuple[DefectType, ...]]

    def __init__(self) -> None:
        # Names of what has been made wrong already, so that a second defect happens elsewhere.
        self.spoiled: set[str] = set()

    @classmethod
    @abstractmethod
    def sample(cls, rng: np.random.Generator) -> "Scene":
        """Draw a normal piece at random."""

    @abstractmethod
    def spoil(self, defect: str, rng: np.random.Generator) -> list[Points] | None:
        """Make the piece logically wrong.

        Args:
            defect: Name of one of the types in ``logical``; each is asked for once at most.
            rng: Decides where and how.

        Returns:
            Outlines of the wrong places: of what is there and should not be, and of what should be there and is not.
            None, and an unchanged piece, if this one cannot have the defect (any more).
        """

    @classmethod
    @abstractmethod
    def paint_station(cls, canvas: Canvas) -> None:
        """Draw what looks the same for every piece: the background, and the parts of the product that never vary."""

    @abstractmethod
    def paint(self, canvas: Canvas) -> None:
        """Draw the piece over ``paint_station``."""

    def covering(self, defect: str) -> list[Points]:
        """Outlines of what hides a part of a defect from the camera; nothing unless a product says otherwise."""
        del defect
        return []

    @abstractmethod
    def surface(self) -> list[Points]:
        """Outlines of the places where structural damage can occur."""
