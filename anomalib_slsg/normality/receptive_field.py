"""Offsets between the cells of a feature map and the image regions that they respond to."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NOISY_IMAGES = 16
LARGEST_SIDE = 256  # the offset is the same in larger images


def offsets(
    encoder: Callable[[Tensor], Sequence[Tensor]], size: tuple[int, int], device: torch.device | str = "cpu"
) -> Tensor:
    """Measure how far the regions that cells respond to are shifted from the cells' own positions.

    A convolution of stride 2 and size 3 that pads both sides alike, as in ResNets, looks half a pixel up and to the
    left, and this adds up to 7.5 pixels at stride 16. TensorFlow's padding shifts the other way, and
    trained weights partly compensate. So the shift is measured, from the gradient of the central cells with respect to
    the pixels. The input is noise, because edges in real images would bias the result.

    Args:
        encoder: Gives feature maps of shape (B, C_l, H_l, W_l).
        size: Height and width of the images.
        device: Where the encoder is.

    Returns:
        Pixels down and to the right for each of the L maps, of shape (L, 2); zeros where nothing depends on the image.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = (min(side, LARGEST_SIDE) for side in size)
    dependences = torch.zeros(1, height, width, device=device)
    cells: list[tuple[int, int]] = []
    for _ in range(NOISY_IMAGES):  # one by one: gradients need much memory
        noise = torch.randn(1, 3, height, width, generator=generator).to(device)
        with torch.enable_grad():
            pixels = noise.requires_grad_()
            levels = encoder(pixels)
            found = [_squared_derivatives(level, pixels, generator) for level in levels]
        dependences = dependences + torch.stack(found)
        cells = [(level.shape[-2], level.shape[-1]) for level in levels]
    return torch.stack([_offset(dependence, grid) for dependence, grid in zip(dependences, cells, strict=True)])


def _middle(cells: int) -> slice:
    return slice(max(cells // 2 - 1, 0), cells // 2 + 1)


def _squared_derivatives(level: Tensor, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """How much the cells in the middle depend on each pixel: (H, W)."""
    features = level[..., _middle(level.shape[-2]), _middle(level.shape[-1])]
    # with random signs, the square of the gradient is in expectation the sum of all features' squared derivatives
    signs = torch.randint(0, 2, features.shape, generator=generator).to(features) * 2 - 1
    (gradient,) = torch.autograd.grad(features, pixels, signs, retain_graph=True)
    return gradient.square().sum(dim=(0, 1))


def _offset(dependence: Tensor, grid: tuple[int, int]) -> Tensor:
    """How far the centre of what the cells in the middle depend on is from the centre of these cells: (2,)."""
    if dependence.sum() == 0:
        return dependence.new_zeros(2)
    result = []
    for axis, cells in enumerate(grid):
        along = dependence.sum(dim=1 - axis)
        centre = (along * torch.arange(len(along), device=along.device)).sum() / along.sum()
        middle = _middle(cells)
        result.append(centre - (len(along) / cells * (middle.start + middle.stop) / 2 - 0.5))
    return torch.stack(result)
