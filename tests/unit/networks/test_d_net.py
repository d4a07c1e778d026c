"""D-Net: a map of judgements, each of a patch."""

import pytest
import torch

from anomalib_slsg.networks import DNet


@pytest.mark.parametrize("size", [(256, 256), (64, 96)], ids=str)
def test_map_has_one_channel_and_one_judgement_for_each_16_pixels(size: tuple[int, int]) -> None:
    network = DNet().eval()
    with torch.no_grad():
        judgements = network(torch.rand(1, 3, *size))
    assert judgements.shape == (1, 1, size[0] // 16, size[1] // 16)
    assert judgements.dtype == torch.float32


def test_judgements_are_local() -> None:
    """A Markovian discriminator (reference 43) does not see the far side of the image."""
    torch.manual_seed(0)
    network = DNet((8, 8, 8, 8)).eval()
    images = torch.rand(1, 3, 160, 160)
    changed = images.clone()
    changed[..., :16, :16] = 1 - changed[..., :16, :16]
    with torch.no_grad():
        difference = (network(changed) - network(images)).abs()[0, 0]
    assert difference[0, 0] > 0
    assert difference[5:].max() == 0
    assert difference[:, 5:].max() == 0


def test_low_precision_ends_at_the_judgement() -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert DNet().eval()(torch.rand(1, 3, 32, 32)).dtype == torch.float32
