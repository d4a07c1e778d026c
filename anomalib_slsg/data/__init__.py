"""Training images; also exports ``SyntheticLOCO``, which is defined in :mod:`anomalib_slsg.synthetic_loco`."""

from importlib import import_module
from typing import Any

__all__ = ["SyntheticLOCO"]


def __getattr__(name: str) -> Any:
    """Import ``SyntheticLOCO`` on first use: training on other data does not need the code that draws it."""
    if name == "SyntheticLOCO":
        return import_module("anomalib_slsg.synthetic_loco.datamodule").SyntheticLOCO
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
