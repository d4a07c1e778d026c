"""Arithmetic in bfloat16, imitated, against the real one."""

import copy

import pytest
import torch
from torch import nn

from anomalib_slsg.networks import SegNet
from anomalib_slsg.networks.rounding import imitate_bfloat16


def _network(backbone: str) -> SegNet:
    """A network whose batch normalisation does something."""
    torch.manual_seed(0)
    network = SegNet(backbone).eval()
    for module in network.encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0"])
@torch.no_grad()
def test_features_are_those_of_the_network_in_bfloat16(backbone: str) -> None:
    network, images = _network(backbone), torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        real = network.for_inference(images, torch.bfloat16).encoder(images)
    imitated, exact = imitate_bfloat16(network.encoder, images)(images), network.encoder(images)
    for one, other, original in zip(imitated, real, exact, strict=True):
        assert one.dtype == torch.float32
        # without the weights' rounding, or that of results, 0.8 at the most
        assert torch.cosine_similarity((one - original).flatten(), (other - original).flatten(), dim=0) > 0.9


@torch.no_grad()
def test_the_encoder_itself_stays_as_it_is() -> None:
    encoder, images = _network("resnet18").encoder, torch.randn(1, 3, 32, 32)
    weights, features = copy.deepcopy(encoder.state_dict()), encoder(images)
    imitate_bfloat16(encoder, images)(images)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, weights[name])
    for one, other in zip(encoder(images), features, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_the_first_convolution_is_precise() -> None:
    encoder = _network("resnet18").encoder
    grey = torch.rand(1, 1, 32, 32).expand(-1, 3, -1, -1)
    imitation = imitate_bfloat16(encoder, grey)
    stem = next(module for module in imitation.modules() if isinstance(module, nn.Conv2d))
    assert not torch.equal(stem.weight, stem.weight.bfloat16().float())
    others = [module for module in imitation.modules() if isinstance(module, nn.Conv2d)][1:]
    assert all(torch.equal(module.weight, module.weight.bfloat16().float()) for module in others)
