"""Options as checkpoints hold them: readable without the classes that they were given in."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Turn options into plain data, which ``torch.load`` reads with ``weights_only``.

    Args:
        value: Dataclasses, numbers of NumPy, paths and the containers of OmegaConf, also within dictionaries, lists and
            tuples; other values stay.

    Returns:
        Dictionaries, lists, numbers of Python and strings in their place.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if type(value) is tuple:
        return tuple(plain(entry) for entry in value)
    # what is made of lists and tuples, such as a size of torch, is something else
    if type(value) is list or (isinstance(value, Sequence) and not isinstance(value, (str, bytes, list, tuple))):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
