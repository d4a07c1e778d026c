"""Data that comes with the package: drawn industrial scenes with logical and structural anomalies."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalib_slsg.synthetic_loco.datamodule import SyntheticLOCO

__all__ = ["SyntheticLOCO"]


def __getattr__(name: str) -> Any:
    """Import the data module on first use.

    Importing it here would load anomalib with every helper of this package, and would make
    ``python -m anomalib_slsg.synthetic_loco.datamodule`` find its own module imported already.
    """
    if name == "SyntheticLOCO":
        from anomalib_slsg.synthetic_loco.datamodule import SyntheticLOCO

        return SyntheticLOCO
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
