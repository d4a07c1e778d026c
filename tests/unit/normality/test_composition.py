"""Composition against a loop in NumPy, and on images whose parts are known."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from anomalib_slsg.normality.composition import LEAST_CELLS, Composition, _Words
from anomalib_slsg.normality.gaussian import SHRINKAGE
from anomalib_slsg.normality.measure import log_odds

CHANNELS = 4  # of each of two scales
SIDE = 8
WORDS = 128


@pytest.fixture(autouse=True)
def _few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images here are of four kinds of part."""
    monkeypatch.setattr("anomalib_slsg.normality.composition.WORDS", WORDS)


def _images(counts: list[dict[int, int]], seed: int = 0) -> Tensor:
    """Features of images with so many parts of each kind, each at a random place; features are nearly one-hot."""
    generator = torch.Generator().manual_seed(seed)
    fine = 0.02 * torch.randn(len(counts), CHANNELS, SIDE, SIDE, generator=generator)
    for image, parts in zip(fine, counts, strict=True):
        places = torch.randperm(SIDE * SIDE, generator=generator).tolist()
        for kind, number in parts.items():
            for _ in range(number):
                place = places.pop()
                image[kind, place // SIDE, place % SIDE] += 3
    coarse = 4 * torch.nn.functional.avg_pool2d(fine, 2)
    coarse = coarse + 0.02 * torch.randn(coarse.shape, generator=generator)
    return torch.cat([fine, torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")], dim=1)


# two kinds of kit: the parts of one do not belong to the other
KITS = [{0: 4, 1: 2}, {2: 4, 3: 2}]


def _fitted(number: int = 200) -> Composition:
    composition = Composition()
    composition.fit(_images(KITS * (number // 2)))
    return composition


def _changed(features: Tensor) -> Tensor:
    """Features with an error that all images have alike, and another one each."""
    generator = torch.Generator().manual_seed(9)
    alike = torch.randn(features.shape[1:], generator=generator)
    return features + 0.02 * alike + 0.01 * torch.randn(features.shape, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("with_changes", [False, True])
def test_odds_are_those_of_the_nearest_normal_composition(with_changes: bool) -> None:
    composition, features, seen = Composition(), _images(KITS * 20), _images([*KITS, {0: 9}, {1: 6, 3: 1}], seed=1)
    changed = torch.stack([_changed(features[:9]), 1.01 * features[:9]])
    composition.fit(features, *((changed, features[:9]) if with_changes else ()))
    words, temperature = composition.words.double().numpy(), composition.temperature.item()

    def slow_shares(image: Tensor) -> np.ndarray:
        total = np.zeros(len(words))
        for y, x in np.ndindex(SIDE, SIDE):
            cell = ((image[:, y, x] - composition.mean) / composition.scale).double().numpy()
            total += softmax([-((cell - word) ** 2).sum() / temperature for word in words])
        return total / SIDE**2

    shares, found = (np.array([slow_shares(image) for image in images]) for images in (features, seen))
    kinds = [np.array([slow_shares(image) for image in kind]) - shares[:9] for kind in changed] if with_changes else []
    variance = shares.var(axis=0) + sum((changes**2).mean(axis=0) for changes in kinds)
    scale = np.maximum(np.sqrt(variance), LEAST_CELLS / SIDE**2)
    covariance = np.cov(shares.T / scale[:, None], bias=True) + SHRINKAGE * np.eye(len(words))
    for changes in kinds:
        for change in changes / scale:
            covariance += np.outer(change, change) / len(changes)
    expected = []
    for image in found:
        deviations = [(image - example) / scale for example in shares]
        squares = min(deviation @ np.linalg.solve(covariance, deviation) for deviation in deviations)
        expected.append(np.sqrt(squares / len(words)))
    expected = log_odds(torch.tensor(expected), composition.median, composition.spread)
    np.testing.assert_allclose(composition(seen).numpy(), expected.numpy(), rtol=1e-2, atol=2e-2)


def test_words_are_centres_of_what_is_nearest_to_them() -> None:
    """Rounds of Lloyd's algorithm bring cells closer to their words than the cells that they start from."""
    features = _images(KITS * 30)
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
    assert usual.median() < -1


def test_changes_that_mean_nothing_are_normal() -> None:
    """Images of one kit differ so little that errors which all of them suffer alike would be an alarm."""
    kit = [KITS[0]] * 100
    exact, surplus = _images(kit), _images([{0: 4, 1: 4}] * 100, seed=2)
    features, seen = _changed(exact), _changed(_images(kit, seed=1))
    odds = []
    for changes in ((), (features[None], exact)):
        composition = Composition()
        composition.fit(exact, *changes)
        odds.append([composition(images).median() for images in (seen, surplus)])
    assert odds[0][0] > 0
    assert odds[1][0] < 0
    assert odds[1][1] > 0  # a surplus part is still none


def test_many_images_are_described_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of each word in each cell of hundreds of images would fill gigabytes."""
    described: list[int] = []
    shares = _Words.shares

    def note(words: _Words, features: Tensor) -> Tensor:
        described.append(len(features))
        return shares(words, features)

    monkeypatch.setattr(_Words, "shares", note)
    features = _images(KITS * 20)
    Composition().fit(features, features[None, :20], features[:20])
    assert described == [16, 16, 8, 16, 4, 16, 4]


@pytest.mark.parametrize("number", [2, 3])
def test_few_images_are_enough(number: int) -> None:
    composition = Composition()
    composition.fit(_images((KITS * 2)[:number]))
    assert composition(_images(KITS)).isfinite().all()


def test_images_without_parts_raise_no_alarms() -> None:
    composition, plain = Composition(), torch.ones(5, 2 * CHANNELS, SIDE, SIDE)
    composition.fit(plain)
    assert composition(plain).max() < -1


def test_fits_anew_and_survives_checkpoints() -> None:
    fitted = _fitted()
    loaded = Composition()
    loaded.load_state_dict(fitted.state_dict())
    images = _images([{0: 5, 1: 2}], seed=6)
    torch.testing.assert_close(loaded(images), fitted(images))
    loaded.reset()
    assert not loaded.fitted
    torch.testing.assert_close(loaded.state_dict(), Composition().state_dict())


def test_several_photographs_of_each_part_alarm_no_more_than_one() -> None:
    """Held out one by one, the next one would be found at almost no distance, and any other image far away."""
    features, composition = _images(KITS * 30).repeat_interleave(4, dim=0), Composition()
    composition.fit(features + 0.01 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1)))
    assert composition(_images(KITS * 10, seed=2)).median() < -1
    assert composition(_images([{0: 6, 1: 2}] * 10, seed=3)).median() > -1
