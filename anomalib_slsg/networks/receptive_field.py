"""Where the cells of a feature map look, which is not where they lie."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NOISY_IMAGES = 16


def offsets(
    encoder: Callable[[Tensor], Sequence[Tensor]], size: tuple[int, int], device: torch.device | str = "cpu"
) -> Tensor:
    """Measure how far the cells of feature maps look past the places that they take up in the image.

    A convolution of stride 2 and size 3 that pads both sides alike, as in ResNets, looks half a pixel up and to the
    left, and this adds up to 7.5 pixels at stride 16. TensorFlow's padding does the opposite, of which trained weights
    make up a part. So it is not computed but seen: in how the cells in the middle depend on each pixel. Of noise, since
    what real images show, the edge of an object for instance, draws the dependence its way.

    Args:
        encoder: Gives feature maps of shape (B, C_l, H_l, W_l).
        size: Height and width of the images.
        device: Where the encoder is.

    Returns:
        Pixels down and to the right for each of the last two maps, of shape (2, 2); zeros where nothing depends on the
        image.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(NOISY_IMAGES, 3, *size, generator=generator)
    with torch.enable_grad():
        pixels = noise.to(device).requires_grad_()
        found = [_offset(level, pixels, generator) for level in encoder(pixels)[-2:]]
    return torch.stack(found)


def _offset(level: Tensor, pixels: Tensor, generator: torch.Generator) -> Tensor:
    middle = [slice(max(cells // 2 - 1, 0), cells // 2 + 1) for cells in level.shape[-2:]]
    features = level[..., middle[0], middle[1]]
    # with random signs, the square of the gradient is in expectation the sum of all features' squared derivatives
    signs = torch.randint(0, 2, features.shape, generator=generator).to(features) * 2 - 1
    (gradient,) = torch.autograd.grad(features, pixels, signs, retain_graph=True)
    weights = gradient.square().sum(dim=(0, 1))  # (H, W)
    if weights.sum() == 0:
        return weights.new_zeros(2)
    result = []
    for axis, cells in enumerate(middle):
        along = weights.sum(dim=1 - axis)
        centre = (along * torch.arange(len(along), device=along.device)).sum() / along.sum()
        stride = len(along) / level.shape[-2 + axis]
        result.append(centre - (stride * (cells.start + cells.stop) / 2 - 0.5))
    return torch.stack(result)
