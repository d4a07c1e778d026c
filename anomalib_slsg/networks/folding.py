"""Batch normalisation folded into the convolutions before it, for inference."""

import copy
import itertools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from anomalib_slsg.networks.encoder import EXAMPLE_SIDE
from anomalib_slsg.utils.precision import full_precision

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def fold_batch_norm(network: Network) -> Network:
    """Copy a network with its batch normalisation folded into its convolutions.

    A normalisation that follows a convolution among the modules of the same parent is taken to follow it in the data
    flow, too, as in timm's CNNs. An example tells whether that holds: a network that answers otherwise when it is
    folded is copied as it is.

    Args:
        network: Network of images (B, 3, H, W), in evaluation mode.

    Returns:
        The copy. Up to rounding it gives the same results.
    """
    folded = copy.deepcopy(network).requires_grad_(False)
    fold_pairs(folded)
    if not _answer_alike(network, folded):
        folded = copy.deepcopy(network).requires_grad_(False)
    return folded.to(memory_format=torch.channels_last)


@torch.no_grad()
def fold_pairs(network: nn.Module) -> None:
    """Fold every normalisation that follows a convolution among the modules of the same parent.

    Args:
        network: Network in evaluation mode; changed in place.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (name, convolution), (norm_name, norm) in itertools.pairwise(children):
            if not (isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            if norm.num_features == convolution.out_channels:
                dtype = convolution.weight.dtype
                setattr(parent, name, fuse_conv_bn_eval(convolution.float(), norm.float()).to(dtype))
                setattr(parent, norm_name, _what_remains(norm))


def _what_remains(norm: nn.BatchNorm2d) -> nn.Module:
    """What is left of a folded norm: dropout and activation of timm's BatchNormAct2d, or nothing."""
    parts = [part for name in ("drop", "act") if isinstance(part := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*parts) if parts else nn.Identity()


def _answer_alike(network: nn.Module, folded: nn.Module) -> bool:
    like = next(network.parameters())
    noise = torch.rand(1, 3, EXAMPLE_SIDE, EXAMPLE_SIDE, generator=torch.Generator().manual_seed(0)).to(like)
    with full_precision(like.device):
        pairs = zip(_outputs(network(noise)), _outputs(folded(noise)), strict=True)
        # rounding stays far below the root of the precision, a wrong fold far above
        tolerance = torch.finfo(like.dtype).eps ** 0.5
        return all(bool((own - other).abs().max() <= tolerance * own.abs().max()) for own, other in pairs)


def _outputs(result: Tensor | list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)
