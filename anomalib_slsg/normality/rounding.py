"""What arithmetic in bfloat16 makes of an encoder's features. Not in the paper."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.networks.precise_stem import is_precise, to_dtype_but_stem

Encoder = TypeVar("Encoder", bound=nn.Module)


def imitate_bfloat16(encoder: Encoder, precise_stem: bool) -> Encoder:
    """Copy an encoder so that it gives what it would give in bfloat16, but computes it in 32 bits.

    So machines agree on it, also those where bfloat16 is slow or missing. Layers that do more than convolve, normalise
    and activate, such as attention over channels, are rounded at their ends only.

    Args:
        encoder: Encoder in evaluation mode.
        precise_stem: Leave the first convolution exact, as torch does, see :mod:`anomalib_slsg.networks.precise_stem`.
            OpenVINO rounds it, and the image.

    Returns:
        The copy. Batch normalisation is folded into the convolutions; weights, and inputs and outputs of layers, are
        rounded to bfloat16.
    """
    copy = fold_batch_norm(encoder)
    if precise_stem:
        to_dtype_but_stem(copy, torch.bfloat16)
    else:
        copy.to(torch.bfloat16)
    copy.float()
    for module in copy.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not (precise_stem and is_precise(module)):
            module.register_forward_pre_hook(_round_inputs)
        module.register_forward_hook(_round_result)
    return copy


def _round_inputs(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    del module
    return tuple(_rounded(each) for each in inputs)


def _round_result(module: nn.Module, inputs: tuple[Any, ...], result: Any) -> Any:
    del module, inputs
    return _rounded(result)


def _rounded(value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.to(torch.bfloat16).to(value.dtype)
