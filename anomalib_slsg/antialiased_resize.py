"""Antialiased resizing that every runtime knows: two matrix products."""

from typing import Any

import torch
from anomalib.pre_processing import PreProcessor
from torch import Tensor, nn
from torchvision.transforms.v2 import Compose, InterpolationMode, Resize


class AntialiasedResize(nn.Module):
    """Resizes as torchvision's bilinear ``Resize`` with antialiasing does.

    ONNX and OpenVINO lack that operator, and without antialiasing a large image looks, and scores, differently.

    Args:
        size: Height and width of the result in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Resize.

        Args:
            images: Images of shape (..., H, W), floating point, of any size.

        Returns:
            Images of shape (..., *size).
        """
        height, width = images.shape[-2:]
        rows = triangle_weights(height, self.size[0], images)
        columns = triangle_weights(width, self.size[1], images)
        # The transposition last keeps OpenVINO from taking what follows for a part of the product: its plugin fuses a
        # factor for each of an image's channels as if it were one for each column, and fails.
        return ((images @ columns.T).transpose(-1, -2) @ rows.T).transpose(-1, -2)


def triangle_weights(old: int, new: int, like: Tensor) -> Tensor:
    """Give the share that each old pixel of a line has in each new one.

    A new pixel is a weighted mean around its centre; weights fall linearly over one pixel, of the old or the new size,
    whichever is larger.

    Args:
        old: Number of old pixels.
        new: Number of new pixels.
        like: Tensor of the wanted dtype and device.

    Returns:
        Weights of shape (new, old); each row sums to 1.
    """
    places = torch.arange(old, dtype=torch.float32, device=like.device) + 0.5
    # from a tensor, since an exported graph must not fix the size
    scale = (places[-1] + 0.5) / new
    centres = (torch.arange(new, dtype=torch.float32, device=like.device) + 0.5) * scale
    weights = (1 - (places - centres[:, None]).abs() / scale.clamp(min=1)).clamp(min=0)
    return (weights / weights.sum(dim=1, keepdim=True)).to(like.dtype)


def keep_antialiasing(pre_processor: PreProcessor) -> None:
    """Let exported models, and images given to a model directly, be resized as in training.

    anomalib leaves antialiasing out of a pre-processor's exported transform.

    Args:
        pre_processor: The pre-processor; changed in place where it resizes with antialiasing.
    """
    training, exported = pre_processor.transform, pre_processor.export_transform
    if _is_antialiased(training):
        pre_processor.export_transform = _exportable(training)
    elif isinstance(training, Compose) and isinstance(exported, Compose):
        pairs = zip(training.transforms, exported.transforms, strict=True)
        exported.transforms = [_exportable(old) if _is_antialiased(old) else new for old, new in pairs]


def _is_antialiased(transform: object) -> bool:
    return (
        isinstance(transform, Resize)
        and bool(transform.antialias)
        and InterpolationMode(transform.interpolation) == InterpolationMode.BILINEAR
        and transform.size is not None
        and len(transform.size) == 2
    )


def _exportable(resize: Any) -> AntialiasedResize:
    height, width = resize.size
    return AntialiasedResize((height, width))
