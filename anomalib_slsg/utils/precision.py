"""Half-width arithmetic on processors that are several times faster in it."""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch

# Matrix instructions; processors that lack them convert to 32 bits and back, and are slower than without.
INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


@lru_cache
def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that multiply bfloat16."""
    # older releases of torch have no public way to ask; 32 bits are right everywhere
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in INSTRUCTIONS)


def fast_autocast(like: torch.Tensor) -> AbstractContextManager:
    """Compute in bfloat16 what loses nothing by it, if that is faster here.

    Exported graphs stay in 32 bits: the runtime that they are for chooses its own precision.

    Args:
        like: A parameter of the network; one that is not float32 has been given its precision by the trainer.

    Returns:
        Context for the network's forward pass.
    """
    fast = like.device.type == "cpu" and like.dtype == torch.float32 and cpu_multiplies_bfloat16()
    return nullcontext() if not fast or exporting() else torch.autocast("cpu", torch.bfloat16)


def full_precision(device: torch.device) -> AbstractContextManager:
    """Compute in the tensors' own precision, whatever the surrounding one.

    Args:
        device: Device of the tensors.

    Returns:
        Context; an idle one while a graph is exported, since ONNX has no such thing.
    """
    return nullcontext() if exporting() else torch.autocast(device.type, enabled=False)


def exporting() -> bool:
    """Whether a graph is being traced for export; one that ``torch.compile`` makes keeps its precisions."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()
