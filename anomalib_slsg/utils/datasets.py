"""Data sets of loaders."""

from collections.abc import Sequence
from typing import Any


def datasets(loaders: Any) -> list[Any]:
    """List the data sets of a trainer's loaders.

    Args:
        loaders: One loader, or several in lists, or none.
    """
    flat = loaders if isinstance(loaders, Sequence) else [loaders]
    return [getattr(loader, "dataset", None) for loader in flat]
