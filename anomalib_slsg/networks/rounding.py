"""What arithmetic in bfloat16 makes of an encoder's features. Not in the paper."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anomalib_slsg.networks.fusion import fold_batch_norm
from anomalib_slsg.networks.precise_stem import is_precise

Encoder = TypeVar("Encoder", bound=nn.Module)


def imitate_bfloat16(encoder: Encoder, images: Tensor) -> Encoder:
    """Copy an encoder so that it gives what it would give in bfloat16, as processors and OpenVINO run it.

    Computed in 32 bits, it gives the same on every machine, also where bfloat16 is slow or missing.

    Args:
        encoder: Encoder in evaluation mode.
        images: Images that show how data flow, of shape (B, 3, H, W).

    Returns:
        The copy, with batch normalisation folded into the convolutions, whose weights and the results of whose
        layers are rounded. As in :mod:`anomalib_slsg.networks.precise_stem`, the first convolution is precise.
    """
    copy = fold_batch_norm(encoder, images)
    for module in copy.modules():
        if not is_precise(module):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensor.data = _rounded(tensor.data)
        module.register_forward_hook(_round_result)
    return copy


def _round_result(module: nn.Module, inputs: tuple[Any, ...], result: Any) -> Any:
    del module, inputs
    return _rounded(result) if isinstance(result, Tensor) else result


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16).to(tensor.dtype) if tensor.is_floating_point() else tensor
