"""Structural damage that can happen to any product: scratch, stain, crack and dent."""

from collections.abc import Callable

import cv2
import numpy as np

from anomalib_slsg.synthetic_loco.drawing import Canvas, Colour
from anomalib_slsg.synthetic_loco.scenes.base import DefectType
from anomalib_slsg.synthetic_loco.shapes import Points, blob, place, ribbon

Painter = Callable[[Canvas, Points, np.random.Generator], list[Points]]


def _walk(start: Points, heading: float, length: float, wander: float, rng: np.random.Generator) -> Points:
    """Path from a point that changes its heading (radians) at random, in 12 steps."""
    turns = heading + np.cumsum(rng.normal(0, wander, 12))
    steps = length / 12 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])


def _local_brightness(canvas: Canvas, place_: Points) -> float:
    column, row = np.clip((place_ * canvas.scale).astype(int), 8, canvas.pixels.shape[0] - 9)
    return float(canvas.pixels[row - 8 : row + 9, column - 8 : column + 9].mean())


def scratch(canvas: Canvas, middle: Points, rng: np.random.Generator) -> list[Points]:
    """Draw one long, slightly bent scratch, or two that run side by side.

    Args:
        canvas: What to draw on.
        middle: Where the scratch lies, shape (2,).
        rng: Decides length, direction and width.

    Returns:
        Outlines of the damage.
    """
    heading = rng.uniform(0, np.pi)
    length = rng.uniform(60, 110)
    direction = np.array([np.cos(heading), np.sin(heading)])
    bright = _local_brightness(canvas, middle) < 150
    core: Colour = (238, 238, 236) if bright else (74, 72, 70)
    edge: Colour = (60, 58, 56) if bright else (240, 240, 238)
    damage = []
    for number in range(int(rng.integers(1, 3))):
        offset = number * rng.uniform(5, 8) * np.array([-direction[1], direction[0]])
        path = _walk(middle - direction * length / 2 + offset, heading, length, 0.05, rng)
        taper = np.sin(np.linspace(0.25, np.pi - 0.25, len(path)))
        width = rng.uniform(2.6, 4.0)
        canvas.shape(ribbon(path + 0.7, width * taper), edge, opacity=0.6)
        canvas.shape(ribbon(path, width * taper * 0.75), core, opacity=0.9)
        damage.append(ribbon(path + 0.3, width * taper + 1.2))
        length *= 0.7
    return damage


def stain(canvas: Canvas, middle: Points, rng: np.random.Generator) -> list[Points]:
    """Draw a translucent stain with a darker rim, and a splash beside it (arguments as for ``scratch``)."""
    stains: tuple[Colour, ...] = ((64, 42, 22), (34, 36, 34), (110, 84, 20))
    colour = stains[rng.integers(len(stains))]
    # Dark stains do not show on dark parts.
    if _local_brightness(canvas, middle) < 80:
        colour = (190, 186, 170)
    radius = rng.uniform(11, 20)
    shapes = [place(blob(radius, rng), *middle)]
    turn = rng.uniform(0, 2 * np.pi)
    distance = radius * rng.uniform(1.3, 1.6)
    splash = middle + distance * np.array([np.cos(turn), np.sin(turn)])
    shapes.append(place(blob(rng.uniform(3, 5), rng), *splash))
    opacity = rng.uniform(0.5, 0.75)
    for shape in shapes:
        centre = shape.mean(axis=0)
        canvas.shape(shape, colour, opacity=opacity * 0.5, blur=0.5)
        canvas.shape(centre + (shape - centre) * 0.86, colour, opacity=opacity, blur=1.2)
    return shapes


def crack(canvas: Canvas, middle: Points, rng: np.random.Generator) -> list[Points]:
    """Draw a jagged dark crack with a lit edge and branches (arguments as for ``scratch``)."""
    heading = rng.uniform(0, 2 * np.pi)
    length = rng.uniform(55, 90)
    direction = np.array([np.cos(heading), np.sin(heading)])
    trunk = _walk(middle - direction * length / 2, heading, length, 0.3, rng)
    branches = [trunk]
    for joint in rng.choice(np.arange(3, 10), int(rng.integers(2, 4)), replace=False):
        turn = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
        branches.append(_walk(trunk[joint], turn, length * rng.uniform(0.2, 0.4), 0.3, rng))
    width = rng.uniform(2.4, 3.4)
    damage = []
    for number, path in enumerate(branches):
        taper = np.linspace(1.0, 0.35, len(path)) * (1.0 if number == 0 else 0.75)
        canvas.shape(ribbon(path + 1.0, width * taper), (236, 236, 232), opacity=0.55)
        damage.append(ribbon(path + 0.4, width * taper + 1.4))
    for number, path in enumerate(branches):
        taper = np.linspace(1.0, 0.35, len(path)) * (1.0 if number == 0 else 0.75)
        canvas.shape(ribbon(path, width * taper), (26, 24, 24), opacity=0.92)
    return damage


def dent(canvas: Canvas, middle: Points, rng: np.random.Generator) -> list[Points]:
    """Press the surface in: what is drawn there is drawn together, one side is lit (arguments as for ``scratch``)."""
    radius = rng.uniform(14, 22)
    outline = place(blob(radius, rng, roughness=0.12), *middle)
    _pinch(canvas, middle, radius)
    light = np.array([0.6, 0.8])
    canvas.gradient(
        outline,
        [(0.0, (8, 8, 12), 0.75), (0.45, (8, 8, 12), 0.25), (0.55, (255, 255, 255), 0.1), (1.0, (255, 255, 255), 0.65)],
        middle - light * radius,
        middle + light * radius,
    )
    return [outline]


def _pinch(canvas: Canvas, middle: Points, radius: float) -> None:
    """Move the drawing within a circle towards its middle, most at half the radius."""
    side = canvas.pixels.shape[0]
    centre, reach = middle * canvas.scale, radius * canvas.scale
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, side).astype(int)
    rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    across, down = columns - np.float32(centre[0]), rows - np.float32(centre[1])
    distance = np.minimum(np.hypot(across, down) / np.float32(reach), 1)
    factor = 1 + 0.6 * (1 - distance) ** 2
    moved = cv2.remap(
        canvas.pixels,
        (np.float32(centre[0]) + across * factor).astype(np.float32),
        (np.float32(centre[1]) + down * factor).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    canvas.pixels[low[1] : high[1], low[0] : high[0]] = moved


STRUCTURAL: dict[DefectType, Painter] = {
    DefectType("scratch", 1.0, relative=True): scratch,
    DefectType("stain", 0.7, relative=True): stain,
    DefectType("crack", 1.0, relative=True): crack,
    DefectType("dent", 350, relative=False): dent,
}
