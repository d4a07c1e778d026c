"""Light colour jitter of the training images."""

import torch
from kornia.color import rgb_to_grayscale
from torch import Tensor


def colour_jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change brightness and saturation of each image by up to the given share.

    Args:
        images: Images in [0, 1] of shape (B, 3, H, W).
        strength: Largest relative change; 0 for none.
        generator: CPU generator.

    Returns:
        Images of the same shape.
    """
    if strength == 0:
        return images
    factors = 1 + strength * (2 * torch.rand(2, len(images), 1, 1, 1, generator=generator) - 1)
    brightness, saturation = factors.to(images, non_blocking=True)
    grey = rgb_to_grayscale(images)
    return ((grey + (images - grey) * saturation) * brightness).clamp(0, 1)
