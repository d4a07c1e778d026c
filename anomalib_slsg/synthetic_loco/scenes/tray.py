"""Compartment tray, seen from above: counted and colour-coded parts, and a tag that must agree with them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from anomalib_slsg.synthetic_loco.drawing import Canvas, Colour, tint
from anomalib_slsg.synthetic_loco.scenes.base import DefectType, Scene
from anomalib_slsg.synthetic_loco.shapes import Points, box, ellipse, place, polygon

# A kit's colour fixes the number of its caps; its tag shows both.
KITS: dict[str, tuple[Colour, int]] = {
    "red": ((196, 44, 40), 2),
    "green": ((36, 140, 72), 3),
    "blue": ((36, 88, 186), 4),
}
YELLOW: Colour = (232, 186, 40)
ORANGE: Colour = (226, 112, 34)
VIOLET: Colour = (116, 66, 150)
STEEL: Colour = (150, 156, 162)
BRASS: Colour = (190, 154, 82)
INK: Colour = (50, 52, 58)

# Compartments as (x, y, width, height) of their middle and size.
COMPARTMENTS = ((77, 77, 118, 118), (191, 77, 94, 118), (52, 191, 68, 94), (128, 191, 68, 94), (204, 191, 68, 94))
_SLOTS: dict[str, tuple[tuple[int, int], ...]] = {
    "cap": ((49, 49), (105, 49), (49, 105), (105, 105)),
    "bolt": ((161, 77), (191, 77), (221, 77)),
    "nut": ((52, 168), (52, 214)),
    "fuse": ((128, 170), (128, 212)),
}
TAG_PLACE = (204, 191)


@dataclass
class Part:
    """A loose part: what it is, where it lies, and its colour."""

    name: str
    kind: str
    x: float
    y: float
    angle: float
    colour: Colour

    def outline(self) -> Points:
        """Outline of the part where it lies, shape (N, 2)."""
        return place(_OUTLINES[self.kind], self.x, self.y, self.angle)


# The grip of a cap: 24 ribs, as an outline that goes in and out.
_RIBS: Points = polygon(96, 1.0) * np.tile([21.9, 21.9, 19.2, 19.2], 24)[:, None]
_OUTLINES: dict[str, Points] = {
    "cap": ellipse(0, 0, 22),
    "nut": polygon(6, 22),
    "fuse": box(52, 32, 5),
    "bolt": np.array(
        [
            [-13, -46],
            [13, -46],
            [13, -27],
            [7.5, -25],
            [7.5, 42],
            [5, 46],
            [-5, 46],
            [-7.5, 42],
            [-7.5, -25],
            [-13, -27],
        ]
    ),
}


class Tray(Scene):
    """A tray with caps (kit colour and number), two bolts, two nuts, two fuses (orange above violet) and the tag."""

    logical: ClassVar = (
        DefectType("missing_part", 900, relative=False),
        DefectType("extra_part", 900, relative=False),
        DefectType("swapped_parts", 0.5, relative=True),
        DefectType("wrong_colour", 0.8, relative=True),
        DefectType("wrong_tag", 1500, relative=False),
    )

    def __init__(self, kit: str, parts: list[Part], tag_angle: float) -> None:
        super().__init__()
        self.kit = kit
        self.tag = kit
        self.parts = parts
        self.tag_angle = tag_angle

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Tray":
        """Draw a normal tray at random."""
        kit = str(rng.choice(list(KITS)))
        colour, count = KITS[kit]
        parts = [_lay("cap", slot, colour, rng) for slot in sorted(rng.permutation(4)[:count])]
        parts += [_lay("bolt", slot, STEEL, rng) for slot in sorted(rng.permutation(3)[:2])]
        parts += [_lay("nut", slot, BRASS, rng) for slot in range(2)]
        parts += [_lay("fuse", slot, fuse, rng) for slot, fuse in enumerate((ORANGE, VIOLET))]
        return cls(kit, parts, float(rng.uniform(-4, 4)))

    def spoil(self, defect: str, rng: np.random.Generator) -> list[Points] | None:
        """Make the tray logically wrong (see the base class)."""
        if defect == "wrong_tag":
            return self._change_tag(rng)
        if defect == "extra_part":
            return self._add(rng)
        if defect == "swapped_parts":
            return self._swap(rng)
        if defect == "missing_part":
            return self._remove(rng)
        part = self._untouched(rng, ("cap", "fuse"))
        if part is None:
            return None
        self.spoiled.add(part.name)
        choices = [colour for colour in (*(kit[0] for kit in KITS.values()), YELLOW) if colour != part.colour]
        part.colour = choices[rng.integers(len(choices))]
        return [part.outline()]

    def _untouched(self, rng: np.random.Generator, kinds: tuple[str, ...]) -> Part | None:
        parts = [part for part in self.parts if part.kind in kinds and part.name not in self.spoiled]
        return parts[rng.integers(len(parts))] if parts else None

    def _change_tag(self, rng: np.random.Generator) -> list[Points]:
        self.tag = str(rng.choice([kit for kit in KITS if kit != self.kit]))
        return [self._tag_outline()]

    def _add(self, rng: np.random.Generator) -> list[Points] | None:
        """Put a part too many in a free place; each part of its sort is the one too many, so all are marked."""
        free = [slot for kind in ("cap", "bolt") for slot in self._free(kind) if kind not in self.spoiled]
        if not free:
            return None
        kind, slot = free[rng.integers(len(free))]
        self.parts.append(_lay(kind, slot, KITS[self.kit][0] if kind == "cap" else STEEL, rng))
        self.spoiled.add(kind)
        return [part.outline() for part in self.parts if part.kind == kind]

    def _remove(self, rng: np.random.Generator) -> list[Points] | None:
        """Take a part away; where its place could be any of those that are free, all of them are marked."""
        part = self._untouched(rng, tuple(kind for kind in _OUTLINES if kind not in self.spoiled))
        if part is None:
            return None
        free = [place(_OUTLINES[kind], *_SLOTS[kind][slot]) for kind, slot in self._free(part.kind)]
        self.parts.remove(part)
        self.spoiled |= {part.kind, part.name}
        return [part.outline(), *free]

    def _free(self, kind: str) -> list[tuple[str, int]]:
        taken = {part.name for part in self.parts}
        return [(kind, slot) for slot in range(len(_SLOTS[kind])) if f"{kind} {slot}" not in taken]

    def _swap(self, rng: np.random.Generator) -> list[Points] | None:
        """Exchange the two fuses, or a fuse and a nut."""
        first = self._untouched(rng, ("fuse",))
        second = self._untouched(rng, ("fuse",) if rng.random() < 0.5 else ("nut",))
        if first is None or second is None or first is second:
            return None
        before = [first.outline(), second.outline()]
        first.x, second.x = second.x, first.x
        first.y, second.y = second.y, first.y
        self.spoiled |= {first.name, second.name}
        return [*before, first.outline(), second.outline()]

    def _tag_outline(self) -> Points:
        return place(box(52, 76, 3), *TAG_PLACE, self.tag_angle)

    def surface(self) -> list[Points]:
        """Outline of the whole tray, with its parts."""
        return [place(box(222, 222, 8), 128, 128)]

    @classmethod
    def paint_station(cls, canvas: Canvas) -> None:
        """Draw the empty tray on its conveyor belt."""
        canvas.pixels[:] = (70, 74, 80)
        _paint_tray(canvas)

    def paint(self, canvas: Canvas) -> None:
        """Draw the tag and the parts."""
        self._paint_tag(canvas)
        for part in self.parts:
            canvas.shadow(part.outline(), 4.5)
        for part in self.parts:
            _PAINTERS[part.kind](canvas, part)

    def _paint_tag(self, canvas: Canvas) -> None:
        colour, count = KITS[self.tag]
        card = self._tag_outline()
        canvas.shadow(card, 1.5)
        canvas.shape(card, (242, 241, 236))

        def on_card(outline: Points) -> Points:
            return place(outline, *TAG_PLACE, self.tag_angle)

        canvas.shape(on_card(box(44, 30, 2) + np.array([0, -19])), colour)
        for number in range(count):
            canvas.shape(on_card(ellipse(11 * (number - (count - 1) / 2), 8, 4.2)), colour)
        for row, width in enumerate((40, 32)):
            canvas.shape(on_card(box(width, 3) + np.array([(width - 40) / 2, 21 + 7 * row])), INK)


def _lay(kind: str, slot: int, colour: Colour, rng: np.random.Generator) -> Part:
    """Put a part in its place, as exactly as a hand or a feeder does."""
    reach, turn = {"cap": (3.0, 180.0), "bolt": (1.2, 3.0), "nut": (1.5, 30.0), "fuse": (2.0, 5.0)}[kind]
    x, y = _SLOTS[kind][slot]
    move_x, move_y = rng.uniform(-reach, reach, 2)
    angle = float(rng.uniform(-turn, turn)) + (180.0 if kind == "bolt" and rng.random() < 0.5 else 0.0)
    return Part(f"{kind} {slot}", kind, x + move_x, y + move_y, angle, colour)


def _paint_tray(canvas: Canvas) -> None:
    body, rim, floor = (206, 207, 203), (226, 227, 223), (184, 187, 187)
    outer = place(box(238, 238, 12), 128, 128)
    canvas.shadow(outer, 4, 0.6)
    canvas.shape(outer, tint(body, 0.82))
    canvas.shape(place(box(235, 235, 11), 127.6, 127.6), rim)
    canvas.shape(place(box(232, 232, 10), 128, 128), body)
    for x, y, width, height in COMPARTMENTS:
        well = place(box(width, height, 7), x, y)
        canvas.shape(well + 0.9, rim)
        canvas.shape(well, tint(floor, 0.72))
        # The walls at the light's side throw their shadow on the floor.
        canvas.shape(place(box(width - 7, height - 7, 6), x + 2, y + 2.4), floor, blur=1.8)


def _paint_cap(canvas: Canvas, part: Part) -> None:
    x, y = part.x, part.y
    canvas.shape(part.outline(), tint(part.colour, 0.62))
    canvas.shape(place(_RIBS, x, y, part.angle), tint(part.colour, 0.85))
    canvas.shape(ellipse(x, y, 18.5), part.colour)
    canvas.shape(ellipse(x + 0.5, y + 0.7, 12), tint(part.colour, 0.72))
    canvas.shape(ellipse(x, y, 11), tint(part.colour, 0.93))
    canvas.shape(place(box(13, 3, 1.4), x, y, part.angle), tint(part.colour, 0.66))
    canvas.shape(ellipse(x - 6, y - 8, 7, 5), (255, 255, 255), opacity=0.4, blur=2.2)


def _paint_nut(canvas: Canvas, part: Part) -> None:
    x, y = part.x, part.y
    canvas.shape(part.outline(), tint(part.colour, 0.66))
    canvas.shape(place(polygon(6, 20.8), x - 0.4, y - 0.5, part.angle), tint(part.colour, 1.15))
    canvas.shape(ellipse(x, y, 17), tint(part.colour, 1.32))
    canvas.shape(ellipse(x, y, 16.2), part.colour)
    canvas.shape(ellipse(x, y, 11), tint(part.colour, 0.6))
    canvas.shape(ellipse(x + 0.6, y + 0.8, 9.6), (58, 56, 54))
    canvas.shape(ellipse(x - 8, y - 9, 6, 4), (255, 250, 225), opacity=0.5, blur=1.8)


def _paint_fuse(canvas: Canvas, part: Part) -> None:
    def on_fuse(outline: Points, x: float = 0, y: float = 0) -> Points:
        return place(outline + np.array([x, y]), part.x, part.y, part.angle)

    canvas.shape(part.outline(), tint(part.colour, 0.66))
    canvas.shape(on_fuse(box(50, 30, 4.5), -0.4, -0.5), tint(part.colour, 1.18))
    canvas.shape(on_fuse(box(47.5, 27.5, 4)), part.colour)
    canvas.shape(on_fuse(box(26, 15, 2)), (240, 238, 230))
    for row, width in enumerate((18, 12)):
        canvas.shape(on_fuse(box(width, 2.4), (width - 18) / 2, -2.6 + 5.2 * row), INK)
    for side in (-1, 1):
        canvas.shape(on_fuse(ellipse(18.5 * side, 0, 3)), tint(part.colour, 0.5))


def _paint_bolt(canvas: Canvas, part: Part) -> None:
    def on_bolt(outline: Points) -> Points:
        return place(outline, part.x, part.y, part.angle)

    dark, bright = tint(part.colour, 0.5), tint(part.colour, 1.6)
    # The round shank reflects the light along a line; the turn of the part does not move that line.
    flip = -1 if abs(part.angle) > 90 else 1
    across = on_bolt(np.array([[-7.5 * flip, 0], [7.5 * flip, 0], [-13 * flip, 0], [13 * flip, 0]], dtype=np.float64))
    metal = [(0.0, dark, 1.0), (0.3, bright, 1.0), (0.55, part.colour, 1.0), (1.0, tint(part.colour, 0.35), 1.0)]
    canvas.gradient(part.outline(), metal, across[0], across[1])
    for thread in np.arange(-4, 42, 4.2):
        groove = np.array([[-7.5, 0], [7.5, 2], [7.5, 3.4], [-7.5, 1.4]]) + np.array([0, thread])
        canvas.shape(on_bolt(groove), tint(part.colour, 0.66))
    head = on_bolt(box(26, 19, 2.5) + np.array([0, -36.5]))
    facets = [
        (0.0, dark, 1.0),
        (0.25, part.colour, 1.0),
        (0.3, bright, 1.0),
        (0.7, part.colour, 1.0),
        (0.75, dark, 1.0),
    ]
    canvas.gradient(head, facets, across[2], across[3])


_PAINTERS = {"cap": _paint_cap, "nut": _paint_nut, "fuse": _paint_fuse, "bolt": _paint_bolt}
