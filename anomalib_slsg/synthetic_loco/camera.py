"""What the camera adds to a scene: a little turn and shift, uneven light, exposure and sensor noise."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_slsg.synthetic_loco.drawing import UNITS, Image


@dataclass(frozen=True)
class Camera:
    """One exposure.

    Attributes:
        angle: Turn of the product, in degrees.
        shift: Displacement of the product (x, y), in units of 1/256 of the image side.
        exposure: Gain of the three colour channels.
        light: Change of brightness from the middle to the right and to the lower edge, as a share.
        noise: Standard deviation of the sensor noise, in grey levels.
        noise_seed: Seed of the sensor noise and of the clouds in the light.
    """

    angle: float
    shift: tuple[float, float]
    exposure: tuple[float, float, float]
    light: tuple[float, float]
    noise: float
    noise_seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Camera":
        """Draw an exposure as it varies from product to product on one line."""
        gain = rng.uniform(0.94, 1.06)
        white_balance = rng.normal(1, 0.008, 3)
        return cls(
            angle=float(rng.uniform(-2, 2)),
            shift=(float(rng.uniform(-3, 3)), float(rng.uniform(-3, 3))),
            exposure=(gain * white_balance[0], gain * white_balance[1], gain * white_balance[2]),
            light=(float(rng.uniform(-0.07, 0.07)), float(rng.uniform(-0.07, 0.07))),
            noise=float(rng.uniform(1.8, 3.0)),
            noise_seed=int(rng.integers(2**32)),
        )

    def photograph(self, pixels: Image, size: int) -> Image:
        """Turn a drawing into an image.

        Args:
            pixels: RGB drawing, shape (side, side, 3).
            size: Side of the image, in pixels; the drawing's is a multiple.

        Returns:
            RGB image, shape (size, size, 3).
        """
        image = self._reduce(pixels, size).astype(np.float32)
        rng = np.random.default_rng(self.noise_seed)
        ramp = np.linspace(-1, 1, size, dtype=np.float32)
        clouds = cv2.resize(rng.normal(1, 0.012, (5, 5)), (size, size), interpolation=cv2.INTER_CUBIC)
        light = clouds.astype(np.float32) + self.light[0] * ramp[None, :] + self.light[1] * ramp[:, None]
        image *= light[..., None] * np.asarray(self.exposure, dtype=np.float32)
        image += np.float32(self.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        return cv2.convertScaleAbs(np.maximum(image, 0, out=image)).astype(np.uint8, copy=False)

    def photograph_mask(self, mask: Image, size: int) -> NDArray[np.bool_]:
        """Take a mask of the drawing to the image.

        Args:
            mask: 0 or 255, shape (side, side).
            size: Side of the image, in pixels; the drawing's is a multiple.

        Returns:
            True where at least half of a pixel is covered, shape (size, size). Where nothing is covered so far
            (thin shapes in small images), the pixels that are covered most: a mask that held something still does.
        """
        coverage = self._reduce(mask, size)
        covered: NDArray[np.bool_] = coverage >= np.clip(coverage.max(), 1, 128)
        return covered

    def _reduce(self, pixels: Image, size: int) -> Image:
        side = pixels.shape[0]
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), self.angle, 1.0)
        matrix[:, 2] += np.asarray(self.shift) * side / UNITS
        # Replicated edges continue the plain background; products stay clear of the edge.
        turned = cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(turned, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
