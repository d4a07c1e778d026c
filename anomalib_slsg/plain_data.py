"""Options as checkpoints hold them: readable without the classes that they were given in."""

import dataclasses
import os
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Turn options into plain data, which ``torch.load`` reads with ``weights_only``.

    Args:
        value: Dataclasses, numbers of NumPy and paths, also within dictionaries, lists and tuples; other values stay.

    Returns:
        Dictionaries, numbers of Python and strings in their place.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(entry) for entry in value)
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
