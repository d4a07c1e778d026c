"""Training images; and the name under which the drawn data set is known."""

from importlib import import_module
from typing import Any

__all__ = ["SyntheticLOCO"]


def __getattr__(name: str) -> Any:
    """Import the data module on first use: it loads anomalib, which the helpers of this package do not need."""
    if name == "SyntheticLOCO":
        return import_module("anomalib_slsg.synthetic_loco.datamodule").SyntheticLOCO
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
