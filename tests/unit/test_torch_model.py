"""SlsgModel: normalisation in front, image score behind, and sizes that it refuses."""

import pytest
import torch
from anomalib.data import InferenceBatch

from anomalib_slsg.networks.encoder import check_image_size
from anomalib_slsg.torch_model import SlsgModel
from tests.support.models import tiny_torch_model


@pytest.fixture(scope="module")
def model() -> SlsgModel:
    return tiny_torch_model("regnetx_002")


@pytest.mark.parametrize(
    ("size", "number"),
    [((256, 256), 100), ((128, 128), 25), ((512, 512), 400), ((96, 160), 23), ((16, 16), 1)],
    ids=str,
)
def test_image_score_is_the_mean_of_the_highest_pixels(model: SlsgModel, size: tuple[int, int], number: int) -> None:
    """Section 4.2: 100 pixels at 256x256, the same share at other sizes."""
    generator = torch.Generator().manual_seed(0)
    anomaly_map = torch.rand(3, 1, *size, generator=generator)
    anomaly_map[1] *= 0.1
    scores = model.image_score(torch.logit(anomaly_map))
    assert scores.shape == (3,)
    for image, score in zip(anomaly_map, scores.tolist(), strict=True):
        highest = sorted(image.flatten().tolist(), reverse=True)[:number]
        assert score == pytest.approx(sum(highest) / number, rel=1e-5)


def test_number_of_score_pixels_can_be_chosen() -> None:
    model = tiny_torch_model("regnetx_002", score_pixels=1)
    log_odds = torch.randn(2, 1, 256, 256)
    assert torch.equal(model.image_score(log_odds), torch.sigmoid(log_odds).flatten(1).max(dim=1).values)
    with pytest.raises(ValueError, match=r"network\.score_pixels must be a whole number in \[1, inf\), got 0"):
        tiny_torch_model("regnetx_002", score_pixels=0)


@pytest.mark.parametrize("size", [(64, 64), (32, 80)], ids=str)
def test_gives_map_and_score(model: SlsgModel, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size)
    with torch.no_grad(), model.fast_autocast():
        batch = model(images)
        probabilities = model.seg_net(model.normalise(images).contiguous(memory_format=torch.channels_last))
    assert isinstance(batch, InferenceBatch)
    torch.testing.assert_close(batch.anomaly_map, probabilities, atol=1e-3, rtol=0)  # batch norm is folded
    assert batch.anomaly_map.shape == (2, 1, *size)
    torch.testing.assert_close(batch.pred_score, model.image_score(torch.logit(batch.anomaly_map)), atol=1e-6, rtol=0)
    assert batch.pred_label is None
    assert batch.pred_mask is None


def test_normalises_to_imagenets_statistics(model: SlsgModel) -> None:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = torch.rand(2, 3, 4, 5)
    expected = (images.permute(0, 2, 3, 1) - mean) / deviation
    torch.testing.assert_close(model.normalise(images).permute(0, 2, 3, 1), expected)


def test_constants_are_no_part_of_checkpoints(model: SlsgModel) -> None:
    assert {name.partition(".")[0] for name in model.state_dict()} == {"seg_net", "calibration"}


@pytest.mark.parametrize(
    ("size", "fitting"),
    [((100, 130), "[96, 128]"), ((256, 250), "[256, 256]"), ((5, 16), "[16, 16]"), ((900, 1208), "[896, 1216]")],
    ids=str,
)
def test_sizes_that_cannot_be_halved_four_times_are_named_with_one_that_can(
    model: SlsgModel, size: tuple[int, int], fitting: str
) -> None:
    with pytest.raises(ValueError, match=f"got {size[0]}x{size[1]}") as caught:
        model(torch.rand(1, 3, *size))
    assert "multiples of 16" in str(caught.value)
    suggestion = str(caught.value).partition("model.image_size to ")[2]
    height, width = (int(side) for side in suggestion.partition("]")[0].strip("[").split(", "))
    check_image_size(height, width)
    assert abs(height - size[0]) <= max(8, 16 - size[0])
    assert abs(width - size[1]) <= 8
    assert fitting in str(caught.value) or size == (900, 1208)


def test_what_cannot_be_judged_is_not_normal() -> None:
    """A comparison with NaN would call it normal."""
    model = tiny_torch_model()
    model.seg_net.decoder.head.weight.data.fill_(float("nan"))
    with torch.no_grad():
        batch = model(torch.rand(2, 3, 32, 32))
    assert batch.pred_score.tolist() == [1, 1]
    assert bool((batch.anomaly_map == 1).all())
