"""The frozen backbone: its grids, and what it refuses."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from anomalib_slsg.normality.backbone import LARGEST_SIDES, MOST_CHANNELS, FrozenBackbone


def test_features_are_averages_over_cells_of_stride_8_16_and_32() -> None:
    backbone = FrozenBackbone("test_efficientnet")
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        quarters, eighths, sixteenths, last = backbone.network(images)
        features = backbone(images)
    assert features.finest.shape == (2, 24 + 32, 8, 12)
    assert features.fine.shape == (2, 32 + 48, 4, 6)
    assert features.coarse.shape == (2, 32 + 48 + 64, 2, 3)
    torch.testing.assert_close(features.finest, torch.cat([avg_pool2d(quarters, 2), eighths], dim=1))
    torch.testing.assert_close(features.fine, torch.cat([avg_pool2d(eighths, 2), sixteenths], dim=1))
    expected = torch.cat([avg_pool2d(eighths, 4), avg_pool2d(sixteenths, 2), last], dim=1)
    torch.testing.assert_close(features.coarse, expected)


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (80, 112)], ids=str)
def test_any_multiple_of_16_has_a_grid(size: tuple[int, int]) -> None:
    features = FrozenBackbone("test_efficientnet")(torch.rand(1, 3, *size))
    assert features.finest.shape[-2:] == (size[0] // 8, size[1] // 8)
    assert features.fine.shape[-2:] == (size[0] // 16, size[1] // 16)
    assert features.coarse.shape[-2:] == (-(-size[0] // 32), -(-size[1] // 32))


def test_images_of_another_size_come_to_the_same_grids() -> None:
    backbone, images = FrozenBackbone("test_efficientnet"), torch.rand(1, 3, 64, 64)
    small = backbone(images)
    large = backbone(interpolate(images, (128, 128)), [(level.shape[-2], level.shape[-1]) for level in small])
    assert [level.shape for level in large] == [level.shape for level in small]


def test_large_images_and_wide_networks_stay_small() -> None:
    backbone = FrozenBackbone("resnet18")
    features = backbone(torch.rand(1, 3, 16 * LARGEST_SIDES[1] + 64, 32))
    widths = (4, 2, 1)
    expected = [(1, *shape) for shape in zip(MOST_CHANNELS, LARGEST_SIDES, widths, strict=True)]
    assert [level.shape for level in features] == expected
    assert backbone.coarse_channels.unique().numel() == MOST_CHANNELS[2]
    assert torch.equal(backbone.coarse_channels, FrozenBackbone("resnet18").coarse_channels)


def test_offsets_are_averaged_over_the_channels_that_are_looked_at() -> None:
    offsets = torch.tensor([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0], [3.0, 40.0]])
    all_of_them = FrozenBackbone("test_efficientnet")  # 24, 32, 48 and 64 channels
    torch.testing.assert_close(all_of_them.mean_offset(offsets, "finest"), (24 * offsets[0] + 32 * offsets[1]) / 56)
    torch.testing.assert_close(all_of_them.mean_offset(offsets, "fine"), (32 * offsets[1] + 48 * offsets[2]) / 80)
    some = FrozenBackbone("resnet18")  # 64 of 64 + 128
    share = (some.finest_channels < 64).float().mean()
    assert 0.2 < share < 0.5
    torch.testing.assert_close(some.mean_offset(offsets, "finest")[0], 1 - share)


def test_nothing_trains_it() -> None:
    backbone = FrozenBackbone("test_efficientnet").train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("backbone", ["no_such_network", "vit_tiny_patch16_224"])
def test_other_networks_are_refused_by_name(backbone: str) -> None:
    with pytest.raises(ValueError, match=f"model.normality.backbone: '{backbone}' is not a timm CNN with features at"):
        FrozenBackbone(backbone)
