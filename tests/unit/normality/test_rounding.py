"""Arithmetic in bfloat16, imitated, against the real one."""

import copy

import openvino
import pytest
import torch
from torch import nn

from anomalib_slsg.networks import SegNet
from anomalib_slsg.networks.precise_stem import is_precise
from anomalib_slsg.normality.rounding import imitate_bfloat16


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
        real = network.for_inference(torch.bfloat16).encoder(images)
    imitated, exact = imitate_bfloat16(network.encoder, precise_stem=True)(images), network.encoder(images)
    for one, other, original in zip(imitated, real, exact, strict=True):
        assert one.dtype == torch.float32
        # without the weights' rounding, or that of results, 0.7 at the most in the deepest level
        assert torch.cosine_similarity((one - original).flatten(), (other - original).flatten(), dim=0) > 0.9


@torch.no_grad()
def test_the_encoder_itself_stays_as_it_is() -> None:
    encoder, images = _network("resnet18").encoder, torch.randn(1, 3, 32, 32)
    weights, features = copy.deepcopy(encoder.state_dict()), encoder(images)
    imitate_bfloat16(encoder, precise_stem=False)(images)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, weights[name])
    for one, other in zip(encoder(images), features, strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("openvino_bfloat16")
@torch.no_grad()
def test_openvino_rounds_the_image_and_the_first_convolution_too() -> None:
    """Grey images gain colours by it, which their first filters are blind to here."""
    encoder = _network("resnet18").encoder
    stem = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    stem.weight -= stem.weight.mean(dim=1, keepdim=True)
    images = torch.randn(2, 1, 64, 64).expand(-1, 3, -1, -1) + 0.01 * torch.randn(2, 3, 64, 64)
    norm = next(module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d))
    norm.running_var, norm.running_mean = torch.var_mean(stem(images), dim=(0, 2, 3))
    exported = openvino.convert_model(encoder, example_input=images)
    compiled = openvino.compile_model(exported, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    real = [torch.as_tensor(level) for level in compiled(images.numpy()).to_tuple()]
    likeness = []
    for precise_stem in (False, True):
        imitated = imitate_bfloat16(encoder, precise_stem)(images)
        errors = [
            torch.cosine_similarity((one - original).flatten(), (other - original).flatten(), dim=0)
            for one, other, original in zip(imitated, real, encoder(images), strict=True)
        ]
        likeness.append(errors)
    assert min(likeness[0]) > 0.9
    assert max(likeness[1]) < 0.5


@torch.no_grad()
def test_what_goes_into_the_first_convolution_is_rounded_where_it_is_not_precise() -> None:
    """timm has made stems for some families that autocast does not leave alone."""
    encoder, images = _network("nf_resnet26").encoder, torch.randn(1, 3, 32, 32)
    stem = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    assert not is_precise(stem)
    imitation = imitate_bfloat16(encoder, precise_stem=True)
    for one, other in zip(imitation(images), imitation(images.bfloat16().float()), strict=True):
        assert torch.equal(one, other)
