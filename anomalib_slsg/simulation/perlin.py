"""Random fields for anomaly masks: Perlin noise (paper section 3.2, [44]) and rectangles (Table 5, "Rect. Noise")."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

STRIDE = 2  # Perlin fields are smooth enough to be computed at every second pixel


def perlin_fields(
    size: tuple[int, int], periods: Tensor, threshold: Tensor, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Draw Perlin noise minus a threshold, turned about the centre by up to +-90 degrees.

    Args:
        size: Height and width in pixels.
        periods: (N, 2) lattice cells along height and width, on the CPU.
        threshold: (N,) thresholds, on the CPU.
        generator: CPU generator of all random numbers; ``None``: torch's global one.
        device: Where the fields are computed.

    Returns:
        (N, H, W) fields, positive inside of the wanted regions.
    """
    gradients = random_gradients(periods, generator).to(device, non_blocking=True)
    degrees = torch.rand(len(periods), generator=generator) * 180 - 90
    coarse = (math.ceil(size[0] / STRIDE), math.ceil(size[1] / STRIDE))
    noise = render_perlin(gradients, periods.to(device, non_blocking=True), coarse)
    turned = rotate(noise.unsqueeze(1), degrees.to(device, non_blocking=True))
    full = F.interpolate(turned, size, mode="bilinear", align_corners=False).squeeze(1)
    return full - threshold.to(device, non_blocking=True)[:, None, None]


def rectangle_fields(
    size: tuple[int, int], side_range: Tensor, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Draw upright rectangles: 1 in the centre, falling to 0 at the edge and on to negative values outside of it.

    Args:
        size: Height and width in pixels.
        side_range: (N, 2), the smallest and largest share of the image's side.
        generator: CPU generator of all random numbers; ``None``: torch's global one.
        device: Where the fields are computed.

    Returns:
        (N, H, W) fields.
    """
    low, high = side_range.unsqueeze(1).unbind(-1)  # (N, 1) each
    side = low + torch.rand(len(side_range), 2, generator=generator) * (high - low)
    centre = torch.rand(len(side_range), 2, generator=generator)
    distances = []
    for axis, length in enumerate(size):
        position = (torch.arange(length) + 0.5) / length  # (length,)
        distances.append(((position - centre[:, axis, None]).abs() * 2 / side[:, axis, None]).to(device))
    return 1 - torch.maximum(distances[0].unsqueeze(2), distances[1].unsqueeze(1))


def perlin_noise(
    size: tuple[int, int],
    periods: Tensor,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw gradient noise (Perlin 1985, the paper's [44]) with quintic fade.

    Args:
        size: Height and width in pixels; any, not only multiples of the periods.
        periods: (B, 2) whole numbers >= 1 on the CPU: lattice cells along height and width, per image.
        generator: CPU generator that the lattice's gradients are drawn from; ``None``: torch's global one.
        device: Where the noise is computed; ``None``: the CPU.

    Returns:
        (B, H, W) noise, multiplied by sqrt(2) so that it spans about [-1, 1], as in DRAEM and MemSeg.

    Raises:
        ValueError: If ``periods`` is not (B, 2) or holds a value below 1.
    """
    if periods.ndim != 2 or periods.shape[1] != 2 or (periods < 1).any():
        raise ValueError(f"periods must be (B, 2) whole numbers of at least 1, got {periods.tolist()}")
    gradients = random_gradients(periods, generator)
    return render_perlin(gradients.to(device), periods.to(device), size)


def random_gradients(periods: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw unit vectors for the lattice points of ``periods`` (B, 2): (B, P + 1, P + 1, 2), P the largest period."""
    points = max(map(max, periods.tolist())) + 1
    angles = 2 * math.pi * torch.rand(len(periods), points, points, generator=generator)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def render_perlin(gradients: Tensor, periods: Tensor, size: tuple[int, int]) -> Tensor:
    """Evaluate Perlin noise given its gradients (B, P + 1, P + 1, 2) and periods (B, 2): (B, H, W).

    The fade of a lattice point is a product of one factor per axis and vanishes outside the neighbouring cells. The
    sum over the four corners of a cell therefore is a sum over all lattice points, i.e. two small matrix products.
    """
    points = gradients.shape[1]
    fade_y, slope_y = _lattice_weights(periods[:, 0], size[0], points)  # (B, H, P + 1)
    fade_x, slope_x = _lattice_weights(periods[:, 1], size[1], points)  # (B, W, P + 1)
    rows = torch.cat((slope_y @ gradients[..., 0], fade_y @ gradients[..., 1]), dim=2)  # (B, H, 2P + 2)
    columns = torch.cat((fade_x, slope_x), dim=2)  # (B, W, 2P + 2)
    return math.sqrt(2) * rows @ columns.transpose(1, 2)


def rotate(maps: Tensor, degrees: Tensor) -> Tensor:
    """Turn every map about its centre, bilinearly; what comes in from outside is the mirrored map.

    Args:
        maps: (B, C, H, W).
        degrees: (B,) angles.

    Returns:
        (B, C, H, W) turned maps.
    """
    height, width = maps.shape[-2:]
    angle = torch.deg2rad(degrees).to(maps)[:, None, None]  # (B, 1, 1)
    y = ((torch.arange(height, device=maps.device) + 0.5) * 2 / height - 1).unsqueeze(1)  # (H, 1)
    x = (torch.arange(width, device=maps.device) + 0.5) * 2 / width - 1  # (W,)
    # Coordinates run over [-1, 1] along both sides; the ratios keep the turn rigid in pixels.
    grid = torch.empty(len(maps), height, width, 2, dtype=maps.dtype, device=maps.device)
    torch.sub(angle.cos() * x, angle.sin() * (height / width) * y, out=grid[..., 0])
    torch.add(angle.sin() * (width / height) * x, angle.cos() * y, out=grid[..., 1])
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _lattice_weights(periods: Tensor, length: int, points: int) -> tuple[Tensor, Tensor]:
    """Fade of every lattice point at every pixel of one axis, and fade times offset: 2 x (B, length, points)."""
    position = torch.arange(length, device=periods.device) / length * periods.unsqueeze(1)  # (B, length)
    offset = position.unsqueeze(2) - torch.arange(points, device=periods.device)  # (B, length, points)
    distance = offset.abs().clamp(max=1)
    fade = 1 - distance**3 * (distance * (distance * 6 - 15) + 10)
    return fade, fade * offset
