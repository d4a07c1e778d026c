"""Batch normalisation folded into the convolutions before it, for inference."""

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def fold_batch_norm(network: Network, images: Tensor, shared: Iterable[nn.Module] = ()) -> Network:
    """Copy a network with its batch normalisation folded into its convolutions.

    Which normalisation follows which convolution is seen by letting one batch pass, not read off the order of the
    modules, which tells nothing sure about a foreign backbone.

    Args:
        network: Network in evaluation mode.
        images: A batch that it can take, of shape (B, 3, H, W).
        shared: Parts of it without batch normalisation that the copy shares, to save memory.

    Returns:
        The copy. Up to rounding it gives the same results.
    """
    folded = copy.deepcopy(network, {id(part): part for part in shared}).requires_grad_(False)
    # by name: a list of the modules themselves would keep the weights of all until the last one is folded
    for convolution_name, norm_name in _followers(folded, images):
        convolution = cast("nn.Conv2d", folded.get_submodule(convolution_name))
        norm = cast("nn.BatchNorm2d", folded.get_submodule(norm_name))
        fused = fuse_conv_bn_eval(convolution.float(), norm.float())
        _replace(folded, convolution_name, fused.to(convolution.weight.dtype))
        _replace(folded, norm_name, _what_remains(norm))
    return folded.to(memory_format=torch.channels_last)


def _followers(network: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Names of a convolution and of the batch normalisation that alone takes its output, each used once."""
    makers: dict[int, nn.Conv2d] = {}
    outputs: list[Tensor] = []  # kept, so that no later tensor has the identity of an earlier one
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d, Tensor]] = []

    def note_output(module: nn.Module, _: object, output: Tensor) -> None:
        makers[id(output)] = cast("nn.Conv2d", module)
        outputs.append(output)

    def note_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in makers:
            pairs.append((makers[id(inputs[0])], cast("nn.BatchNorm2d", module), inputs[0]))

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(note_output))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(note_input))
    uses = _Uses()
    with uses:
        result = network(images)
    for handle in handles:
        handle.remove()
    # what the network gives out is used by others
    uses.number.update(id(output) for output in tree_leaves(result))
    used = [module for pair in pairs for module in pair[:2]]
    names = {module: name for name, module in network.named_modules()}
    return [
        (names[convolution], names[norm])
        for convolution, norm, output in pairs
        if used.count(convolution) == used.count(norm) == uses.number[id(output)] == 1
    ]


class _Uses(TorchFunctionMode):
    """Counts how many operations make something of each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.number: Counter[int] = Counter()
        self._kept: list[Any] = []  # so that no later tensor has the identity of an earlier one

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # sizes, types and the like say nothing about values
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            tensors = {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
            self.number.update(tensors.keys())
            self._kept.append(tensors)
        return result


def _what_remains(norm: nn.BatchNorm2d) -> nn.Module:
    """The activation of timm's layers that join both, or nothing."""
    parts = [part for name in ("drop", "act") if isinstance(part := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*parts) if parts else nn.Identity()


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
