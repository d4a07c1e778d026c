"""Noise source images I_N of structural anomalies (section 3.2): foreign textures, and an image's shuffled cells."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import cv2
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from anomalib_slsg.simulation.texture import procedural_textures
from anomalib_slsg.utils.images import list_images, read_rgb

logger = logging.getLogger(__name__)

PROCEDURAL_TEXTURES = 64
PROCEDURAL_SEED = 0
CACHED_BYTES = 256 * 2**20
# Textures are kept larger than needed by this factor; every use crops a random part.
MARGIN = 1.25


class TextureBank:
    """Textures from a folder, or procedural ones.

    Args:
        dtd_dir: Folder with texture images, searched recursively; ``None``: procedural textures, said once in the log.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds no images.
    """

    def __init__(self, dtd_dir: str | Path | None = None) -> None:
        self.files: list[Path] = []
        self._canvas: tuple[int, int] | None = None
        self._procedural = torch.empty(0)
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0
        if dtd_dir is None:
            logger.info("simulation.dtd_dir is not set: procedural colour textures take the place of DTD")
            return
        if not Path(dtd_dir).is_dir():
            raise FileNotFoundError(
                f"simulation.dtd_dir: the folder {dtd_dir} does not exist. Give the folder of DTD, or null."
            )
        self.files = list_images(Path(dtd_dir))
        if not self.files:
            raise ValueError(f"simulation.dtd_dir: no images ({', '.join(IMG_EXTENSIONS)}) below {dtd_dir}")

    def prepare(self, size: tuple[int, int], device: torch.device | str) -> None:
        """Get ready for images of ``size = (H, W)`` on a device; procedural textures are drawn here, once per size."""
        canvas = (math.ceil(MARGIN * size[0]), math.ceil(MARGIN * size[1]))
        if canvas != self._canvas:
            self._canvas = canvas
            self._cache.clear()
            self._cached_bytes = 0
            if not self.files:
                # A fixed seed: what a generator yields must not depend on whether the bank was there already.
                generator = torch.Generator().manual_seed(PROCEDURAL_SEED)
                drawn = procedural_textures(PROCEDURAL_TEXTURES, canvas, generator)
                self._procedural = (drawn * 255).round().to(torch.uint8)
        self._procedural = self._procedural.to(device)

    def sample(
        self,
        number: int,
        size: tuple[int, int],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw textures: a random one each, cropped at random and mirrored at random.

        Args:
            number: How many.
            size: Height and width in pixels.
            generator: CPU generator of all random numbers; ``None``: torch's global one.
            device: Where the textures are wanted.

        Returns:
            (number, 3, H, W) in [0, 1].

        Raises:
            ValueError: If a texture file cannot be decoded.
        """
        self.prepare(size, device)
        crops = []
        for choice in torch.rand(number, 5, generator=generator).tolist():
            texture = self._texture(choice[0])
            top = int(choice[1] * (texture.shape[1] - size[0] + 1))
            left = int(choice[2] * (texture.shape[2] - size[1] + 1))
            crop = texture[:, top : top + size[0], left : left + size[1]]
            mirrored = [dim for dim, number in ((1, choice[3]), (2, choice[4])) if number < 0.5]
            crops.append(crop.flip(mirrored))
        if not crops:
            return torch.empty(0, 3, *size, device=device)
        return torch.stack(crops).to(device, non_blocking=True).float().div_(255)

    def _texture(self, choice: float) -> Tensor:
        """Texture at a place in [0, 1) of the bank: (3, H', W') uint8, at least as large as the canvas."""
        if not self.files:
            return self._procedural[int(choice * len(self._procedural))]
        index = int(choice * len(self.files))
        if index in self._cache:
            return self._cache[index]
        texture = self._load(self.files[index])
        if self._cached_bytes + texture.nbytes <= CACHED_BYTES:
            self._cache[index] = texture
            self._cached_bytes += texture.nbytes
        return texture

    def _load(self, path: Path) -> Tensor:
        """Read a file and scale it so that it just covers the canvas."""
        assert self._canvas is not None
        pixels = read_rgb(path)
        scale = max(canvas / side for canvas, side in zip(self._canvas, pixels.shape[:2], strict=True))
        height, width = (
            max(canvas, round(scale * side)) for canvas, side in zip(self._canvas, pixels.shape[:2], strict=True)
        )
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (width, height), interpolation=interpolation)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def shuffled_grid(images: Tensor, cells: int, generator: torch.Generator | None = None) -> Tensor:
    """Cut every image into a grid and permute its cells at random: the homologous structural source.

    Args:
        images: (B, C, H, W). Where a side is no multiple of ``cells``, it is continued by reflection to the next
            multiple first and cut back afterwards.
        cells: Cells per side.
        generator: CPU generator of all random numbers; ``None``: torch's global one.

    Returns:
        (B, C, H, W), every image shuffled in its own way.

    Raises:
        ValueError: If an image has fewer pixels than ``cells`` along one side.
    """
    batch, _, height, width = images.shape
    if cells > min(height, width):
        raise ValueError(f"simulation.grid_cells must not exceed the image's {height}x{width} pixels, got {cells}")
    if height % cells or width % cells:
        images = F.pad(images, (0, -width % cells, 0, -height % cells), mode="reflect")
    grid = torch.unflatten(torch.unflatten(images, 3, (cells, -1)), 2, (cells, -1))  # (B, C, rows, h, columns, w)
    flat = grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (B, cells, C, h, w)
    order = torch.rand(batch, cells * cells, generator=generator).argsort(dim=1).to(images.device, non_blocking=True)
    shuffled = flat[torch.arange(batch, device=images.device).unsqueeze(1), order]
    back = torch.unflatten(shuffled, 1, (cells, cells)).permute(0, 3, 1, 4, 2, 5)  # (B, C, rows, h, columns, w)
    return back.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
