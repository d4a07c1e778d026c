"""The promised rate of false alarms, and how opinions of images are joined."""

import math

import pytest
import torch

from anomalib_slsg.normality.calibration import Calibration, Verdict, conformal_index, supported_rate
from anomalib_slsg.normality.measure import log_odds


def _verdict(number: int, seed: int = 0, opinions: tuple[str, ...] = ("segnet", "normality")) -> Verdict:
    generator = torch.Generator().manual_seed(seed)
    segnet, normality = (torch.randn(number, generator=generator) - 5 for _ in range(2))
    pixels = torch.randn(number, 1, 4, 4, generator=generator)
    return Verdict(segnet if "segnet" in opinions else None, normality if "normality" in opinions else None, pixels)


@pytest.mark.parametrize(("number", "rate", "below"), [(19, 0.05, 19), (39, 0.05, 38), (99, 0.1, 90), (10, 0.05, 10)])
def test_the_threshold_is_the_conformal_quantile(number: int, rate: float, below: int) -> None:
    """ceil((1 - alpha)(n + 1)) of n scores lie at it or below, or all."""
    assert conformal_index(number, rate) + 1 == min(number, math.ceil(round((1 - rate) * (number + 1), 9))) == below


@pytest.mark.parametrize("kept", [1, 2, 3, 12])
def test_few_kept_images_promise_what_so_many_support(kept: int) -> None:
    """SegNet's opinion is scaled by them, too, however far it varies."""
    alarms: list[float] = []
    for seed in range(400):
        calibration, images, new = Calibration(), _verdict(kept, seed), _verdict(100, 1000 + seed)
        calibration.fit([images._replace(segnet=3 * images.segnet)], false_alarm_rate=0.05)
        alarms += (calibration.join(new._replace(segnet=3 * new.segnet)) > calibration.image_shift).float().tolist()
    assert sum(alarms) / len(alarms) < 1.1 * supported_rate(kept)


@pytest.mark.parametrize("opinions", [("segnet",), ("normality",), ("segnet", "normality")], ids=str)
def test_new_normal_images_raise_no_more_alarms_than_promised(opinions: tuple[str, ...]) -> None:
    alarms: list[float] = []
    marked: list[float] = []
    for seed in range(400):
        calibration = Calibration()
        calibration.fit([_verdict(10, seed, opinions), _verdict(9, 1000 + seed, opinions)], false_alarm_rate=0.1)
        new = _verdict(200, 2000 + seed, opinions)
        alarms += (calibration.join(new) - calibration.image_shift > 0).float().tolist()
        marked += (new.pixels.flatten(1).amax(dim=1) - calibration.pixel_shift > 0).float().tolist()
    for found in (alarms, marked):
        assert 0.085 < sum(found) / len(found) < 0.105  # the promise, and nothing wasted


def test_an_opinion_that_varies_much_counts_for_little() -> None:
    """SegNet says loud things of normal images that it does not know; normality's opinion is in units already."""
    kept = _verdict(40)
    assert kept.segnet is not None
    calibration = Calibration()
    calibration.fit([kept._replace(segnet=100 * kept.segnet)], 0.05)
    loud = Verdict(100 * kept.segnet.median().reshape(1), torch.tensor([1.0]), kept.pixels[:1])
    torch.testing.assert_close(calibration.join(loud)[0], torch.tensor(1.0), atol=0.05, rtol=0)
    certain = loud._replace(segnet=loud.segnet + 1000 * calibration.segnet_spread)
    assert calibration.join(certain)[0] > 10


def test_odds_add_up_where_segnet_finds_something() -> None:
    """Below even odds it is silent; above, what exceeds them is added."""
    calibration = Calibration()
    segnet, normality = torch.tensor([-3.0, 0.0, 0.5, 2.0]), torch.tensor([-30.0, 0.0, 1.0, -9.0])
    verdict = Verdict(segnet, normality, torch.zeros(4, 1, 1, 1))
    expected = torch.tensor(
        [-30.0, 0.0, math.log(math.exp(0.5) - 1 + math.exp(1)), math.log(math.exp(2) - 1 + math.exp(-9))]
    )
    torch.testing.assert_close(calibration.join(verdict), expected)
    for alone in (verdict._replace(segnet=None), verdict._replace(normality=None)):
        given = alone.normality if alone.segnet is None else alone.segnet
        torch.testing.assert_close(calibration.join(alone), given)


