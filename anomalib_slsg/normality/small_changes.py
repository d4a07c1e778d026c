"""Small changes of an image that mean nothing, so that they count as normal. Not in the paper."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2.functional import jpeg

# each a little more than what lights, cameras and programmes do from one day to the next
EXPOSURE = 0.14
WHITE_BALANCE = 0.05
JPEG_QUALITY = 75
SHIFT = 2  # pixels of 256
KINDS = 4


def small_changes(images: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Change images in ways that mean nothing: exposure, white balance, compression, and a shift of the camera.

    Args:
        images: Images in [0, 1] of shape (B, 3, H, W), on the CPU.
        generator: CPU generator.

    Yields:
        ``KINDS`` times the images, changed.
    """
    signs = torch.randint(0, 2, (len(images), 1, 1, 1), generator=generator) * 2 - 1
    yield (images * (1 + EXPOSURE * signs)).clamp(0, 1)
    balance = torch.rand(len(images), 3, 1, 1, generator=generator) * 2 - 1
    yield (images * (1 + WHITE_BALANCE * balance)).clamp(0, 1)
    yield torch.stack([jpeg(image, JPEG_QUALITY) for image in (images * 255).round().to(torch.uint8)]).float() / 255
    yield _shifted(images, generator)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    height, width = images.shape[-2:]
    reach = max(1, round(SHIFT * max(height, width) / 256))
    wider = pad(images, (reach,) * 4, mode="replicate")
    places = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(wider, places, strict=True)])
