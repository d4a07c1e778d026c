"""Weights that the encoder starts from: timm's ImageNet weights or a file."""

import logging
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from anomalib_slsg.networks.encoder import ResNetEncoder

logger = logging.getLogger(__name__)

ENCODER_KEY = "encoder"
COUNTER = "num_batches_tracked"  # which older files lack, as torchvision's first ones
KINDS = {"weight", "bias", "running_mean", "running_var"}


def load_encoder_weights(encoder: ResNetEncoder, source: str) -> None:
    """Load pre-trained weights into an encoder.

    Args:
        encoder: The encoder to fill.
        source: ``imagenet`` for timm's weights, fetched from a model hub when they are not in its cache; or the path
            of a state dict (.pth, .pt, .safetensors) of the encoder's backbone with timm's names, or with other names
            but the same tensors in the same order, or written by :class:`GenerativePretraining`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ConnectionError: If ``imagenet`` weights can be neither fetched nor found in the cache.
        ValueError: If the file's tensors do not fit the backbone.
    """
    state = _fetch(encoder.backbone) if source == "imagenet" else _read(Path(source))
    # timm's feature networks join levels of names with underscores where its whole models have dots
    own = encoder.network.state_dict()
    names = {_flat(name): name for name in own}
    counters = {flat: own[name] for flat, name in names.items() if flat.endswith(COUNTER)}
    if not names.keys() - counters.keys() <= {_flat(name) for name in state}:
        state = _rename_in_order(state, encoder.backbone, source)
    given = {**counters, **{_flat(name): tensor for name, tensor in state.items()}}
    try:
        encoder.network.load_state_dict({name: given[flat] for flat, name in names.items()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"encoder_weights: the tensors of '{source}' do not fit the backbone '{encoder.backbone}': {error}"
        ) from error


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _fetch(backbone: str) -> Mapping[str, Tensor]:
    try:
        return timm.create_model(backbone, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client has kinds of its own, as for proxies
        raise ConnectionError(
            f"the ImageNet weights of '{backbone}' could not be fetched ({type(error).__name__}: {error}). Connect to "
            "the network once, or set model.encoder_weights to the path of a state dict, or to null to start from "
            "random weights (which costs accuracy)"
        ) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"encoder_weights: no file '{path}'; give 'imagenet', null or the path of a state dict")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # the readers raise errors of many unrelated kinds for a broken file
        raise ValueError(f"encoder_weights: '{path}' is not a readable state dict: {error}") from error
    for key in ("state_dict", "model", ENCODER_KEY):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"encoder_weights: '{path}' holds a {type(state).__name__} that is not a state dict")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _rename_in_order(state: Mapping[str, Tensor], backbone: str, source: str) -> Mapping[str, Tensor]:
    """Give the tensors timm's names when they are the same ones in the same order under other names."""
    model: nn.Module = timm.create_model(backbone, pretrained=False)
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(COUNTER)}
    given = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    shapes = [[getattr(tensor, "shape", None) for tensor in tensors.values()] for tensors in (expected, given)]
    kinds = [(old.rpartition(".")[2], new.rpartition(".")[2]) for old, new in zip(given, expected, strict=False)]
    # the four tensors of a batch norm have one shape, and libraries have them in different orders
    if shapes[0] != shapes[1] or any(old != new and {old, new} <= KINDS for old, new in kinds):
        raise ValueError(
            f"encoder_weights: the tensors of '{source}' are not those of the timm model '{backbone}': "
            f"it has {len(given)} where {len(expected)} are expected, or their shapes or order differ"
        )
    logger.info("encoder_weights: '%s' has its own names; its tensors are matched in order.", source)
    renamed = dict(zip(expected, given.values(), strict=True))
    return {**model.state_dict(), **renamed}
