"""A drawing surface with anti-aliasing, translucency, soft edges and colour gradients."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_slsg.synthetic_loco.shapes import Points

Colour = tuple[int, int, int]
Image = NDArray[np.uint8]

# Scenes are laid out on a square of this side, whatever the image size.
UNITS = 256
# Scenes are drawn at least this much larger than the image, then reduced by area averaging.
_OVERSAMPLING = 2
# OpenCV draws at fixed-point coordinates; this many bits are the fraction.
_FRACTION_BITS = 4


class Canvas:
    """RGB drawing surface that is addressed in units of 1/256 of its side.

    Args:
        pixels: What to draw on, RGB, shape (side, side, 3); it is changed in place.

    Attributes:
        scale: Pixels of the surface per unit.
        pixels: What has been drawn so far, RGB, shape (side, side, 3).
    """

    def __init__(self, pixels: Image) -> None:
        self.scale = pixels.shape[0] / UNITS
        self.pixels = pixels

    @classmethod
    def blank(cls, size: int) -> "Canvas":
        """Black surface for an image of ``size`` pixels a side; its own side is a multiple of that.

        It has at least one pixel for a unit: OpenCV draws outlines about a quarter of a pixel too wide on either side.
        """
        side = size * max(_OVERSAMPLING, -(-UNITS // size))
        return cls(np.zeros((side, side, 3), dtype=np.uint8))

    def area(self, *outlines: Points) -> Image:
        """Pixels within any of some outlines, as 0 or 255, shape (side, side)."""
        mask: Image = np.zeros(self.pixels.shape[:2], dtype=np.uint8)
        for outline in outlines:
            cv2.fillPoly(mask, [self._fixed(outline)], 255, shift=_FRACTION_BITS)
        return mask

    def shape(self, outline: Points, colour: Colour, opacity: float = 1.0, blur: float = 0.0) -> None:
        """Fill an outline.

        Args:
            outline: Closed outline, shape (N, 2).
            colour: Colour of the inside.
            opacity: 1 covers what is below, 0 leaves it.
            blur: Softness of the edge (standard deviation), in units.
        """
        if opacity >= 1 and blur <= 0:
            cv2.fillPoly(self.pixels, [self._fixed(outline)], colour, cv2.LINE_AA, _FRACTION_BITS)
            return
        alpha, window = self._soft_area(outline, blur)
        self._blend(window, np.full_like(self.pixels[window], colour), alpha * np.float32(opacity))

    def gradient(
        self, outline: Points, stops: Sequence[tuple[float, Colour, float]], start: Points, end: Points
    ) -> None:
        """Fill an outline with a colour and opacity that change along a line.

        Args:
            outline: Closed outline, shape (N, 2).
            stops: (position in [0, 1], colour, opacity), positions rising.
            start: Point of position 0, shape (2,).
            end: Point of position 1, shape (2,).
        """
        alpha, (rows, columns) = self._soft_area(outline, 0.0)
        axis = (end - start) / np.sum((end - start) ** 2)
        along_x = (np.arange(columns.start, columns.stop) / self.scale - start[0]) * axis[0]
        along_y = (np.arange(rows.start, rows.stop) / self.scale - start[1]) * axis[1]
        along = along_y.astype(np.float32)[:, None] + along_x.astype(np.float32)[None, :]
        index = np.clip(along * 255, 0, 255).astype(np.uint8)
        positions = [stop[0] for stop in stops]
        values = np.array([(*stop[1], stop[2]) for stop in stops], dtype=np.float64)
        table = np.stack([np.interp(np.linspace(0, 1, 256), positions, channel) for channel in values.T], axis=1)
        colours = np.take(table[:, :3].round().astype(np.uint8), index, axis=0)
        self._blend((rows, columns), colours, alpha * np.take(table[:, 3].astype(np.float32), index))

    def shadow(self, outline: Points, height: float, opacity: float = 0.4) -> None:
        """Darken what lies behind an object of a given height, the light coming from the upper left."""
        self.shape(outline + np.array([0.6, 0.8]) * height, (15, 18, 25), opacity, blur=0.5 + 0.45 * height)

    def _fixed(self, outline: Points) -> NDArray[np.int32]:
        """Pixel coordinates of an outline as OpenCV's fixed-point numbers (pixel centres at whole numbers)."""
        fixed: NDArray[np.int32] = np.round((outline * self.scale - 0.5) * (1 << _FRACTION_BITS)).astype(np.int32)
        return fixed

    def _soft_area(self, outline: Points, blur: float) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
        """Coverage in [0, 1], shape (h, w), of an outline within the window that it needs, and that window."""
        side = self.pixels.shape[0]
        margin = 3 * blur * self.scale + 2
        low = np.clip(np.floor(outline.min(axis=0) * self.scale - margin), 0, side - 1).astype(int)
        high = np.clip(np.ceil(outline.max(axis=0) * self.scale + margin), low + 1, side).astype(int)
        mask: Image = np.zeros((high[1] - low[1], high[0] - low[0]), dtype=np.uint8)
        cv2.fillPoly(mask, [self._fixed(outline - low / self.scale)], 255, cv2.LINE_AA, _FRACTION_BITS)
        if blur > 0:
            mask = _blurred(mask, blur * self.scale)
        window = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
        return mask * np.float32(1 / 255), window

    def _blend(self, window: tuple[slice, slice], above: Image, alpha: NDArray[np.float32]) -> None:
        """Lay an image, shape (h, w, 3), over a window of the surface with an opacity in [0, 1], shape (h, w)."""
        self.pixels[window] = cv2.blendLinear(above, self.pixels[window], alpha, 1 - alpha)


def _blurred(mask: Image, sigma: float) -> Image:
    """Blur by a Gaussian; wide ones at half the resolution, which shows no difference and takes a fifth of the time."""
    if sigma < 2.5 or min(mask.shape) < 8:
        return cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    half = cv2.resize(mask, (mask.shape[1] // 2, mask.shape[0] // 2), interpolation=cv2.INTER_AREA)
    half = cv2.GaussianBlur(half, (0, 0), sigma / 2, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(half, (mask.shape[1], mask.shape[0])).astype(np.uint8, copy=False)


def tint(colour: Colour, factor: float) -> Colour:
    """Lighten (factor above 1) or darken (below 1) a colour; lightening goes towards white."""
    target = 255.0 if factor > 1 else 0.0
    share = min(abs(factor - 1), 1.0)
    red, green, blue = (round(channel + share * (target - channel)) for channel in colour)
    return red, green, blue