def test_what_varies_at_random_never_spoils_what_tells_anomalies_apart() -> None:
    """A SegNet that knows nothing of a product leaves the ranking of images to normality."""
    calibration, good, bad = Calibration(), _verdict(400, seed=1), _verdict(400, seed=2)
    calibration.fit([_verdict(30)], 0.05)
    assert good.normality is not None
    assert bad.normality is not None
    good = good._replace(normality=0.7 * (good.normality + 5) - 1.5)
    bad = bad._replace(normality=0.7 * (bad.normality + 5) + 1.0)
    alone = _share_in_order(good.normality, bad.normality)
    joined = _share_in_order(calibration.join(good), calibration.join(bad))
    added = _share_in_order(*(_sum_of_odds(calibration, verdict) for verdict in (good, bad)))
    assert alone > 0.99
    assert joined > alone - 0.003
    assert added < joined


def test_joined_odds_rise_with_each_opinion() -> None:
    calibration = Calibration()
    grid = torch.linspace(-4, 4, 81)
    segnet, normality = (axis.flatten() for axis in torch.meshgrid(grid, grid, indexing="ij"))
    joined = calibration.join(Verdict(segnet, normality, torch.zeros(len(segnet), 1, 1, 1))).unflatten(0, (81, 81))
    assert (joined.diff(dim=0) >= 0).all()
    assert (joined.diff(dim=1) > 0).all()


def _share_in_order(good: torch.Tensor, bad: torch.Tensor) -> float:
    return (good[:, None] < bad).float().mean().item()


def _sum_of_odds(calibration: Calibration, verdict: Verdict) -> torch.Tensor:
    assert verdict.segnet is not None
    assert verdict.normality is not None
    segnet = log_odds(verdict.segnet, calibration.segnet_median, calibration.segnet_spread)
    return torch.logaddexp(segnet, verdict.normality)


def test_nothing_is_shifted_without_kept_images() -> None:
    calibration = Calibration()
    assert not calibration.fitted
    assert calibration.image_shift == calibration.pixel_shift == 0


def test_the_card_says_what_the_promise_rests_on() -> None:
    calibration = Calibration()
    calibration.fit([_verdict(10)], false_alarm_rate=0.05)
    card = calibration.card()
    assert card["images"] == 10
    assert card["false_alarm_rate"] == 0.05
    assert card["supported_rate"] == supported_rate(10) == pytest.approx(1 / 11)
    assert len(card["scores"]) == sum(card["histogram"]) == 10
    assert max(card["scores"]) == 0.5  # so few support no lower threshold


@pytest.mark.parametrize(
    ("number", "rate", "said"),
    [
        (19, 0.05, "At 0.5, 5.0% of normal images or fewer are expected to raise an alarm (19 were kept)."),
        (10, 0.05, "10 kept images support no rate of false alarms below 9.1%, so 0.5 is the highest of their scores;"),
        (1, 0.05, "1 kept image supports no rate of false alarms below 50.0%"),
        (10, 0.05, "5.0% takes 190 training images."),
        (3, 0.1, "10.0% takes 40 training images."),  # of which ten are kept
        (10, 0.01, "1.0% takes 990 training images."),
    ],
)
def test_one_line_says_what_is_promised(number: int, rate: float, said: str) -> None:
    calibration = Calibration()
    calibration.fit([_verdict(number)], rate)
    assert said in calibration.sentence()


def test_calibrates_anew_and_survives_checkpoints() -> None:
    calibration, loaded = Calibration(), Calibration()
    calibration.fit([_verdict(12)], 0.1)
    loaded.load_state_dict(calibration.state_dict())
    assert loaded.card() == calibration.card()
    new = _verdict(5, seed=3)
    torch.testing.assert_close(loaded.join(new), calibration.join(new))
    loaded.fit([_verdict(7, seed=4)], 0.2)
    assert loaded.card()["images"] == 7
    loaded.reset()
    torch.testing.assert_close(loaded.state_dict(), Calibration().state_dict())
