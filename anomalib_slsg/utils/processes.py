"""The same values in all processes of a fit: processors round differently."""

import torch
from torch import nn


def share_buffers(module: nn.Module) -> None:
    """Give all processes the first one's buffers; nothing happens where there is one process.

    Args:
        module: The module, whose buffers have the same shapes in all processes.
    """
    if torch.distributed.is_initialized():
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
