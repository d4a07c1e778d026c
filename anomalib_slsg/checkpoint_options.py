"""Which options a checkpoint's weights belong to."""

from collections.abc import Mapping
from typing import Any

from anomalib_slsg.plain_data import plain

NETWORK_OPTIONS = (  # on which the output for given weights depends
    "backbone",
    "stem_pool",
    "decoder_channels",
    "attention",
    "graph",
    "eliminate_position",
    "num_neighbors",
    "residual",
    "bottleneck_skip",
    "feature_distance",
    "composition",
    "initial_features",
    "score_pixels",
)


def check_trained_options(trained: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another network: it may fit, too, or fail without naming an option.

    Args:
        trained: The options of the checkpoint.
        given: Those of the model that loads it.

    Raises:
        ValueError: If options differ on which the output for given weights depends.
    """
    given = plain(dict(given))
    others = [
        name
        for name in NETWORK_OPTIONS
        if name in trained and name in given and _builds(name, trained[name]) != _builds(name, given[name])
    ]
    if others:
        told = ", ".join(f"model.{name}={trained[name]!r}, not {given[name]!r}" for name in others)
        msg = f"the checkpoint was trained with {told}: give the options of the network again"
        raise ValueError(msg)


def _builds(name: str, value: Any) -> Any:
    """What a network option's value makes: 'auto' the network of true, a tuple that of a list."""
    if name in ("feature_distance", "composition"):
        return value is not False
    return list(value) if isinstance(value, tuple) else value
