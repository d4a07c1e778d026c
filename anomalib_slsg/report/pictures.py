"""Pictures for a file that has a size limit: read, coloured, outlined and compressed."""

import base64
import math
from pathlib import Path

import cv2
import numpy as np

from anomalib_slsg.utils.images import read_rgb

COLOURS = cv2.COLORMAP_INFERNO  # for every map, from 0 to 1
STEPS = ((480, 85), (320, 80), (256, 75), (192, 65), (128, 50), (64, 30))  # longest side and JPEG quality
MAX_POINTS = 300  # of an outline


class ImageFiles:
    """Reads the images that a table names, and remembers those that cannot be read.

    Args:
        folder: The table's folder, below which the images are looked for that are not where their names say.

    Attributes:
        faults: What is wrong with each image that could not be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.faults: dict[str, str] = {}

    def read(self, name: str | None, may_be_gone: bool = False) -> np.ndarray | None:
        """Read an image.

        Args:
            name: Its file, if it has one.
            may_be_gone: Whether it is no fault that there is no such file.

        Returns:
            Array of shape (H, W, 3), uint8; ``None`` if there is no file or it cannot be read.
        """
        if name is None:
            return None
        try:
            return read_rgb(name if Path(name).is_file() else self._folder / name)
        except FileNotFoundError:
            if not may_be_gone:
                self.faults[name] = f"'{name}' is missing"
        except ValueError as error:
            self.faults[name] = str(error)
        return None


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """Make an image smaller, if it is larger, so that its longest side has ``side`` pixels."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def embed(image: np.ndarray | None, most: int) -> str | None:
    """Make an address that holds an image itself, as JPEG.

    Args:
        image: Array of shape (H, W, 3), uint8, if there is one.
        most: How many characters it may take; the picture is made smaller until it fits.

    Returns:
        The address, or ``None`` without an image.
    """
    if image is None:
        return None
    address = ""
    for side, quality in STEPS:
        small = cv2.cvtColor(shrink(image, side), cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        address = "data:image/jpeg;base64," + base64.b64encode(data).decode()
        if len(address) <= most:
            break
    return address


def colour(heat_map: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Colour a map, the same for all images, and give it its image's aspect.

    Args:
        heat_map: Grey levels of shape (H, W), uint8, if there is a map.
        shape: Height and width of the image.

    Returns:
        Array of shape (H', W', 3), uint8.
    """
    if heat_map is None:
        return None
    factor = STEPS[0][0] / max(shape[:2])
    size = (max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor)))
    return cv2.cvtColor(cv2.applyColorMap(cv2.resize(heat_map, size), COLOURS), cv2.COLOR_BGR2RGB)


def colour_scale(number: int = 9) -> list[str]:
    """List the colours of maps from 0 to 1, as HTML writes them."""
    levels = np.linspace(0, 255, number).round().astype(np.uint8)[:, None]
    return [
        "#{2:02x}{1:02x}{0:02x}".format(*blue_green_red[0]) for blue_green_red in cv2.applyColorMap(levels, COLOURS)
    ]


def outline(heat_map: np.ndarray | None, threshold: float) -> str:
    """Draw a line around the regions above a threshold.

    Args:
        heat_map: Grey levels of shape (H, W), uint8, if there is a map.
        threshold: In [0, 1].

    Returns:
        Path of SVG, in units of a thousandth of width and height; empty where nothing exceeds the threshold.
    """
    if heat_map is None:
        return ""
    above = np.pad((heat_map > threshold * 255).astype(np.uint8), 1)
    contours = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    contours = sorted(contours, key=cv2.contourArea, reverse=True)[: MAX_POINTS // 10]
    tolerance = 0.5  # pixels
    while sum(map(len, contours)) > MAX_POINTS and tolerance < math.hypot(*heat_map.shape):
        contours = [cv2.approxPolyDP(contour, tolerance, closed=True) for contour in contours]
        tolerance *= 2
    scale = 1000 / np.array([heat_map.shape[1], heat_map.shape[0]])
    lines = [((contour[:, 0] - 0.5) * scale).round().astype(int).tolist() for contour in contours]
    return "".join("M" + "L".join(f"{x} {y}" for x, y in line) + "Z" for line in lines)
