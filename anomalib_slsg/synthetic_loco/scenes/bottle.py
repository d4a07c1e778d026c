"""Juice bottle, seen from the side against a light: the label must match the juice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from anomalib_slsg.synthetic_loco.drawing import Canvas, Colour, tint
from anomalib_slsg.synthetic_loco.scenes.base import DefectType, Scene
from anomalib_slsg.synthetic_loco.shapes import Points, bezier, box, ellipse, place, ribbon

JUICES: dict[str, Colour] = {"orange": (240, 152, 34), "cherry": (158, 24, 44), "apple": (186, 196, 74)}
# A juice that the line does not fill.
FOREIGN_JUICES: tuple[Colour, ...] = ((92, 52, 120), (70, 120, 170), (88, 52, 30))
PAPER: Colour = (246, 243, 232)
INK: Colour = (44, 46, 54)
LEAF: Colour = (48, 128, 52)

MIDDLE = 128.0
BOTTOM = 246.0
NECK_TOP = 26.0
NORMAL_LEVEL = 60.0
# The half width of the glass at some heights; cubic easing lies between.
_PROFILE = ((NECK_TOP, 24.0), (46.0, 23.0), (96.0, 62.0), (236.0, 62.0), (BOTTOM, 56.0))


@dataclass
class Label:
    """A label: its place and size, and how it is turned (degrees)."""

    name: str
    y: float
    width: float
    height: float
    angle: float

    def outline(self) -> Points:
        """Outline of the label where it sticks, shape (N, 2)."""
        return place(box(self.width, self.height, 4), MIDDLE, self.y, self.angle)


class Bottle(Scene):
    """A bottle with a cap, one of three juices up to a level, a fruit label and a strip label below."""

    logical: ClassVar = (
        DefectType("wrong_label", 0.6, relative=True),
        DefectType("missing_label", 0.9, relative=True),
        DefectType("swapped_labels", 0.5, relative=True),
        DefectType("misplaced_label", 2000, relative=False),
        DefectType("wrong_fill_level", 1000, relative=False),
        DefectType("wrong_juice", 6000, relative=False),
        DefectType("missing_cap", 800, relative=False),
    )

    def __init__(self, juice: str, level: float, fruit: Label, strip: Label) -> None:
        super().__init__()
        self.colour = JUICES[juice]
        self.icon = juice
        self.level = level
        self.has_cap = True
        self.labels = {"fruit": fruit, "strip": strip}

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Bottle":
        """Draw a normal bottle at random."""
        fruit = Label("fruit", 150 + rng.uniform(-1.5, 1.5), 92, 76, float(rng.uniform(-1.2, 1.2)))
        strip = Label("strip", 218 + rng.uniform(-1, 1), 92, 30, float(rng.uniform(-1, 1)))
        return cls(str(rng.choice(list(JUICES))), NORMAL_LEVEL + float(rng.uniform(-2, 2)), fruit, strip)

    def spoil(self, defect: str, rng: np.random.Generator) -> list[Points] | None:
        """Make the bottle logically wrong (see the base class)."""
        if defect in {"wrong_fill_level", "wrong_juice"}:
            return self._fill_wrongly(defect, rng)
        if defect == "missing_cap":
            self.has_cap = False
            return [_cap_outline()]
        either = {str(rng.choice(["fruit", "strip"]))}
        concerned = {"wrong_label": {"fruit"}, "swapped_labels": {"fruit", "strip"}}.get(defect, either)
        if concerned & self.spoiled:
            return None
        self.spoiled |= concerned
        if defect == "swapped_labels":
            return self._swap_labels()
        return self._change_label(defect, self.labels[min(concerned)], rng)

    def _change_label(self, defect: str, label: Label, rng: np.random.Generator) -> list[Points]:
        if defect == "misplaced_label":
            return _misplace(label, rng)
        if defect == "missing_label":
            del self.labels[label.name]
        else:
            self.icon = str(rng.choice([juice for juice in JUICES if juice != self.icon]))
        return [label.outline()]

    def _fill_wrongly(self, defect: str, rng: np.random.Generator) -> list[Points] | None:
        if "juice" in self.spoiled:
            return None
        self.spoiled.add("juice")
        if defect == "wrong_juice":
            self.colour = FOREIGN_JUICES[rng.integers(len(FOREIGN_JUICES))]
            return [_inside(self.level, BOTTOM)]
        normal = self.level
        self.level = float(rng.uniform(30, 36) if rng.random() < 0.4 else rng.uniform(82, 106))
        return [_inside(min(normal, self.level), max(normal, self.level))]

    def _swap_labels(self) -> list[Points]:
        fruit, strip = self.labels["fruit"], self.labels["strip"]
        before = [fruit.outline(), strip.outline()]
        top, bottom = fruit.y - fruit.height / 2, strip.y + strip.height / 2
        strip.y, fruit.y = top + strip.height / 2, bottom - fruit.height / 2
        return [*before, fruit.outline(), strip.outline()]

    def surface(self) -> list[Points]:
        """Outline of the glass, with its labels."""
        return [_profile(40, BOTTOM - 4, inset=5)]

    def covering(self, defect: str) -> list[Points]:
        """Outlines of the labels, for the juice that is behind them."""
        return [label.outline() for label in self.labels.values()] if defect == "wrong_juice" else []

    @classmethod
    def paint_station(cls, canvas: Canvas) -> None:
        """Draw the empty bottle on the conveyor belt before its light panel."""
        canvas.pixels[:] = (214, 219, 222)
        canvas.shape(np.array([[-20.0, 243], [276, 243], [276, 290], [-20, 290]]), (112, 116, 120))
        canvas.shape(ellipse(MIDDLE, BOTTOM + 1, 60, 4), (30, 34, 40), opacity=0.6, blur=2.5)
        _paint_glass(canvas)

    def paint(self, canvas: Canvas) -> None:
        """Draw juice, labels and cap."""
        self._paint_juice(canvas)
        for name, label in self.labels.items():
            canvas.shadow(label.outline(), 0.8, 0.35)
            canvas.shape(label.outline(), PAPER)
            if name == "fruit":
                _paint_fruit_label(canvas, label, self.icon)
            else:
                _paint_strip_label(canvas, label)
        _paint_roundness(canvas)
        if self.has_cap:
            _paint_cap(canvas)

    def _paint_juice(self, canvas: Canvas) -> None:
        width = float(_half_width(np.array([self.level]))[0]) - 4
        stops = [
            (0.0, tint(self.colour, 0.72), 1.0),
            (0.3, tint(self.colour, 1.12), 1.0),
            (1.0, tint(self.colour, 0.7), 1.0),
        ]
        canvas.gradient(_inside(self.level, BOTTOM), stops, np.array([66.0, 0]), np.array([190.0, 0]))
        canvas.shape(ellipse(MIDDLE, self.level, width, 3.2), tint(self.colour, 1.35))
        canvas.shape(ellipse(MIDDLE, self.level + 0.8, width - 2, 2.2), tint(self.colour, 0.9))


def _misplace(label: Label, rng: np.random.Generator) -> list[Points]:
    """Turn a label well beyond its tolerance, or move it along the bottle."""
    before = label.outline()
    if rng.random() < 0.5:
        label.angle += float(rng.choice([-1, 1]) * rng.uniform(11, 20))
    elif label.name == "fruit":
        label.y -= float(rng.uniform(14, 22))
    else:
        label.y -= float(rng.uniform(10, 16))
        label.angle += float(rng.choice([-1, 1]) * rng.uniform(5, 9))
    return [before, label.outline()]


def _half_width(y: Points) -> Points:
    """Half the width of the glass at some heights, shape (N,)."""
    heights, widths = np.array(_PROFILE).T
    upper = np.clip(np.searchsorted(heights, y) - 1, 0, len(heights) - 2)
    t = np.clip((y - heights[upper]) / (heights[upper + 1] - heights[upper]), 0, 1)
    eased: Points = widths[upper] + (widths[upper + 1] - widths[upper]) * (3 * t**2 - 2 * t**3)
    return eased


def _profile(top: float, bottom: float, inset: float) -> Points:
    heights = np.linspace(top, bottom, 60)
    widths = _half_width(heights) - inset
    right = np.stack([MIDDLE + widths, heights], axis=1)
    left = np.stack([MIDDLE - widths, heights], axis=1)
    return np.concatenate([right, left[::-1]])


def _inside(top: float, bottom: float) -> Points:
    """Outline of what the bottle holds between two heights."""
    return _profile(top, min(bottom, BOTTOM - 5), inset=4)


def _cap_outline() -> Points:
    return place(box(56, 24, 4), MIDDLE, 20)


def _paint_glass(canvas: Canvas) -> None:
    outline = _profile(NECK_TOP, BOTTOM, inset=0)
    glass, edge = (206, 218, 214), (92, 112, 106)
    stops = [(0.0, edge, 0.95), (0.1, glass, 0.8), (0.5, (228, 236, 234), 0.7), (0.9, glass, 0.8), (1.0, edge, 0.95)]
    canvas.shape(outline, edge)
    canvas.shape(_profile(NECK_TOP + 1, BOTTOM - 3, inset=2.6), glass)
    canvas.gradient(_profile(NECK_TOP + 1, BOTTOM - 3, inset=2.6), stops, np.array([66.0, 0]), np.array([190.0, 0]))
    for y in (29.0, 34.0):
        canvas.shape(place(box(49, 2.2, 1), MIDDLE, y), (140, 158, 152))


def _paint_roundness(canvas: Canvas) -> None:
    """Darken the sides of glass, juice and labels alike, and add the reflection of the lamp."""
    black: Colour = (18, 22, 24)
    sides = [
        (0.0, black, 0.5),
        (0.14, black, 0.16),
        (0.35, black, 0.0),
        (0.7, black, 0.0),
        (0.9, black, 0.18),
        (1.0, black, 0.5),
    ]
    canvas.gradient(_profile(NECK_TOP, BOTTOM, inset=0), sides, np.array([66.0, 0]), np.array([190.0, 0]))
    canvas.shape(place(box(7, 128, 3.5), 82, 170), (255, 255, 255), opacity=0.45, blur=2)
    canvas.shape(place(box(5, 30, 2.5), 113, 52), (255, 255, 255), opacity=0.5, blur=1.5)


def _paint_cap(canvas: Canvas) -> None:
    outline, colour = _cap_outline(), (52, 62, 78)
    stops = [
        (0.0, tint(colour, 0.45), 1.0),
        (0.3, tint(colour, 1.35), 1.0),
        (0.5, colour, 1.0),
        (1.0, tint(colour, 0.4), 1.0),
    ]
    canvas.gradient(outline, stops, np.array([100.0, 0]), np.array([156.0, 0]))
    for x in np.arange(103, 154, 4.5):
        canvas.shape(place(box(1.3, 17), x, 22), tint(colour, 0.45), 0.7)


def _paint_fruit_label(canvas: Canvas, label: Label, icon: str) -> None:
    def on_label(outline: Points, x: float = 0, y: float = 0) -> Points:
        return place(outline + np.array([x, y]), MIDDLE, label.y, label.angle)

    colour = JUICES[icon]
    canvas.shape(on_label(box(86, 70, 3)), tint(colour, 0.85))
    canvas.shape(on_label(box(82, 66, 2.5)), PAPER)
    _ICONS[icon](canvas, on_label, colour)
    canvas.shape(on_label(box(62, 9, 2), 0, 25), tint(colour, 0.85))
    canvas.shape(on_label(box(44, 3.4), 0, 25), PAPER)


def _paint_orange(canvas: Canvas, on_label: Callable[[Points], Points], colour: Colour) -> None:
    canvas.shape(on_label(ellipse(0, -5, 21)), tint(colour, 0.85))
    canvas.shape(on_label(ellipse(0, -5, 18.5)), tint(colour, 1.55))
    for number in range(8):
        wedge = np.array([[3.2, 0], [15.5, -4.6], [16.8, 0], [15.5, 4.6]])
        canvas.shape(on_label(place(wedge, 0, -5, 45 * number + 20)), colour)
    canvas.shape(on_label(place(ellipse(9, 0, 9, 4), 8, -25, -20)), LEAF)


def _paint_cherry(canvas: Canvas, on_label: Callable[[Points], Points], colour: Colour) -> None:
    top = np.array([4.0, -29.0])
    for x, y in ((-14, 5), (15, 7)):
        stem = bezier(np.array([x, y - 9.0]), np.array([x * 0.9, -10.0]), np.array([x * 0.4, -24.0]), top, 14)
        canvas.shape(on_label(ribbon(stem, 2.4)), (84, 98, 44))
        canvas.shape(on_label(ellipse(x, y, 12.5)), colour)
        canvas.shape(on_label(ellipse(x - 4, y - 4, 3.4)), tint(colour, 1.6))
    canvas.shape(on_label(place(ellipse(10, 0, 11, 5), 4, -27, 15)), LEAF)


def _paint_apple(canvas: Canvas, on_label: Callable[[Points], Points], colour: Colour) -> None:
    for side in (-1, 1):
        canvas.shape(on_label(ellipse(7.5 * side, -4, 14.5, 18.5)), tint(colour, 0.8))
    for side in (-1, 1):
        canvas.shape(on_label(ellipse(7.5 * side - 0.8, -4.8, 12.5, 16.5)), colour)
    canvas.shape(on_label(ellipse(-10, -11, 4, 5)), tint(colour, 1.6))
    canvas.shape(on_label(place(box(3, 12, 1), 1, -25, 12)), (92, 66, 36))
    canvas.shape(on_label(place(ellipse(8, 0, 8, 3.6), 3, -27, -12)), LEAF)


def _paint_strip_label(canvas: Canvas, label: Label) -> None:
    def on_label(outline: Points, x: float = 0, y: float = 0) -> Points:
        return place(outline + np.array([x, y]), MIDDLE, label.y, label.angle)

    canvas.shape(on_label(box(86, 25, 2)), (52, 92, 70))
    canvas.shape(on_label(box(44, 4.5), -17, -5), PAPER)
    canvas.shape(on_label(box(32, 3), -23, 3), PAPER)
    canvas.shape(on_label(box(38, 3), -20, 8), PAPER)
    canvas.shape(on_label(box(30, 19), 25, 0), PAPER)
    for x, width in zip(range(13, 39, 3), (1.2, 2.0, 1.0, 1.6, 1.0, 2.2, 1.2, 1.8, 1.4), strict=True):
        canvas.shape(on_label(box(width, 15), x + 0.5, 0), INK)


_ICONS = {"orange": _paint_orange, "cherry": _paint_cherry, "apple": _paint_apple}
