"""Procedural colour textures, which take the place of DTD (paper section 3.2, [45]) when no folder is given."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from anomalib_slsg.simulation.perlin import perlin_noise

PALETTE_COLOURS = 4


def procedural_textures(number: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Draw colour textures of many kinds: clouds, marble, stripes, checkers, dots, weave, cells and speckle.

    Args:
        number: How many; the kinds take turns.
        size: Height and width in pixels.
        generator: CPU generator of all random numbers; ``None``: torch's global one.

    Returns:
        (number, 3, H, W) in [0, 1], on the CPU.
    """
    textures = torch.empty(number, 3, *size)
    for kind, draw in enumerate(PATTERNS):
        count = len(range(kind, number, len(PATTERNS)))
        if count:
            textures[kind :: len(PATTERNS)] = _colour(draw(count, size, generator), generator)
    return textures


def _colour(pattern: Tensor, generator: torch.Generator | None) -> Tensor:
    """Map (N, H, W) patterns in [0, 1] to colours between random ones, with some grain: (N, 3, H, W)."""
    number = len(pattern)
    base = torch.rand(number, 1, 3, generator=generator)
    spread = _uniform(number, 0.15, 1.0, generator)
    shift = spread * (torch.rand(number, PALETTE_COLOURS, 3, generator=generator) * 2 - 1)
    palette = (base + shift).clamp(0, 1)  # (N, colours, 3)
    # Materials are seldom vivid: mix with grey.
    palette = torch.lerp(palette.mean(dim=2, keepdim=True), palette, _uniform(number, 0, 1, generator))
    position = pattern.flatten(1).clamp(0, 1) * (PALETTE_COLOURS - 1)  # (N, H * W)
    lower = position.floor().clamp(max=PALETTE_COLOURS - 2)
    index = lower.long().unsqueeze(2).expand(-1, -1, 3)
    weight = (position - lower).unsqueeze(2)
    colours = torch.lerp(palette.gather(1, index), palette.gather(1, index + 1), weight)  # (N, H * W, 3)
    images = torch.unflatten(colours.transpose(1, 2), 2, pattern.shape[1:])
    grain = torch.randn(number, 1, *pattern.shape[1:], generator=generator)
    return (images + _uniform(number, 0, 0.06, generator).unsqueeze(3) * grain).clamp(0, 1)


def _uniform(number: int, low: float, high: float, generator: torch.Generator | None) -> Tensor:
    """One random number per texture, shaped to act on (N, H, W)."""
    return low + (high - low) * torch.rand(number, 1, 1, generator=generator)


def _clouds(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """Octaves of Perlin noise, stretched to [0, 1]."""
    finest = torch.randint(3, 7, (number, 1, 1), generator=generator)
    total = torch.zeros(number, *size)
    for octave in range(1, 7):
        periods = torch.full((number, 2), 2**octave)
        total += torch.where(octave <= finest, 0.6**octave, 0.0) * perlin_noise(size, periods, generator)
    return _stretch(total)


def _stretch(pattern: Tensor) -> Tensor:
    low = pattern.amin(dim=(1, 2), keepdim=True)
    return (pattern - low) / (pattern.amax(dim=(1, 2), keepdim=True) - low).clamp(min=1e-6)


def _axes(number: int, size: tuple[int, int], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Two perpendicular coordinates per texture, turned, shifted and a little bent: 2 x (N, H, W), about 1 long."""
    angle = _uniform(number, 0, math.pi, generator)
    y = torch.linspace(0, size[0] / max(size), size[0]).unsqueeze(1)
    x = torch.linspace(0, size[1] / max(size), size[1])
    bend = _uniform(number, 0, 0.08, generator) * perlin_noise(size, torch.full((number, 2), 3), generator)
    along = angle.cos() * x + angle.sin() * y + bend + _uniform(number, 0, 1, generator)
    across = angle.cos() * y - angle.sin() * x + bend + _uniform(number, 0, 1, generator)
    return along, across


def _waves(coordinate: Tensor, frequency: Tensor, hardness: Tensor) -> Tensor:
    """Waves in [0, 1], from a sine to an almost square wave."""
    return 0.5 + 0.5 * torch.tanh(hardness * torch.sin(2 * math.pi * frequency * coordinate))


def _marble(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    along, _ = _axes(number, size, generator)
    bent = along + _uniform(number, 0.1, 0.5, generator) * _clouds(number, size, generator)
    return _waves(bent, _uniform(number, 3, 15, generator), _uniform(number, 0.5, 3, generator))


def _stripes(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    along, _ = _axes(number, size, generator)
    return _waves(along, _uniform(number, 3, 30, generator), _uniform(number, 0.7, 8, generator))


def _checkers(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    along, across = _axes(number, size, generator)
    frequency, hardness = _uniform(number, 3, 20, generator), _uniform(number, 2, 12, generator)
    first, second = _waves(along, frequency, hardness), _waves(across, frequency, hardness)
    return first + second - 2 * first * second


def _dots(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    along, across = _axes(number, size, generator)
    frequency = _uniform(number, 4, 25, generator) * 2 * math.pi
    height = (torch.sin(frequency * along) + torch.sin(frequency * across)) / 2
    return torch.sigmoid(12 * (height - _uniform(number, -0.2, 0.6, generator)))


def _weave(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    along, across = _axes(number, size, generator)
    frequency = _uniform(number, 5, 25, generator)
    over = _waves(along, frequency / 2, torch.tensor(8.0)) * _waves(across, frequency, torch.tensor(1.0))
    under = _waves(across, frequency / 2, torch.tensor(8.0)) * _waves(along, frequency, torch.tensor(1.0))
    return torch.maximum(over, under)


def _cells(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """Distance to the nearest of random points, or difference of the two nearest (cell walls)."""
    half = tuple(math.ceil(side / 2) for side in size)
    y, x = torch.meshgrid(torch.linspace(0, 1, half[0]), torch.linspace(0, 1, half[1]), indexing="ij")
    pixels = torch.stack((y.flatten(), x.flatten()), dim=1)
    points = torch.rand(number, 48, 2, generator=generator)
    nearest = torch.cdist(pixels.expand(number, -1, -1), points).topk(2, dim=2, largest=False).values
    walls = torch.rand(number, 1, generator=generator) < 0.5
    pattern = torch.unflatten(torch.where(walls, nearest[..., 1] - nearest[..., 0], nearest[..., 0]), 1, half)
    return _stretch(F.interpolate(pattern.unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1))


def _speckle(number: int, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """White noise at a random grain size."""
    patterns = []
    for grain in torch.randint(1, 6, (number,), generator=generator).tolist():
        coarse = torch.rand(1, 1, *(math.ceil(side / grain) for side in size), generator=generator)
        patterns.append(F.interpolate(coarse, size, mode="bicubic", align_corners=False)[0])
    return torch.cat(patterns).clamp(0, 1)


PATTERNS: tuple[Callable[[int, tuple[int, int], torch.Generator | None], Tensor], ...] = (
    _clouds,
    _marble,
    _stripes,
    _checkers,
    _dots,
    _weave,
    _cells,
    _speckle,
)
"""Each draws (number, H, W) patterns in [0, 1]."""
