"""Building blocks of section 4.2."""

import torch
from torch import nn

from anomalib_slsg.networks.layers import AuxiliaryHead, ConvBlock, ConvolutionGroup, UpsamplingBlock


def test_convolution_group_keeps_the_size() -> None:
    for kernel_size in (1, 3, 5):
        group = ConvolutionGroup(3, 4, kernel_size).eval()
        output = group(torch.randn(1, 3, 6, 9))
        assert output.shape == (1, 4, 6, 9)
        assert output.min() == 0


def test_conv_block_is_two_groups() -> None:
    block = ConvBlock(3, 4)
    assert [type(part) for part in block] == [ConvolutionGroup, ConvolutionGroup]
    assert block(torch.randn(2, 3, 5, 7)).shape == (2, 4, 5, 7)


def test_upsampling_block_doubles_bilinearly_before_its_group() -> None:
    block = UpsamplingBlock(1, 1).eval()
    group = block[1]
    nn.init.dirac_(group[0].weight)
    ramp = torch.arange(1.0, 5.0).view(1, 1, 1, 4).expand(1, 1, 2, 4)
    expected = torch.tensor([1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4]).expand(1, 1, 4, 8)
    torch.testing.assert_close(block(ramp), expected, rtol=1e-4, atol=1e-4)


def test_auxiliary_head_gives_each_node_its_own_square_of_pixels() -> None:
    head = AuxiliaryHead(8, out_channels=3).eval()
    bottleneck = torch.randn(1, 8, 7, 9)
    output = head(bottleneck)
    assert output.shape == (1, 3, 112, 144)
    changed = bottleneck.clone()
    changed[..., 0, 8] += 1
    difference = (head(changed) - output).abs().amax(dim=(0, 1))
    assert difference[:16, 128:].min() > 0
    # two 3x3 convolutions reach two nodes further
    assert difference[48:].max() == 0
    assert difference[:, :96].max() == 0
