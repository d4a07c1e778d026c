"""Connector board: two terminal blocks whose rows must agree, joined by colour-coded cables."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from anomalib_slsg.synthetic_loco.drawing import Canvas, Colour, tint
from anomalib_slsg.synthetic_loco.scenes.base import DefectType, Scene
from anomalib_slsg.synthetic_loco.shapes import Points, bezier, box, ellipse, place, ribbon

CABLE_COLOURS: dict[str, Colour] = {
    "red": (200, 42, 40),
    "blue": (34, 84, 190),
    "yellow": (234, 190, 36),
    "green": (30, 138, 70),
    "black": (40, 40, 44),
}
# The number of terminals fixes the colours from top to bottom.
HARNESSES: dict[int, tuple[str, ...]] = {
    3: ("red", "blue", "green"),
    4: ("red", "red", "blue", "yellow"),
    5: ("yellow", "blue", "red", "blue", "yellow"),
}
PITCH = 38.0
BLOCK_WIDTH = 46.0
LEFT, RIGHT = 44.0, 212.0
CABLE_WIDTH = 12.0
HOUSING: Colour = (74, 84, 92)
METAL: Colour = (186, 188, 186)


@dataclass
class Cable:
    """A cable: its colour, the rows at its ends, and how it bends (offsets of the control points)."""

    colour: str
    left: int
    right: int
    bend: tuple[float, float]


class ConnectorBoard(Scene):
    """A board with 3, 4 or 5 terminals on each side; each pair of terminals is joined by a cable of their colour."""

    logical: ClassVar = (
        DefectType("missing_cable", 1100, relative=False),
        DefectType("extra_cable", 1100, relative=False),
        DefectType("swapped_cables", 0.5, relative=True),
        DefectType("wrong_colour", 0.8, relative=True),
        DefectType("wrong_terminal", 0.5, relative=True),
        DefectType("unequal_blocks", 900, relative=False),
    )

    def __init__(self, rows: int, bends: list[tuple[float, float]]) -> None:
        super().__init__()
        self.marks = HARNESSES[rows]
        self.right_rows = rows
        self.cables = [Cable(colour, row, row, bends[row]) for row, colour in enumerate(self.marks)]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "ConnectorBoard":
        """Draw a normal board at random."""
        rows = int(rng.choice(list(HARNESSES)))
        return cls(rows, [(float(a), float(b)) for a, b in rng.uniform(-9, 9, (rows, 2))])

    def spoil(self, defect: str, rng: np.random.Generator) -> list[Points] | None:
        """Make the board logically wrong (see the base class)."""
        if defect == "unequal_blocks":
            return self._change_block(rng)
        if defect == "extra_cable":
            return self._add_cable(rng)
        cable = self._untouched(rng)
        if cable is None:
            return None
        if defect == "swapped_cables":
            return self._swap(cable, rng)
        if defect == "wrong_terminal":
            return self._misconnect(cable, rng)
        before = self._cable_outline(cable)
        self.spoiled.add(f"row {cable.left}")
        if defect == "missing_cable":
            self.cables.remove(cable)
        else:
            cable.colour = str(rng.choice([name for name in CABLE_COLOURS if name != cable.colour]))
        return [before]

    def _misconnect(self, cable: Cable, rng: np.random.Generator) -> list[Points] | None:
        """Put the right end of a cable into a terminal that has a cable already."""
        rows = self._untouched_rows(cable.left)
        if not rows:
            return None
        before = self._cable_outline(cable)
        cable.right = _nearest(rng, cable.left, rows)
        self.spoiled |= {f"row {cable.left}", f"row {cable.right}"}
        return [before, self._cable_outline(cable)]

    def _untouched_rows(self, but: int | None = None) -> list[int]:
        return [row for row in range(len(self.marks)) if row != but and f"row {row}" not in self.spoiled]

    def _untouched(self, rng: np.random.Generator) -> Cable | None:
        cables = [cable for cable in self.cables if f"row {cable.left}" not in self.spoiled]
        return cables[rng.integers(len(cables))] if cables else None

    def _swap(self, cable: Cable, rng: np.random.Generator) -> list[Points] | None:
        """Exchange the right ends of two cables of different colours."""
        others = [row for row in self._untouched_rows(cable.left) if self.marks[row] != cable.colour]
        if not others:
            return None
        row = _nearest(rng, cable.left, others)
        other = next(c for c in self.cables if c.left == row)
        before = [self._cable_outline(cable), self._cable_outline(other)]
        cable.right, other.right = other.right, cable.right
        self.spoiled |= {f"row {cable.left}", f"row {row}"}
        return [*before, self._cable_outline(cable), self._cable_outline(other)]

    def _add_cable(self, rng: np.random.Generator) -> list[Points] | None:
        """Join two terminals that belong to different rows by a further cable."""
        rows = self._untouched_rows()
        if len(rows) < 2:
            return None
        left = int(rng.choice(rows))
        right = _nearest(rng, left, [row for row in rows if row != left])
        cable = Cable(
            str(rng.choice(list(CABLE_COLOURS))), left, right, (float(rng.uniform(-9, 9)), float(rng.uniform(-9, 9)))
        )
        self.cables.append(cable)
        self.spoiled |= {f"row {left}", f"row {right}"}
        return [self._cable_outline(cable)]

    def _change_block(self, rng: np.random.Generator) -> list[Points] | None:
        """Give the right block one terminal more or one less, at its lower end."""
        rows = len(self.marks)
        if f"row {rows - 1}" in self.spoiled:
            return None
        # Only the shortest block leaves room on the plate for one terminal more.
        more = rows == min(HARNESSES) and rng.random() < 0.5
        self.right_rows = rows + 1 if more else rows - 1
        self.spoiled.add(f"row {rows - 1}")
        y = self._row(max(rows, self.right_rows) - 1)
        return [place(box(BLOCK_WIDTH, PITCH, 2), RIGHT, y + 5)]

    def _row(self, row: int) -> float:
        return 128 + PITCH * (row - (len(self.marks) - 1) / 2)

    def _cable_path(self, cable: Cable) -> Points:
        start = np.array([LEFT + BLOCK_WIDTH / 2 - 8, self._row(cable.left)])
        end = np.array([RIGHT - BLOCK_WIDTH / 2 + 8, self._row(cable.right)])
        reach = np.array([52.0, 0.0])
        bend_a, bend_b = np.array([0, cable.bend[0]]), np.array([0, cable.bend[1]])
        return bezier(start, start + reach + bend_a, end - reach + bend_b, end, 40)

    def _cable_outline(self, cable: Cable) -> Points:
        return ribbon(self._cable_path(cable), CABLE_WIDTH)

    def surface(self) -> list[Points]:
        """Outline of the whole plate, with all that is on it."""
        return [place(box(220, 216, 6), 128, 128)]

    @classmethod
    def paint_station(cls, canvas: Canvas) -> None:
        """Draw the empty plate on the bench."""
        canvas.pixels[:] = (96, 92, 88)
        _paint_plate(canvas)

    def paint(self, canvas: Canvas) -> None:
        """Draw blocks and cables."""
        self._paint_block(canvas, LEFT, len(self.marks))
        self._paint_block(canvas, RIGHT, self.right_rows)
        for cable in self.cables:
            canvas.shadow(self._cable_outline(cable), 5, 0.45)
            _paint_cable(canvas, self._cable_path(cable), CABLE_COLOURS[cable.colour])
        for row in range(len(self.marks)):
            _paint_clamp(canvas, LEFT, self._row(row), -1)
        for row in range(self.right_rows):
            _paint_clamp(canvas, RIGHT, self._row(row), 1)

    def _paint_block(self, canvas: Canvas, x: float, rows: int) -> None:
        top, bottom = self._row(0) - PITCH / 2 - 5, self._row(rows - 1) + PITCH / 2 + 5
        outline = place(box(BLOCK_WIDTH, bottom - top, 4), x, (top + bottom) / 2)
        canvas.shadow(outline, 6)
        canvas.shape(outline, tint(HOUSING, 0.6))
        canvas.shape(
            place(box(BLOCK_WIDTH - 1.6, bottom - top - 1.6, 3.5), x - 0.5, (top + bottom) / 2 - 0.6),
            tint(HOUSING, 1.2),
        )
        canvas.shape(place(box(BLOCK_WIDTH - 4, bottom - top - 4, 3), x, (top + bottom) / 2), HOUSING)
        outwards = -1 if x < 128 else 1
        for row in range(rows):
            # A block that is too long repeats its last colour.
            colour = CABLE_COLOURS[self.marks[min(row, len(self.marks) - 1)]]
            canvas.shape(place(box(12, 26, 2), x + outwards * 14, self._row(row)), tint(colour, 0.6))
            canvas.shape(place(box(10.6, 24.6, 1.6), x + outwards * 14, self._row(row)), colour)
            canvas.shape(place(box(26, 30, 2), x - outwards * 8, self._row(row)), tint(HOUSING, 0.5))
            canvas.shape(place(box(25, 29, 2), x - outwards * 8 + 0.8, self._row(row) + 1), tint(HOUSING, 0.78))
            if row:
                canvas.shape(place(box(BLOCK_WIDTH - 4, 1.2), x, self._row(row) - PITCH / 2), tint(HOUSING, 0.6))


def _nearest(rng: np.random.Generator, row: int, rows: list[int]) -> int:
    """One of some rows, near ones rather than far ones: the mistakes that people make."""
    weights = np.array([1 / abs(other - row) ** 2 for other in rows])
    return int(rng.choice(rows, p=weights / weights.sum()))


def _paint_plate(canvas: Canvas) -> None:
    plate: Colour = (206, 206, 198)
    canvas.shadow(place(box(236, 232, 8), 128, 128), 4, 0.6)
    canvas.shape(place(box(236, 232, 8), 128, 128), tint(plate, 0.7))
    canvas.shape(place(box(234.5, 230.5, 7.5), 127.5, 127.4), tint(plate, 1.4))
    canvas.shape(place(box(232.5, 228.5, 7), 128, 128), plate)
    for x in (100.0, 156.0):
        for y in (24.0, 232.0):
            canvas.shape(ellipse(x, y, 5), tint(plate, 0.7))
            canvas.shape(ellipse(x + 0.3, y + 0.4, 4), (64, 64, 62))


def _paint_cable(canvas: Canvas, path: Points, colour: Colour) -> None:
    canvas.shape(ribbon(path, CABLE_WIDTH), tint(colour, 0.55))
    canvas.shape(ribbon(path + np.array([-0.3, -0.8]), CABLE_WIDTH - 3), colour)
    canvas.shape(ribbon(path + np.array([-0.6, -2.0]), 3), tint(colour, 1.5), opacity=0.7, blur=0.6)


def _paint_clamp(canvas: Canvas, x: float, y: float, outwards: int) -> None:
    """Draw the screw that holds a cable's end."""
    x -= outwards * 5
    canvas.shape(ellipse(x + 0.5, y + 0.7, 9), (30, 34, 38), opacity=0.7)
    canvas.shape(ellipse(x, y, 8.4), tint(METAL, 0.7))
    canvas.shape(ellipse(x - 0.4, y - 0.5, 7.4), METAL)
    canvas.shape(place(box(13, 2.4), x, y, 35), (62, 64, 66))
    canvas.shape(ellipse(x - 2.5, y - 3, 3, 2), (255, 255, 255), opacity=0.5, blur=0.8)
