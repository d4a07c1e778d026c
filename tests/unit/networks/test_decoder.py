"""Decoder: what goes in where, and what comes out."""

import pytest
import torch
from torch import Tensor

from anomalib_slsg.networks import Decoder

CHANNELS = (5, 6, 7, 8)


def _features(height: int, width: int) -> list[Tensor]:
    return [torch.randn(2, c, height // s, width // s) for c, s in zip(CHANNELS, (2, 4, 8, 16), strict=True)]


@pytest.mark.parametrize("size", [(16, 16), (48, 80)], ids=str)
@pytest.mark.parametrize("out_channels", [1, 3])
def test_output_has_the_images_size(size: tuple[int, int], out_channels: int) -> None:
    decoder = Decoder(CHANNELS, out_channels, channels=(16, 12, 8, 4)).eval()
    assert decoder(_features(*size)).shape == (2, out_channels, *size)


def test_widths_are_the_papers() -> None:
    decoder = Decoder((64, 128, 256, 512), 1)
    assert [block[1][0].out_channels for block in decoder.blocks] == [256, 128, 64, 32]  # type: ignore[index]


def test_every_map_reaches_the_output() -> None:
    torch.manual_seed(0)
    decoder = Decoder(CHANNELS, 1, channels=(16, 12, 8, 4), bottleneck_skip_channels=3).eval()
    inputs = [*_features(32, 32), torch.randn(2, 3, 2, 2)]
    for tensor in inputs:
        tensor.requires_grad_()
    decoder(inputs[:4], inputs[4]).square().sum().backward()
    for tensor in inputs:
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_bottleneck_skip_goes_to_all_blocks_behind_the_first() -> None:
    """Section 3.3: X' is fed into blocks of different depths, for all parts of the decoder; the first decodes it."""
    plain = Decoder(CHANNELS, 1, channels=(16, 12, 8, 4))
    skipping = Decoder(CHANNELS, 1, channels=(16, 12, 8, 4), bottleneck_skip_channels=3)
    wider = [
        with_skip[0][0].in_channels - without[0][0].in_channels  # type: ignore[index]
        for with_skip, without in zip(skipping.blocks, plain.blocks, strict=True)
    ]
    assert wider == [0, 3, 3, 3]


def test_skips_of_a_node_stay_in_its_place() -> None:
    """A change in one corner of the bottleneck skip does not reach the opposite corner: nothing is transposed."""
    torch.manual_seed(0)
    decoder = Decoder(CHANNELS, 1, channels=(16, 12, 8, 4), bottleneck_skip_channels=3).eval()
    features, skip = _features(64, 160), torch.zeros(2, 3, 4, 10)
    changed = skip.clone()
    changed[:, :, 3, 0] = 5.0  # the lower left corner
    with torch.no_grad():
        difference = (decoder(features, changed) - decoder(features, skip)).abs().amax(dim=(0, 1))
    assert difference[48:, :16].mean() > 0
    assert difference[:16].max() == 0
    assert difference[:, 80:].max() == 0
