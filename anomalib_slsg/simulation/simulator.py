"""Simulated anomalies for the training of SegNet (paper section 3.2, equation 1, Fig. 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from anomalib_slsg.simulation.dtd import DEFAULT_FOLDER, fetch_dtd
from anomalib_slsg.simulation.foreground import Foreground
from anomalib_slsg.simulation.options import REFERENCE_SIZE, SimulationOptions
from anomalib_slsg.simulation.perlin import perlin_fields, rectangle_fields, rotate
from anomalib_slsg.simulation.photometric import random_photometric
from anomalib_slsg.simulation.sources import TextureBank, shuffled_grid

AnomalyKind = Literal["texture", "shuffled", "logical"]

# Masks that are drawn at once per image; the first that is large enough is taken.
CANDIDATES = 4
# Sides of rectangular masks as shares of the image's side.
STRUCTURAL_SIDES = (0.04, 0.35)
LOGICAL_SIDES = (0.2, 0.6)


class SimulatedBatch(NamedTuple):
    """Simulated anomalous images.

    Args:
        image: (B, 3, H, W) in [0, 1], I_A of equation 1.
        mask: (B, 1, H, W) of 0 and 1, the labels: M of equation 1, or its visible part with ``minimum_change``.
        logical: (B,) booleans, true for logical and false for structural anomalies.
        foreground: (B, 1, H, W) of 0 and 1, where anomalies were allowed.
        noise: (B, 1, H, W) the field that M is the positive part of, within the foreground.
        source: B times (3, H, W), I_N of equation 1.
    """

    image: Tensor
    mask: Tensor
    logical: Tensor
    foreground: Tensor
    noise: Tensor
    source: Sequence[Tensor]


def superimpose(image: Tensor, source: Sequence[Tensor] | Tensor, mask: Tensor, delta: Tensor) -> Tensor:
    """Equation 1: I_A = (1 - M) * I + M * (delta * I_N + (1 - delta) * I), that is I moved towards I_N by M * delta.

    Args:
        image: (B, C, H, W) normal image I.
        source: (B, C, H, W) noise source image I_N, or a sequence of B of them, (C, H, W) each.
        mask: (B, 1, H, W) of 0 and 1, M.
        delta: Opacity in [0, 1], (B, 1, 1, 1).

    Returns:
        (B, C, H, W).
    """
    weight = mask * delta
    result = torch.empty_like(image)
    for place, noise_source in enumerate(source):  # one by one: stacking them would copy them once more
        torch.lerp(image[place], noise_source, weight[place], out=result[place])
    return result


class AnomalySimulator(nn.Module):
    """Turns normal images into structural and logical anomalies with pixel labels.

    A mask is binarised noise within the foreground. It is filled from a texture, from the image's own shuffled cells
    (both structural) or from another normal image (logical), more or less opaquely.

    Works in 32 bit on the images' device, whatever the surrounding precision, and never waits for the device.

    Args:
        options: What to simulate; ``None``: their defaults.
    """

    def __init__(self, options: SimulationOptions | None = None) -> None:
        super().__init__()
        self.options = options or SimulationOptions()
        self.foreground = Foreground(self.options.foreground)
        self._textures: TextureBank | None = None

    def fit(self, images: Tensor) -> None:
        """Find out from normal images (N, 3, H, W) in [0, 1] where anomalies may lie; see :class:`Foreground`."""
        self.foreground.fit(images)

    def prepare(self, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        """Open the texture folder, or draw the procedural textures, for images of ``size = (H, W)``.

        Happens at the first use otherwise.

        Raises:
            FileNotFoundError: If ``dtd_dir`` does not exist.
            ValueError: If it holds no images.
        """
        self._texture_bank().prepare(size, device)

    def free_textures(self) -> None:
        """Let go of the textures, which are opened again at the next use."""
        self._textures = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the textures out of exported models."""
        return {**self.__dict__, "_textures": None}

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        others: Tensor | None,
        generator: torch.Generator | None = None,
        kind: AnomalyKind | None = None,
    ) -> SimulatedBatch:
        """Simulate one anomaly per image.

        Args:
            images: (B, 3, H, W) normal images, RGB in [0, 1].
            others: (B, 3, H, W) further normal images, none of which is the image at the same place; ``None`` if there
                are none: all anomalies are structural then.
            generator: CPU generator of all random numbers; ``None``: torch's global one.
            kind: The kind for all images; ``None``: drawn per image with the options' probabilities.

        Returns:
            Images, masks and foreground in the images' dtype.

        Raises:
            ValueError: If the shapes are not as said, or ``kind`` is logical and there are no others.
            RuntimeError: If the foreground has not been fitted.
        """
        if kind == "logical" and others is None:
            raise ValueError("logical anomalies need other normal images")
        structural_probability = 1.0 if others is None else self.options.structural_probability
        others = images if others is None else others
        _check_batch(images, others)
        with torch.autocast(images.device.type, enabled=False):
            normal = images.float()
            drawn = self._draw_kinds(len(images), structural_probability, generator)
            kinds = drawn if kind is None else [kind] * len(images)
            logical = torch.tensor([name == "logical" for name in kinds])
            foreground = self._usable_foreground(normal)
            mask, noise = self._draw_mask(foreground, logical, generator)
            sources = self._draw_sources(normal, others.float(), kinds, generator)
            delta = self._draw_opacity(logical, generator).to(normal.device, non_blocking=True)
            image = superimpose(normal, sources, mask, delta)
            label = self._visible(mask, normal, image)
        logical = logical.to(images.device, non_blocking=True)
        return SimulatedBatch(image.to(images), label.to(images), logical, foreground.to(images), noise, sources)

    def _texture_bank(self) -> TextureBank:
        if self._textures is None:
            folder = self.options.dtd_dir
            if self.options.download_dtd:
                folder = folder or str(DEFAULT_FOLDER)
                fetch_dtd(Path(folder))
            self._textures = TextureBank(folder)
        return self._textures

    def _draw_kinds(
        self, number: int, structural_probability: float, generator: torch.Generator | None
    ) -> list[AnomalyKind]:
        kinds: list[AnomalyKind] = []
        for structural, texture in torch.rand(number, 2, generator=generator).tolist():
            if structural >= structural_probability:
                kinds.append("logical")
            else:
                kinds.append("texture" if texture < self.options.texture_probability else "shuffled")
        return kinds

    def _minimum_area(self, size: torch.Size | tuple[int, int]) -> int:
        """Smallest mask in pixels of an image of this size."""
        return max(1, round(self.options.minimum_area * size[0] * size[1] / REFERENCE_SIZE**2))

    def _usable_foreground(self, images: Tensor) -> Tensor:
        """Foreground (B, 1, H, W); the whole image where the object is too small for a mask."""
        foreground = self.foreground(images)
        area = foreground.sum(dim=(1, 2, 3), keepdim=True)
        too_small = area < self._minimum_area(images.shape[-2:])
        return torch.maximum(foreground, too_small.float())

    def _draw_mask(
        self, foreground: Tensor, logical: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Binarised noise within the foreground, never smaller than the minimum area, and the noise: (B, 1, H, W)."""
        batch, _, height, width = foreground.shape
        candidates = logical.repeat_interleave(CANDIDATES)
        fields = self._draw_fields((height, width), candidates, generator, foreground.device)
        fields = fields.view(batch, CANDIDATES, height, width)
        noise = fields.masked_fill(foreground == 0, -math.inf)
        minimum = self._minimum_area((height, width))
        area = (noise > 0).sum(dim=(2, 3))
        # the first candidate that is large enough, or else the largest
        first = torch.arange(batch, device=noise.device), area.clamp(max=minimum).argmax(dim=1)
        chosen = noise[first]
        # the mask is what lies above 0; should that be too little, the threshold sinks until it is not
        lowest = chosen.flatten(1).topk(minimum, dim=1).values[:, -1, None, None]
        mask = chosen >= lowest.clamp(max=torch.finfo(noise.dtype).tiny)
        return mask.unsqueeze(1).to(noise.dtype), fields[first].unsqueeze(1)

    def _draw_fields(
        self, size: tuple[int, int], logical: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        """One random field per entry of ``logical`` (N,): (N, H, W)."""
        options = self.options
        if options.noise == "rectangle":
            sides = torch.where(logical.unsqueeze(1), torch.tensor(LOGICAL_SIDES), torch.tensor(STRUCTURAL_SIDES))
            return rectangle_fields(size, sides, generator, device)
        exponents = torch.tensor([options.structural_periods, options.logical_periods])[logical.long()]  # (N, 2)
        low, high = exponents.unsqueeze(1).unbind(-1)  # (N, 1) each
        draws = torch.rand(len(logical), 2, generator=generator)
        periods = 2 ** (low + draws * (high - low + 1)).long()
        threshold = torch.tensor([options.structural_threshold, options.logical_threshold])[logical.long()]
        return perlin_fields(size, periods, threshold, generator, device)

    def _draw_opacity(self, logical: Tensor, generator: torch.Generator | None) -> Tensor:
        ranges = torch.tensor([self.options.structural_opacity, self.options.logical_opacity])[logical.long()]
        low, high = ranges.unbind(1)
        return (low + torch.rand(len(logical), generator=generator) * (high - low))[:, None, None, None]

    def _draw_sources(
        self, images: Tensor, others: Tensor, kinds: list[AnomalyKind], generator: torch.Generator | None
    ) -> list[Tensor]:
        """Noise source image I_N of every image, by its kind: B times (3, H, W)."""
        source: dict[int, Tensor] = {}
        for kind in sorted(set(kinds)):
            places = [place for place, name in enumerate(kinds) if name == kind]
            source.update(zip(places, self._draw_kind(kind, places, images, others, generator), strict=True))
        return [source[place] for place in range(len(images))]

    def _draw_kind(
        self, kind: AnomalyKind, places: list[int], images: Tensor, others: Tensor, generator: torch.Generator | None
    ) -> Iterable[Tensor]:
        """Source images (3, H, W) of one kind for the images at the given places of the batch."""
        changes = kind == "texture" or self.options.photometric_sources == "all"
        if kind == "logical":
            turned = self._turn_some([others[place] for place in places], generator)
            if not changes:
                return turned  # stacking them would copy them
            sources = torch.stack(turned)
        elif kind == "shuffled":
            own = torch.stack([images[place] for place in places])
            sources = shuffled_grid(own, self.options.grid_cells, generator)
        else:
            size = (images.shape[2], images.shape[3])
            sources = self._texture_bank().sample(len(places), size, generator, images.device)
        return random_photometric(sources, self.options.photometric_operations, generator) if changes else sources

    def _turn_some(self, images: list[Tensor], generator: torch.Generator | None) -> list[Tensor]:
        """Turn some of the images (3, H, W)."""
        draws = torch.rand(len(images), 2, generator=generator).tolist()
        result = []
        for image, (turn, angle) in zip(images, draws, strict=True):
            if turn < self.options.logical_turn_probability:
                degrees = torch.tensor([(2 * angle - 1) * self.options.logical_turn_degrees])
                image = rotate(image.unsqueeze(0), degrees.to(image.device, non_blocking=True))[0]  # noqa: PLW2901
            result.append(image)
        return result

    def _visible(self, mask: Tensor, normal: Tensor, image: Tensor) -> Tensor:
        """The labelled part of the mask: all of it, or what changed by more than ``minimum_change``."""
        if self.options.minimum_change == 0:
            return mask
        change = (image - normal).abs().amax(dim=1, keepdim=True)
        return mask * (change > self.options.minimum_change)


def _check_batch(images: Tensor, others: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"images must be (B, 3, H, W) floating point, got {tuple(images.shape)} {images.dtype}")
    if others.shape != images.shape:
        raise ValueError(f"others must have the images' shape {tuple(images.shape)}, got {tuple(others.shape)}")
