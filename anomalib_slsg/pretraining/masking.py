"""Masks of the inpainting task: a grid of small patches and, on top, large rectangles (sections 3.1 and 4.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

REFERENCE_SIDE = 256


def inpainting_mask(
    batch_size: int,
    size: tuple[int, int],
    generator: torch.Generator | None = None,
    patch_size: int = 8,
    mask_ratio: float = 0.8,
    large_masks: int = 2,
    large_mask_sides: Sequence[int] = (40, 150),
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw the union of the grid mask and the large masks.

    Args:
        batch_size: Number of masks B.
        size: Height and width of the images in pixels.
        generator: CPU generator of all random numbers; PyTorch's default one if left out.
        patch_size: Side of the grid's patches in pixels (Table 4: 4, 8, 16).
        mask_ratio: Share of patches that are masked, in [0, 1] (Table 4: 0.6, 0.8, 0.9); rounded to whole patches.
        large_masks: Number of large masks on each image; 0 for none (Table 4, column "No").
        large_mask_sides: Smallest and largest side of the large masks in pixels of a 256x256 image, scaled with the
            image.
        device: Device of the result.

    Returns:
        Masks of shape (B, 1, H, W), float32, 1 where the image is hidden.
    """
    grid = grid_mask(batch_size, size, generator, patch_size, mask_ratio)
    large = large_mask(batch_size, size, generator, large_masks, large_mask_sides)
    return torch.maximum(grid, large).to(device, non_blocking=True)


def grid_mask(
    batch_size: int, size: tuple[int, int], generator: torch.Generator | None, patch_size: int, mask_ratio: float
) -> Tensor:
    """Hide an exact share of the patches of a regular grid.

    Args:
        batch_size: Number of masks B.
        size: Height and width of the images in pixels.
        generator: CPU generator.
        patch_size: Side of the patches in pixels.
        mask_ratio: Share of hidden patches, in [0, 1].

    Returns:
        Masks of shape (B, 1, H, W).
    """
    rows, columns = (-(-side // patch_size) for side in size)
    ranks = torch.rand(batch_size, rows * columns, generator=generator).argsort(dim=1).argsort(dim=1)
    hidden = (ranks < round(mask_ratio * rows * columns)).float().view(batch_size, 1, rows, columns)
    pixels = hidden.repeat_interleave(patch_size, dim=2).repeat_interleave(patch_size, dim=3)
    return pixels[:, :, : size[0], : size[1]]


def large_mask(
    batch_size: int, size: tuple[int, int], generator: torch.Generator | None, number: int, sides: Sequence[int]
) -> Tensor:
    """Hide rectangles of random size and position, wholly inside the image.

    Args:
        batch_size: Number of masks B.
        size: Height and width of the images in pixels.
        generator: CPU generator.
        number: Rectangles per image.
        sides: Smallest and largest side in pixels of a 256x256 image.

    Returns:
        Masks of shape (B, 1, H, W).
    """
    inside = []
    for length in size:
        shortest, longest = (side * length / REFERENCE_SIDE for side in sides)
        extent = shortest + torch.rand(batch_size, number, 1, generator=generator) * (longest - shortest)
        start = torch.rand(batch_size, number, 1, generator=generator) * (length - extent)
        pixel = torch.arange(length) + 0.5
        inside.append((pixel >= start) & (pixel < start + extent))  # (B, number, length)
    rows, columns = inside
    return (rows[..., :, None] & columns[..., None, :]).any(dim=1, keepdim=True).float()
