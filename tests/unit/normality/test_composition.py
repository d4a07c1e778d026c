"""Composition against a loop in NumPy, and on images whose parts are known."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from anomalib_slsg.normality.composition import (
    LEAST_CELLS,
    MAX_EVIDENCE,
    Composition,
    _cross_fold_scores,
    _distances,
    _learn,
    _Words,
)
from anomalib_slsg.normality.gaussian import SHRINKAGE
from anomalib_slsg.normality.measure import STEEPNESS
from anomalib_slsg.torch_model import SlsgModel, join_scores
from tests.support.models import COMPOSITION

CHANNELS = (4, 4)
SIDE = 8
WORDS = 128


@pytest.fixture(autouse=True)
def _few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images here are of four kinds of part."""
    monkeypatch.setattr("anomalib_slsg.normality.composition.WORDS", WORDS)


def _images(counts: list[dict[int, int]], seed: int = 0) -> list[Tensor]:
    """Pyramids of images with so many parts of each kind, each at a random place; features are nearly one-hot."""
    generator = torch.Generator().manual_seed(seed)
    fine = 0.02 * torch.randn(len(counts), CHANNELS[0], SIDE, SIDE, generator=generator)
    for image, parts in zip(fine, counts, strict=True):
        places = torch.randperm(SIDE * SIDE, generator=generator).tolist()
        for kind, number in parts.items():
            for _ in range(number):
                place = places.pop()
                image[kind, place // SIDE, place % SIDE] += 3
    coarse = 4 * torch.nn.functional.avg_pool2d(fine, 2)
    return [fine, coarse + 0.02 * torch.randn(coarse.shape, generator=generator)]


# two kinds of kit: the parts of one do not belong to the other
KITS = [{0: 4, 1: 2}, {2: 4, 3: 2}]


def _fitted(number: int = 200) -> Composition:
    composition = Composition(CHANNELS)
    pyramid = _images(KITS * (number // 2))
    composition.fit(composition.gather([[level[:7] for level in pyramid], [level[7:] for level in pyramid]]))
    return composition


def _rounded(features: Tensor) -> Tensor:
    """Features with an error that all images have alike, and another one each."""
    generator = torch.Generator().manual_seed(9)
    alike = torch.randn(features.shape[1:], generator=generator)
    return features + 0.02 * alike + 0.01 * torch.randn(features.shape, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("with_rounding", [False, True])
def test_evidence_is_that_of_the_nearest_normal_composition(with_rounding: bool) -> None:
    composition, normal, other = (
        Composition(CHANNELS),
        _images(KITS * 20),
        _images([*KITS, {0: 9}, {1: 6, 3: 1}], seed=1),
    )
    features, seen = composition.gather([normal]), composition.gather([other])
    rounded = _rounded(features) if with_rounding else features
    composition.fit(features, rounded - features if with_rounding else None)
    words, temperature = composition.words.double().numpy(), composition.temperature.item()

    def slow_shares(image: Tensor) -> np.ndarray:
        total = np.zeros(len(words))
        for y, x in np.ndindex(SIDE, SIDE):
            cell = ((image[:, y, x] - composition.mean) / composition.scale).double().numpy()
            total += softmax([-((cell - word) ** 2).sum() / temperature for word in words])
        return total / SIDE**2

    shares, rounded_shares, found = (
        np.array([slow_shares(image) for image in images]) for images in (features, rounded, seen)
    )
    errors = rounded_shares - shares
    scale = np.maximum(np.sqrt(shares.var(axis=0) + (errors**2).mean(axis=0)), LEAST_CELLS / SIDE**2)
    covariance = np.cov(shares.T / scale[:, None], bias=True) + SHRINKAGE * np.eye(len(words))
    for error in errors / scale:
        covariance += np.outer(error, error) / len(errors)
    expected = []
    for image in found:
        deviations = [(image - example) / scale for example in shares]
        squares = min(deviation @ np.linalg.solve(covariance, deviation) for deviation in deviations)
        distance = np.sqrt(squares / len(words))
        expected.append(
            np.clip(STEEPNESS * (distance - composition.median.item()) / composition.spread.item(), 0, MAX_EVIDENCE)
        )
    np.testing.assert_allclose(composition(other).numpy(), expected, rtol=1e-2, atol=2e-2)


def test_words_are_centres_of_what_is_nearest_to_them() -> None:
    """Rounds of Lloyd's algorithm bring cells closer to their words than the cells that they start from."""
    features = Composition(CHANNELS).gather([_images(KITS * 30)])
    words = _Words.learn(features)
    cells = features.permute(0, 2, 3, 1).flatten(0, 2).sub(words.mean).div(words.scale)
    squares = torch.cdist(cells, words.words).amin(dim=1).square().mean()
    generator = torch.Generator().manual_seed(5)
    drawn = cells[torch.randperm(len(cells), generator=generator)[:WORDS]]
    assert squares < 0.9 * torch.cdist(cells, drawn).amin(dim=1).square().mean()
    torch.testing.assert_close(words.temperature[0], squares, rtol=1e-3, atol=0)
    assert words.words.shape == (WORDS, features.shape[1])
    torch.testing.assert_close(words.shares(features).sum(dim=1), torch.ones(len(features)))


@pytest.mark.parametrize("wrong", [{0: 6, 1: 2}, {0: 2, 1: 2}, {0: 4, 3: 2}, {0: 4, 1: 2, 2: 2}], ids=str)
def test_parts_too_many_too_few_and_of_another_kit_are_unusual_wherever_they_lie(wrong: dict[int, int]) -> None:
    composition = _fitted()
    usual = composition(_images(KITS * 10, seed=2))
    unusual = composition(_images([wrong] * 10, seed=3))
    assert unusual.median() > usual.quantile(0.9)
    assert usual.median() < 0.5
    assert (usual >= 0).all()


def test_rounding_is_normal() -> None:
    """Images of one kit differ so little that rounding, which all of them suffer alike, would be an alarm."""
    composition = Composition(CHANNELS)
    kit = [KITS[0]] * 100
    features, seen = (_rounded(composition.gather([_images(kit, seed)])) for seed in (0, 1))
    exact, surplus = composition.gather([_images(kit)]), composition.gather([_images([{0: 4, 1: 4}] * 100, seed=2)])
    evidence = []
    for rounding in (None, features - exact):
        composition.fit(exact, rounding)
        evidence.append([composition([images[:, :4], images[:, 4:]]).median() for images in (seen, surplus)])
    assert evidence[0][0] > 3
    assert evidence[1][0] < 0.5
    assert evidence[1][1] > 2  # a surplus part is still none


def test_evidence_is_limited() -> None:
    assert _fitted()(_images([{0: 30, 3: 20}])).item() == MAX_EVIDENCE


def test_many_images_are_described_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of each word in each cell of hundreds of images would fill gigabytes."""
    described: list[int] = []
    shares = _Words.shares

    def note(words: _Words, features: Tensor) -> Tensor:
        described.append(len(features))
        return shares(words, features)

    monkeypatch.setattr(_Words, "shares", note)
    composition = Composition(CHANNELS)
    features = composition.gather([_images(KITS * 20)])
    composition.fit(features)
    composition.separation(features, features)
    assert described == [16, 16, 8] * 3


def test_each_fold_is_measured_by_the_others() -> None:
    shares = torch.rand(25, 6, generator=torch.Generator().manual_seed(0))
    others = torch.rand(25, 6, generator=torch.Generator().manual_seed(1))
    rounding = 0.1 * torch.rand(25, 6, generator=torch.Generator().manual_seed(2))
    normal, anomalous = _cross_fold_scores(shares, rounding, 0.01, shares, others)
    for fold in range(10):
        inside = torch.tensor([image * 10 // 25 == fold for image in range(25)])
        judge = _learn(shares[~inside], rounding[~inside], 0.01)
        torch.testing.assert_close(normal[inside], _distances(judge, shares[inside]))
        torch.testing.assert_close(anomalous[inside], _distances(judge, others[inside]))


def test_what_is_no_matter_of_composition_is_not_told_apart() -> None:
    composition = Composition(CHANNELS)
    features = composition.gather([_images(KITS * 30)])
    surplus = composition.gather([_images([{**kit, 3: kit.get(3, 0) + 2} for kit in KITS * 30], seed=4)])
    elsewhere = composition.gather([_images(KITS * 30, seed=5)])
    told, not_told = (composition.separation(features, other) for other in (surplus, elsewhere))
    assert told > Composition.least_separation
    assert not_told < Composition.least_separation
    both = composition.separation(features, torch.cat([surplus, elsewhere]))
    assert both == pytest.approx((told + not_told) / 2, abs=1e-6)
    assert not composition.fitted


@pytest.mark.parametrize("number", [2, 3])
def test_few_images_are_enough(number: int) -> None:
    composition = Composition(CHANNELS)
    composition.fit(composition.gather([_images((KITS * 2)[:number])]))
    assert composition(_images(KITS)).isfinite().all()


def test_images_without_parts_raise_no_alarms() -> None:
    composition = Composition(CHANNELS)
    plain = [torch.ones(5, CHANNELS[0], SIDE, SIDE), torch.ones(5, CHANNELS[1], SIDE // 2, SIDE // 2)]
    composition.fit(composition.gather([plain]))
    torch.testing.assert_close(composition(plain), torch.zeros(5))


def test_fits_anew_and_survives_checkpoints() -> None:
    fitted = _fitted()
    loaded = Composition(CHANNELS)
    loaded.load_state_dict(fitted.state_dict())
    images = _images([{0: 5, 1: 2}], seed=6)
    torch.testing.assert_close(loaded(images), fitted(images))
    loaded.reset()
    assert not loaded.fitted
    torch.testing.assert_close(loaded.state_dict(), Composition(CHANNELS).state_dict())


def test_scores_and_evidence_add_up_in_log_odds() -> None:
    scores = torch.tensor([0.0, 1e-6, 0.2, 0.5, 1.0])
    evidence = torch.tensor([MAX_EVIDENCE, 2.0, 1.0, 0.0, MAX_EVIDENCE])
    expected = torch.sigmoid(torch.logit(scores) + evidence)
    torch.testing.assert_close(join_scores(scores, evidence), expected)


def test_the_image_score_takes_the_evidence_and_the_map_does_not() -> None:
    torch.manual_seed(0)
    model = SlsgModel("test_resnet", normality=COMPOSITION, auto_bfloat16=False).eval()
    network, composition = model.seg_net, model.normality.composition
    assert composition is not None
    images = torch.rand(12, 3, 32, 32)
    with torch.no_grad():
        before = model(images)
        composition.fit(composition.gather([network.encoder(model.normalise(images))]))
        white = torch.ones(1, 3, 32, 32)
        after, unfitted = model(torch.cat([images, white])), model(white)
        evidence = composition(network.encoder(model.normalise(torch.cat([images, white]))))
    torch.testing.assert_close(after.anomaly_map[:12], before.anomaly_map)
    assert evidence[-1] > 1
    torch.testing.assert_close(
        after.pred_score, join_scores(model.image_score(after.anomaly_map), evidence), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(unfitted.pred_score, after.pred_score[-1:], rtol=1e-3, atol=1e-5)


def test_several_photographs_of_each_part_alarm_no_more_than_one() -> None:
    """Held out one by one, the next one would be found at almost no distance, and any other image far away."""
    features = Composition(CHANNELS).gather([_images(KITS * 30)]).repeat_interleave(4, dim=0)
    composition = Composition(CHANNELS)
    composition.fit(features + 0.01 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1)))
    assert composition(_images(KITS * 10, seed=2)).median() < 0.5
    assert composition(_images([{0: 6, 1: 2}] * 10, seed=3)).median() > 0.5
