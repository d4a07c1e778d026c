"""Where cells look, for convolutions of which it is known, and where the distance's maps have their peaks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from anomalib_slsg.normality.backbone import FrozenBackbone
from anomalib_slsg.normality.places import Places
from anomalib_slsg.normality.receptive_field import offsets

TAKES_BOTH_SIDES, TAKES_THE_FAR_SIDE = (1, 1, 1, 1), (0, 1, 0, 1)


class _Convolutions(nn.Module):
    """Random ones of 3x3 at strides 2, 4 and 8."""

    def __init__(self, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.padding = padding
        generator = torch.Generator().manual_seed(1)
        self.weights = [torch.randn(64, channels, 3, 3, generator=generator) for channels in (3, 64, 64)]

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = [images]
        for weight in self.weights:
            levels.append(nn.functional.conv2d(pad(levels[-1], self.padding), weight, stride=2))
        return levels[2:]


@pytest.mark.parametrize(("padding", "sign"), [(TAKES_BOTH_SIDES, -1), (TAKES_THE_FAR_SIDE, 1)])
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_padding_moves_what_cells_look_at(padding: tuple[int, int, int, int], sign: int, size: tuple[int, int]) -> None:
    found = offsets(_Convolutions(padding), size)
    expected = sign * torch.tensor([[1.5, 1.5], [3.5, 3.5]])  # of cells at strides 4 and 8
    torch.testing.assert_close(found, expected, atol=0.3, rtol=0)


def test_single_cells_and_constants_have_offsets_too() -> None:
    assert offsets(_Convolutions(TAKES_BOTH_SIDES), (8, 8)).isfinite().all()
    assert (offsets(lambda images: [images * 0, images * 0], (8, 8)) == 0).all()


@pytest.mark.slow
def test_maps_peak_where_the_anomaly_is() -> None:
    torch.manual_seed(0)
    backbone, measure = FrozenBackbone("resnet18"), Places()
    normal = 0.5 * torch.randn(12, 3, 128, 128)
    places = [(y, x) for y in (37, 51, 66) for x in (32, 46, 61, 75)]
    images = 0.5 * torch.randn(len(places), 3, 128, 128)
    for image, (y, x) in zip(images, places, strict=True):
        image[:, y : y + 16, x : x + 16] += 4

    def errors(offset: Tensor) -> Tensor:
        """Pixels, down and to the right, from the anomalies' centres to those of what the maps show."""
        measure.align((128, 128), offset)
        maps = measure(backbone(images).fine, (128, 128))[1][:, 0]
        weights = (maps - maps.flatten(1).quantile(0.9, dim=1)[:, None, None]).clamp(min=0)
        rows = torch.arange(128.0)
        centres = [(weights.sum(dim=2) @ rows), (weights.sum(dim=1) @ rows)]
        found = torch.stack(centres, dim=1) / weights.sum(dim=(1, 2))[:, None]
        return (found - (torch.tensor(places) + 7.5)).mean(dim=0)

    with torch.no_grad():
        measure.fit(backbone(normal).fine)
        before = errors(torch.zeros(2))
        after = errors(backbone.mean_offset(offsets(backbone.network, (128, 128)), "fine"))
    assert (before > 4).all()
    # what random weights find unusual of a square is not quite its middle
    assert (after.abs() < before / 2).all()
    assert (before - after > 4).all()
