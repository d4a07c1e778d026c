"""Batch-norm statistics of the pre-trained encoder on whole images."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace running means and variances by their averages over the given batches.

    GPT-Net gathers them on images of which four fifths are masked; on whole images they are wrong.

    Args:
        network: Network whose batch-norm layers are re-estimated; left in evaluation mode.
        batches: Whole images as the network takes them, each of shape (B, C, H, W).
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    network.train()
    for batch in batches:
        network(batch)
    network.eval()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    if torch.distributed.is_initialized():
        for layer in layers:
            for statistic in (layer.running_mean, layer.running_var):
                if statistic is not None:
                    torch.distributed.all_reduce(statistic)
                    statistic.div_(torch.distributed.get_world_size())
