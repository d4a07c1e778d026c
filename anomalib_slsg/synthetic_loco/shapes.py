"""Outlines as point lists, in units of 1/256 of the image side (x to the right, y down)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def place(points: Points, x: float, y: float, angle: float = 0.0) -> Points:
    """Turn an outline about the origin and move the origin to a place.

    Args:
        points: Outline, shape (N, 2).
        x: Horizontal position of the outline's origin.
        y: Vertical position of the outline's origin.
        angle: Clockwise turn on the screen, in degrees.

    Returns:
        The moved outline, shape (N, 2).
    """
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    placed: Points = points @ matrix + np.array([x, y])
    return placed


@lru_cache(maxsize=256)
def polygon(corners: int, radius: float) -> Points:
    """Regular polygon about the origin, its first corner on the positive x axis (a shared array: read only)."""
    turns = 2 * np.pi * np.arange(corners) / corners
    return _read_only(radius * np.stack([np.cos(turns), np.sin(turns)], axis=1))


def ellipse(x: float, y: float, radius_x: float, radius_y: float | None = None) -> Points:
    """Ellipse (a circle if ``radius_y`` is left out) about (x, y), as 48 points."""
    radii = np.array([radius_x, radius_x if radius_y is None else radius_y])
    outline: Points = polygon(48, 1.0) * radii + np.array([x, y])
    return outline


@lru_cache(maxsize=256)
def box(width: float, height: float, corner: float = 0.0) -> Points:
    """Rectangle about the origin with rounded corners of radius ``corner`` (a shared array: read only)."""
    if corner <= 0:
        return _read_only(np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([width, height]) / 2)
    arcs = []
    for number, (sign_x, sign_y) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        turns = np.deg2rad(90 * number + np.linspace(0, 90, 8))
        middle = np.array([sign_x * (width / 2 - corner), sign_y * (height / 2 - corner)])
        arcs.append(middle + corner * np.stack([np.cos(turns), np.sin(turns)], axis=1))
    return _read_only(np.concatenate(arcs))


def ribbon(path: Points, width: float | Points) -> Points:
    """Outline of a band of a given width along a path.

    Args:
        path: Middle line, shape (N, 2).
        width: Width of the band, one number or one for each point, shape (N,).

    Returns:
        Closed outline, shape (2N, 2).
    """
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * (np.asarray(width) / 2 * np.ones(len(path)))[:, None]
    return np.concatenate([path + across, (path - across)[::-1]])


def bezier(start: Points, control_a: Points, control_b: Points, end: Points, steps: int = 32) -> Points:
    """Cubic Bezier curve as ``steps`` points, shape (steps, 2)."""
    t = np.linspace(0, 1, steps)[:, None]
    return (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * control_a + 3 * (1 - t) * t**2 * control_b + t**3 * end


def blob(radius: float, rng: np.random.Generator, roughness: float = 0.25) -> Points:
    """Irregular closed outline about the origin.

    Args:
        radius: Mean distance of the outline from the origin.
        rng: Source of the shape.
        roughness: Amplitude of the harmonics that bend the circle, as a share of the radius.

    Returns:
        Outline, shape (64, 2).
    """
    turns = 2 * np.pi * np.arange(64) / 64
    distance = np.ones(64)
    for harmonic in range(2, 6):
        distance += roughness / harmonic * rng.normal() * np.sin(harmonic * turns + rng.uniform(0, 2 * np.pi))
    distance = np.clip(distance, 0.4, 1.8)
    outline: Points = radius * distance[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return outline


def _read_only(points: Points) -> Points:
    points.setflags(write=False)
    return points
