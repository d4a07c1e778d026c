"""The encoder's first convolution in full precision.

Rounded to bfloat16, an image loses its finest differences, and a grey one gains colours: its three channels, normalised
apart, are rounded apart, and filters that compare colours see the difference. Batch normalisation makes much of such
filters where the training images have no colours. The first convolution is a hundredth of the arithmetic.
"""

from typing import Any, cast

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from anomalib_slsg.utils.precision import full_precision


class PreciseConv2d(nn.Conv2d):
    """A convolution that no autocast changes."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, nn.Conv2d's name
        """Convolve in the precision of input and weights."""
        with full_precision(input.device):
            return super().forward(input)


class PreciseConv2dSame(Conv2dSame):
    """A convolution padded as in TensorFlow that no autocast changes."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in the precision of input and weights."""
        with full_precision(x.device):
            return cast("Tensor", super().forward(x))


PRECISE: dict[type, type[nn.Conv2d]] = {nn.Conv2d: PreciseConv2d, Conv2dSame: PreciseConv2dSame}


def keep_stem_precise(network: nn.Module) -> None:
    """Take the first convolution out of autocast, in place; names of weights stay as they are.

    Args:
        network: Network whose first convolution in the order of its modules takes the image. Convolutions that timm
            has made for single families of networks are left alone.
    """
    found = ((name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d))
    name, stem = next(found)
    kind = PRECISE.get(type(stem))
    if kind is None:
        return
    sizes: Any = (stem.kernel_size, stem.stride, stem.padding, stem.dilation, stem.groups, stem.bias is not None)
    with torch.device("meta"):  # no random weights are drawn: it gets those of the convolution whose place it takes
        precise = kind(stem.in_channels, stem.out_channels, *sizes)
    precise.weight, precise.bias = stem.weight, stem.bias
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, precise)


def is_precise(module: nn.Module) -> bool:
    """Whether a module is a convolution that is kept precise."""
    return isinstance(module, tuple(PRECISE.values()))


def to_dtype_but_stem(network: nn.Module, dtype: torch.dtype) -> None:
    """Change the type of the weights that autocast changes, except those of the convolution that is kept precise.

    Normalisation that cannot be folded keeps its type, as with autocast: it refuses weights of fewer bits than its
    input has, which is the precise convolution's result in some networks.

    Args:
        network: Network, which is changed in place.
        dtype: New type.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and not is_precise(module):
            module.to(dtype)
