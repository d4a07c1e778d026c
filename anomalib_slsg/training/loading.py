"""What is taken from a checkpoint. Nothing is built from the names of classes in it."""

import dataclasses
import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from anomalib.utils.serialization import anomalib_safe_globals
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

logger = logging.getLogger(__name__)

COMPONENTS = ("pre_processor", "post_processor", "evaluator", "visualizer")
# For Lightning's loader: it would have jsonargparse build whatever classes the checkpoint names.
NOTHING_BUILT: dict[str, Any] = {"_instantiator": None, **dict.fromkeys(COMPONENTS, True)}
SEG_NET = "model.seg_net."  # what the names of SegNet's tensors start with
LOCAL = {"pretraining.checkpoint"}  # files of this machine that a training writes: no checkpoint chooses them

Dataclass = TypeVar("Dataclass", bound=Any)


def read_checkpoint(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint without running code that it may hold.

    Args:
        path: The file.
        map_location: Where its tensors go, as for ``torch.load``.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, cut short or damaged, or holds other things than tensors and plain data.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint '{path}'")
    if not zipfile.is_zipfile(path):
        kind = "cut short, or not a checkpoint at all" if Path(path).stat().st_size else "an empty file"
        raise ValueError(f"'{path}' is {kind}")
    try:
        with anomalib_safe_globals():
            return torch.load(path, map_location, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"'{path}' is no checkpoint (.ckpt), or holds more than tensors and plain data, as exported models do: "
            f"{str(error).splitlines()[0]}"
        ) from error


def check_checkpoint(checkpoint: Mapping[str, Any], name: str | Path) -> None:
    """Refuse another model's checkpoint, and weights that are not finite: every image would pass for normal.

    Args:
        checkpoint: A checkpoint's content.
        name: What to call it.

    Raises:
        ValueError: If it is one of them.
    """
    state = checkpoint.get("state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not any(each.startswith(SEG_NET) for each in state):
        raise ValueError(f"'{name}' is the checkpoint of another model, or none: it has no weights of SLSG")
    for each, tensor in state.items():
        if each.startswith("model.") and not torch.isfinite(tensor).all():
            raise ValueError(f"'{name}' holds weights that are not finite ({each}): its training diverged; train anew")


def options_to_load(trained: Mapping[str, Any], given: Dataclass) -> Dataclass:
    """Choose between a checkpoint's options and those of the model that loads it.

    The checkpoint's count; where options that the network does not depend on were given, that is, differ from their
    defaults, these do. What was given and is overruled is warned of once.

    Args:
        trained: The checkpoint's options as plain data, which may lack some and have others.
        given: The model's options, of which groups are dataclasses, too.

    Returns:
        The options that count.

    Raises:
        ValueError: If the checkpoint's are not options of this version.
    """
    known = {each.name for each in dataclasses.fields(given)} & trained.keys()
    try:
        had = dataclasses.replace(given, **{name: trained[name] for name in known})
    except (TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint's options are not those of this version: {error}") from error
    for name, old, new in (("", had, given), ("normality.", had.normality, given.normality)):
        if ":" in old.backbone and old.backbone != new.backbone:  # timm would ask a hub for what lies there
            raise ValueError(f"give model.{name}backbone if you trust the checkpoint's, which is '{old.backbone}'")
    overruled: list[str] = []
    merged = _merge(had, given, "", overruled)
    if overruled:
        logger.warning("The checkpoint's network counts: %s.", ", ".join(overruled))
    return merged


def weights_to_load(own: Mapping[str, Tensor], given: Mapping[str, Tensor], name: str | Path) -> dict[str, Tensor]:
    """Choose what is loaded: the model's own tensors all have to be there, those of its components if they fit.

    Args:
        own: The model's tensors by name.
        given: The checkpoint's.
        name: What to call the checkpoint.

    Returns:
        Tensors with the names of the model's.

    Raises:
        ValueError: If the model has tensors that the checkpoint lacks, or the other way round.
    """
    loaded = {each: tensor for each, tensor in given.items() if not _is_component(each)}
    components = {each: tensor for each, tensor in own.items() if _is_component(each)}
    if others := sorted(loaded.keys() ^ (own.keys() - components.keys())):
        raise ValueError(f"'{name}' is of another version: {len(others)} tensors differ, among them {others[0]}")
    fitting = {each: given[each] for each in components if each in given and given[each].shape == own[each].shape}
    return {**loaded, **components, **fitting}


def attached_trainer(model: LightningModule) -> Trainer | None:
    """Give the trainer of a model; none where it is used without one."""
    try:
        return model.trainer
    except RuntimeError:
        return None


def _is_component(name: str) -> bool:
    return name.partition(".")[0] in COMPONENTS


def _merge(had: Dataclass, given: Dataclass, prefix: str, overruled: list[str]) -> Dataclass:
    values = {}
    for each in dataclasses.fields(given):
        name, old, new = prefix + each.name, getattr(had, each.name), getattr(given, each.name)
        if dataclasses.is_dataclass(new):
            old = _merge(old, new, f"{name}.", overruled)
        elif name in LOCAL or (old != new and new != each.default and not _decides_network(name, old, new)):
            old = new
        elif old != new and new != each.default:
            overruled.append(f"model.{name}={old!r}, not {new!r}")
        values[each.name] = old
    return dataclasses.replace(given, **values)


def _decides_network(name: str, old: object, new: object) -> bool:
    if name == "optimizer.iterations":  # without any, SegNet has no say
        return old == 0 or new == 0
    return name in {"backbone", "normality.backbone", "normality.measures"} or name.startswith("network.")
