"""The promised rate of false alarms, and how opinions of images are joined."""

import math

import pytest
import torch

from anomalib_slsg.networks.seg_net import RARITY
from anomalib_slsg.normality.calibration import Calibration, conformal_index, supported_rate, what_a_rate_takes
from anomalib_slsg.normality.joining import Opinion, Verdict
from anomalib_slsg.normality.measure import log_odds
from anomalib_slsg.normality.normality import HeldOut

BOTH = ("segnet", "normality")


def _verdict(number: int, seed: int = 0, opinions: tuple[str, ...] = BOTH, loudness: float = 1.0) -> Verdict:
    """Opinions of normal images; SegNet's vary by ``loudness``."""
    generator = torch.Generator().manual_seed(seed)
    image, pixels = (torch.randn(2, number, *shape, generator=generator) - 5 for shape in ((), (1, 4, 4)))
    said = {"segnet": Opinion(loudness * image[0], pixels[0] + 3), "normality": Opinion(image[1], pixels[1])}
    return Verdict(*(said[name] if name in opinions else None for name in BOTH))


def _held_out(number: int, seed: int) -> HeldOut:
    normality = _verdict(number, seed).normality
    assert normality is not None
    return HeldOut(normality.image, lambda images: normality.pixels[images])


def _of_images(segnet: torch.Tensor | None, normality: torch.Tensor | None) -> Verdict:
    return Verdict(
        *(None if image is None else Opinion(image, image[:, None, None, None]) for image in (segnet, normality))
    )


@pytest.mark.parametrize(("number", "rate", "below"), [(19, 0.05, 19), (39, 0.05, 38), (99, 0.1, 90), (10, 0.05, 10)])
def test_the_threshold_is_the_conformal_quantile(number: int, rate: float, below: int) -> None:
    """ceil((1 - alpha)(n + 1)) of n scores lie at it or below, or all."""
    assert conformal_index(number, rate) + 1 == min(number, math.ceil(round((1 - rate) * (number + 1), 9))) == below


@pytest.mark.parametrize("kept", [1, 2, 3, 12])
def test_few_kept_images_promise_what_so_many_support(kept: int) -> None:
    """SegNet's opinion is scaled by them, too, however far it varies."""
    alarms: list[float] = []
    for seed in range(400):
        calibration = Calibration()
        calibration.fit([_verdict(kept, seed, loudness=3)], false_alarm_rate=0.05)
        new = _verdict(100, 1000 + seed, loudness=3)
        alarms += (calibration.join(new) > calibration.image_shift).float().tolist()
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
    kept = _verdict(40, loudness=100)
    assert kept.segnet is not None
    calibration = Calibration()
    calibration.fit([kept], 0.05)
    usual, normality = kept.segnet.image.median().reshape(1), torch.tensor([1.0])
    joined = calibration.join(_of_images(usual, normality))
    torch.testing.assert_close(joined, normality, atol=0.05, rtol=0)
    assert calibration.join(_of_images(usual + 1000 * calibration.segnet_spread, normality)) > 10


def test_odds_add_up_where_segnet_finds_something() -> None:
    """Below even odds it is silent; above, what exceeds them is added."""
    calibration = Calibration()
    segnet, normality = torch.tensor([-3.0, 0.0, 0.5, 2.0]), torch.tensor([-30.0, 0.0, 1.0, -9.0])
    expected = torch.tensor(
        [-30.0, 0.0, math.log(math.exp(0.5) - 1 + math.exp(1)), math.log(math.exp(2) - 1 + math.exp(-9))]
    )
    torch.testing.assert_close(calibration.join(_of_images(segnet, normality)), expected)
    torch.testing.assert_close(calibration.join(_of_images(segnet, None)), segnet)
    torch.testing.assert_close(calibration.join(_of_images(None, normality)), normality)


def test_what_varies_at_random_never_spoils_what_tells_anomalies_apart() -> None:
    """A SegNet that knows nothing of a product leaves the ranking of images to normality."""
    calibration, good, bad = Calibration(), _verdict(400, seed=1), _verdict(400, seed=2)
    calibration.fit([_verdict(30)], 0.05)
    (noise, usual), (other_noise, unusual) = ([opinion.image for opinion in each if opinion] for each in (good, bad))
    usual, unusual = 0.7 * (usual + 5) - 1.5, 0.7 * (unusual + 5) + 1.0
    good, bad = _of_images(noise, usual), _of_images(other_noise, unusual)
    alone = _share_in_order(usual, unusual)
    joined = _share_in_order(calibration.join(good), calibration.join(bad))
    added = _share_in_order(*(_sum_of_odds(calibration, verdict) for verdict in (good, bad)))
    assert alone > 0.99
    assert joined > alone - 0.003
    assert added < joined


def test_joined_odds_rise_with_each_opinion() -> None:
    calibration = Calibration()
    grid = torch.linspace(-4, 4, 81)
    segnet, normality = (axis.flatten() for axis in torch.meshgrid(grid, grid, indexing="ij"))
    joined = calibration.join(_of_images(segnet, normality)).unflatten(0, (81, 81))
    assert (joined.diff(dim=0) >= 0).all()
    assert (joined.diff(dim=1) > 0).all()


def _share_in_order(good: torch.Tensor, bad: torch.Tensor) -> float:
    return (good[:, None] < bad).float().mean().item()


