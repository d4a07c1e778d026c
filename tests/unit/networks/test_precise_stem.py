"""The first convolution under autocast."""

import copy

import pytest
import torch

from anomalib_slsg.networks import SegNet
from anomalib_slsg.networks.encoder import ResNetEncoder


def _grey_images() -> torch.Tensor:
    """Grey, and normalised channel by channel."""
    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    return (grey - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]


@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0"])
def test_grey_images_gain_no_colours_under_autocast(backbone: str) -> None:
    """A filter that compares two channels, each brought back to the same grey, sees nothing."""
    encoder = ResNetEncoder(backbone).eval()
    stem = next(module for module in encoder.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.no_grad():
        stem.weight.zero_()
        middle = stem.weight.shape[-1] // 2
        stem.weight[0, 0, middle, middle] = 0.229
        stem.weight[0, 1, middle, middle] = -0.224
        with torch.autocast("cpu", torch.bfloat16):
            output = stem(_grey_images())
    torch.testing.assert_close(output[:, 0], torch.full_like(output[:, 0], 0.456 - 0.485), atol=1e-6, rtol=0)


def test_deployed_copy_keeps_the_stem_and_nothing_else_in_32_bits() -> None:
    network = SegNet().eval()
    images = _grey_images()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        deployed = network.for_inference(torch.bfloat16)
        exact = network.for_inference()
        result = deployed(images)
    convolutions = [module for module in deployed.encoder.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [module.weight.dtype for module in convolutions[:2]] == [torch.float32, torch.bfloat16]
    stem = next(module for module in exact.encoder.modules() if isinstance(module, torch.nn.Conv2d))
    assert torch.equal(convolutions[0].weight, stem.weight)
    assert result.isfinite().all()


@pytest.mark.parametrize("backbone", ["resnetv2_18", "densenet121"])
def test_what_cannot_be_folded_takes_what_the_stem_gives(backbone: str) -> None:
    """Batch norm before convolutions, as it is there, refuses inputs of more bits than its weights."""
    network, images = SegNet(backbone).eval(), _grey_images()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        deployed = network.for_inference(torch.bfloat16)
        torch.testing.assert_close(deployed(images), network(images), atol=1e-2, rtol=0)


def test_names_of_weights_are_timms_and_copies_work() -> None:
    encoder = ResNetEncoder()
    assert "network.conv1.weight" in encoder.state_dict()
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(copy.deepcopy(encoder).eval()(images), encoder.eval()(images))
