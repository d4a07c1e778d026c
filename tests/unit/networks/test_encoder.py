"""Encoder: timm's network at stride 16, and errors for networks that cannot serve."""

import copy
import socket

import pytest
import timm
import torch

from anomalib_slsg.networks import ResNetEncoder, SegNet


@pytest.mark.parametrize(
    ("backbone", "stem_pool", "channels"),
    [
        ("resnet18", False, (64, 128, 256, 512)),
        ("resnet18", True, (64, 64, 128, 256)),
        ("regnetx_002", False, (32, 24, 56, 152)),
        ("tf_efficientnet_lite0", False, (16, 24, 40, 112)),
        ("mobilenetv3_large_100", False, (16, 24, 40, 112)),
        ("dla46_c", False, (32, 64, 64, 128)),  # timm's own default leaves out its first stage
    ],
)
def test_pyramid_has_strides_2_to_16_and_says_its_channels(
    backbone: str, stem_pool: bool, channels: tuple[int, ...]
) -> None:
    encoder = ResNetEncoder(backbone, stem_pool=stem_pool).eval()
    assert encoder.channels == channels
    with torch.no_grad():
        features = encoder(torch.randn(1, 3, 32, 64))
    expected = [(1, width, 32 // stride, 64 // stride) for width, stride in zip(channels, (2, 4, 8, 16), strict=True)]
    assert [tuple(feature.shape) for feature in features] == expected


def test_resnet_without_stem_pool_is_timms_with_the_pool_left_out() -> None:
    encoder, whole = ResNetEncoder().eval(), timm.create_model("resnet18").eval()
    encoder.network.load_state_dict({name: whole.state_dict()[name] for name in encoder.network.state_dict()})
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        x = whole.act1(whole.bn1(whole.conv1(images)))
        for stage, feature in zip(
            (whole.layer1, whole.layer2, whole.layer3, whole.layer4), encoder(images), strict=True
        ):
            x = stage(x)
            torch.testing.assert_close(feature, x)


@pytest.mark.parametrize(("backbone", "stem_pool"), [("resnet18", True), ("tf_efficientnet_lite0", False)])
def test_other_networks_are_timms_without_the_deeper_stages(backbone: str, stem_pool: bool) -> None:
    encoder = ResNetEncoder(backbone, stem_pool=stem_pool).eval()
    whole = timm.create_model(backbone, features_only=True).eval()
    encoder.network.load_state_dict({name: whole.state_dict()[name] for name in encoder.network.state_dict()})
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for feature, expected in zip(encoder(images), whole(images)[:4], strict=True):
            torch.testing.assert_close(feature, expected)


@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_050", "regnetx_002"])
def test_nothing_is_built_that_no_feature_depends_on(backbone: str) -> None:
    """Idle stages cost time, and idle parameters break distributed training of the pre-training's encoder."""
    encoder = ResNetEncoder(backbone)
    sum(feature.mean() for feature in encoder(torch.randn(2, 3, 32, 32))).backward()
    assert {name for name, parameter in encoder.named_parameters() if parameter.grad is None} == set()


def test_copy_computes_the_same() -> None:
    encoder = ResNetEncoder().eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for feature, copied in zip(encoder(images), copy.deepcopy(encoder)(images), strict=True):
            torch.testing.assert_close(feature, copied)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet1O1", "backbone 'resnet1O1' is not a timm model"),
        ("resnet18.nobody", "backbone 'resnet18.nobody' is not a timm model"),
        ("vit_tiny_patch16_224", "backbone 'vit_tiny_patch16_224' has no features at stride 2.*resnet18"),
        ("convnext_tiny", "backbone 'convnext_tiny' has no features at stride 2.*tf_efficientnet_lite0"),
        ("mixer_s16_224", "backbone 'mixer_s16_224'"),
    ],
)
def test_unsuitable_backbones_are_named_with_alternatives(backbone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNetEncoder(backbone)


def test_maps_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="backbone 'legacy_xception' makes no feature maps of halves"):
        ResNetEncoder("legacy_xception")  # its convolutions are not padded
    encoder = ResNetEncoder("mobilevitv2_050").train()  # folds its maps once more
    before = copy.deepcopy(encoder.state_dict())
    encoder.check_size(64, 96)
    with pytest.raises(ValueError, match="of 80x48 pixels; choose a size of multiples of 32"):
        encoder.check_size(80, 48)
    assert encoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_building_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "building opened a connection"
        raise AssertionError(msg)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert isinstance(SegNet("tf_efficientnet_lite0").encoder, ResNetEncoder)
