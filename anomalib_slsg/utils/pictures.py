"""Writing of pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
from cv2.typing import MatLike

from anomalib_slsg.utils.files import write_atomically


def write_png(path: Path, pixels: MatLike, settings: Sequence[int] = ()) -> None:
    """Write a picture, as :func:`write_atomically` does.

    OpenCV's own writer fails without a word where a path's letters are not the system's.

    Args:
        path: The file.
        pixels: Grey levels of shape (H, W), or blue, green and red of shape (H, W, 3), uint8.
        settings: OpenCV's, in pairs of a flag and its value.

    Raises:
        OSError: If it cannot be encoded or written, naming the file.
    """
    done, data = cv2.imencode(".png", pixels, settings)
    if not done:
        raise OSError(f"OpenCV could not encode {path}.")
    write_atomically(path, lambda temporary: temporary.write_bytes(data.tobytes()))