def _sum_of_odds(calibration: Calibration, verdict: Verdict) -> torch.Tensor:
    assert verdict.segnet is not None
    assert verdict.normality is not None
    segnet = log_odds(verdict.segnet.image, calibration.segnet_median, calibration.segnet_spread)
    return torch.logaddexp(segnet, verdict.normality.image)


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
        (19, 0.05, "At 0.5, about 5.0% of normal images are expected to raise an alarm (measured on 19)."),
        (
            10,
            0.05,
            "10 normal images support no rate of false alarms below 9.1%, so 0.5 is the highest of their scores;",
        ),
        (1, 0.05, "1 normal image supports no rate of false alarms below 50.0%"),
        (10, 0.05, "5.0% takes 190 training images."),
    ],
)
def test_one_line_says_what_is_promised(number: int, rate: float, said: str) -> None:
    calibration = Calibration()
    calibration.fit([_verdict(number, opinions=("segnet",))], rate)
    assert said in calibration.sentence()


def test_normality_knows_the_images_that_were_trained_with_too() -> None:
    calibration = Calibration()
    calibration.fit([_verdict(2)], 0.05, _held_out(16, seed=1))
    assert "18 normal images support no rate of false alarms below 5.3%" in calibration.sentence()
    assert "5.0% takes 19 training images" in calibration.sentence()
    silent = "SegNet only sharpens maps: 40 images would tell what is usual for it."
    assert calibration.sentence().endswith(silent)
    calibration.fit([_verdict(10)], 0.05, _held_out(30, seed=1))
    assert silent not in calibration.sentence()
    calibration.fit([_verdict(2, opinions=("normality",))], 0.05, _held_out(16, seed=1))
    assert silent not in calibration.sentence()
    card = calibration.card()
    assert (card["images"], card["kept"]) == (18, 2)


@pytest.mark.parametrize(
    ("rate", "normality", "images"),
    [
        *((0.05, True, 19), (0.1, True, 10), (0.2, True, 10)),  # of fewer than ten, none is kept
        *((0.01, True, 99), (0.001, True, 4990)),  # normality is fitted to 500 at the most
        *((0.05, False, 190), (0.1, False, 40), (0.01, False, 990)),
    ],
)
def test_fewer_images_support_a_rate_where_normality_judges(rate: float, normality: bool, images: int) -> None:
    assert what_a_rate_takes(rate, normality) == f"{rate:.1%} takes {images} training images"


@pytest.mark.parametrize("opinions", [("normality",), BOTH], ids=str)
@pytest.mark.parametrize("number", [5, 12])
def test_images_that_were_trained_with_are_judged_with_what_segnet_says_of_kept_ones(
    number: int, opinions: tuple[str, ...]
) -> None:
    kept, calibration = _verdict(number, opinions=opinions, loudness=40), Calibration()
    if kept.segnet is not None:
        kept.segnet.image[2] += 400  # one that it is not silent of
    held_out = _verdict(37, seed=1, opinions=("normality",))
    halves = [
        Verdict(*(said and Opinion(said.image[half], said.pixels[half]) for said in kept))
        for half in (slice(0, 3), slice(3, None))
    ]
    calibration.fit(halves, 0.1, HeldOut(held_out.normality.image, lambda images: held_out.normality.pixels[images]))
    images, pixels, heard = [], [], False
    for index in range(37 + number):
        turn = index % number if index < 37 else index - 37
        normality, place = (held_out.normality, index) if index < 37 else (kept.normality, turn)
        image, peak = normality.image[place], normality.pixels[place]
        if kept.segnet is not None:
            others = torch.cat([kept.segnet.image[:turn], kept.segnet.image[turn + 1 :]])
            spread = max(others.quantile(0.9) - others.median(), torch.tensor(0.5))
            excess = log_odds(kept.segnet.image[turn], others.median(), spread).clamp(min=0).expm1()
            image = (image.exp() + (excess if number >= 10 else 0)).log()  # fewer do not tell what is usual
            peak = peak + (kept.segnet.pixels[turn] - RARITY).clamp(min=0)
            heard = heard or bool(excess)
        images.append(image)
        pixels.append(peak.max())
    torch.testing.assert_close(calibration.images, torch.stack(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(calibration.pixels, torch.stack(pixels))
    assert heard == (kept.segnet is not None)
    index = math.ceil(0.9 * (38 + number)) - 1
    assert calibration.image_shift == calibration.images.sort().values[index]
    highest = calibration.pixels.sort().values[index]
    if kept.segnet is not None:  # no lower than by the kept ones alone
        highest = max(highest, calibration.pixels[37:].sort().values[min(number, math.ceil(0.9 * (number + 1))) - 1])
    assert calibration.pixel_shift == highest


DISTRIBUTIONS = {
    "normal": lambda noise: noise,
    "skewed": lambda noise: noise.square(),
    "heavy": lambda noise: noise.sinh(),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("kept", [1, 2, 4, 10])
def test_all_images_keep_the_promise_where_few_are_kept(kept: int, name: str) -> None:
    """However SegNet's opinion varies; more images are nearer to the rate than the kept ones alone."""

    def draw(number: int, seed: int) -> Verdict:
        segnet, normality = _verdict(number, seed)
        return Verdict(Opinion(*(5 * DISTRIBUTIONS[name](said + 5) for said in segnet)), normality)

    by_all, by_few, marked = [], [], []
    for seed in range(200):
        calibration, few, own = Calibration(), Calibration(), draw(kept, seed)
        calibration.fit([own], 0.05, _held_out(19 * kept, 1000 + seed))
        few.fit([own], 0.05)
        new = draw(200, 2000 + seed)
        by_all.append((calibration.join(new) > calibration.image_shift).float().mean())
        by_few.append((few.join(new) > few.image_shift).float().mean())
        marked.append((new.pixels.flatten(1).amax(dim=1) > calibration.pixel_shift).float().mean())
    assert 0.03 < torch.stack(by_all).mean() < 0.065
    assert torch.stack(by_all).std() < 0.75 * torch.stack(by_few).std()
    assert torch.stack(marked).mean() < 1.1 * supported_rate(kept)


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
