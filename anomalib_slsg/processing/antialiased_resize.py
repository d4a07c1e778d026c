"""Antialiased resizing that every runtime knows: two matrix products."""

import logging
from typing import Any

import torch
from anomalib.pre_processing import PreProcessor
from torch import Tensor, nn
from torchvision.transforms.v2 import Compose, InterpolationMode, Resize

logger = logging.getLogger(__name__)

# as torchvision takes them; the numbers are Pillow's
BILINEAR = (InterpolationMode.BILINEAR, "bilinear", 2)
NEAREST = (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT, "nearest", "nearest-exact", 0)


class AntialiasedResize(nn.Module):
    """Resizes as torchvision's bilinear ``Resize`` with antialiasing does.

    ONNX has antialiasing from operator set 18 on, but OpenVINO's reader of ONNX ignores it, and without it a large
    image looks, and scores, differently.

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
        # as many axes as images have, else OpenVINO makes a product of its own, which it would round
        axes = (1,) * (images.ndim - 2)
        rows = triangle_weights(height, self.size[0], images).reshape(*axes, self.size[0], -1)
        columns = triangle_weights(width, self.size[1], images).reshape(*axes, self.size[1], -1)
        # The transposition last keeps OpenVINO from taking what follows for a part of the product: its plugin fuses a
        # factor for each of an image's channels as if it were one for each column, and fails.
        return ((images @ columns.mT).transpose(-1, -2) @ rows.mT).transpose(-1, -2)


def triangle_weights(old: int, new: int, like: Tensor) -> Tensor:
    """Give the share that each old pixel of a line has in each new one.

    A new pixel is a weighted mean around its centre; weights fall linearly over one pixel, of the old or the new size,
    whichever is larger. Distances are whole numbers, of the unit ``1 / (4 * new)`` old pixels, which no runtime rounds:
    bfloat16, in which OpenVINO computes where it can, holds no half pixels above 128.

    Args:
        old: Number of old pixels.
        new: Number of new pixels.
        like: Tensor of the wanted dtype and device.

    Returns:
        Weights of shape (new, old); each row sums to 1.
    """
    places = 2 * torch.arange(old, device=like.device) + 1
    twice_old = places[-1] + 1  # from a tensor, since an exported graph must not fix the size
    centres = 2 * torch.arange(new, device=like.device) + 1
    distances = (places * (2 * new) - centres[:, None] * twice_old).abs()
    weights = (2 * twice_old.clamp(min=2 * new) - distances).clamp(min=0)
    # by half a power twice: OpenVINO would round the operation that it makes of a division, see deployment.openvino
    half = weights.sum(dim=1, keepdim=True).float().pow(-0.5)
    return (weights.float() * half * half).to(like.dtype)


def keep_antialiasing(pre_processor: PreProcessor) -> None:
    """Let exported models, and images given to a model directly, be resized as in training.

    anomalib leaves antialiasing out of a pre-processor's exported transform.

    Args:
        pre_processor: The pre-processor; changed in place where it resizes with antialiasing.
    """
    pre_processor.export_transform = _with_antialiasing(pre_processor.transform, pre_processor.export_transform)


def _with_antialiasing(training: Any, exported: Any) -> Any:
    """Give a transform's exported form, but with the transform's own antialiasing."""
    if isinstance(training, Compose) and isinstance(exported, Compose):
        pairs = zip(training.transforms, exported.transforms, strict=True)
        exported.transforms = [_with_antialiasing(old, new) for old, new in pairs]
        return exported
    if not isinstance(training, Resize) or not training.antialias or training.interpolation in NEAREST:
        return exported
    if training.interpolation not in BILINEAR or training.size is None or len(training.size) != 2:
        logger.warning(
            "model.pre_processor: exported models resize without the antialiasing of %s, and score otherwise; give "
            "height and width, and bilinear interpolation.",
            training,
        )
        return exported
    height, width = training.size
    return AntialiasedResize((height, width))
