"""Places and whole against a loop in NumPy, and their odds on features that are known."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomalib_slsg.normality.gaussian import SHRINKAGE, _most_different
from anomalib_slsg.normality.measure import STEEPNESS, TOLERANCE, log_odds
from anomalib_slsg.normality.places import EXAMPLES, PlaceByPlace, Places, Whole
from tests.support.paths import REPOSITORY

CHANNELS = 7


def _features(number: int, grid: tuple[int, int] = (6, 8), seed: int = 0, shift: float = 0.0) -> Tensor:
    """Features whose mean and spread depend on the place."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.linspace(1, 5, grid[0])[:, None]
    return torch.randn(number, CHANNELS, *grid, generator=generator) * slope + 10 * slope + shift


def _fitted(number: int = 40, kind: type[PlaceByPlace] = Places) -> PlaceByPlace:
    measure = kind()
    features = _features(number)
    measure.fit(features)
    if isinstance(measure, Places):
        measure.align((48, 64), torch.zeros(2))
    return measure


def _scaled(features: Tensor, like: Tensor) -> np.ndarray:
    return (features / like.std(dim=(0, 2, 3))[:, None, None]).double().numpy()


def _slow_distances(normal: np.ndarray, features: np.ndarray, changes: tuple[np.ndarray, ...] = ()) -> np.ndarray:
    """Of features that vary by about 1; ``changes`` of each kind mean nothing."""
    result = np.empty((len(features), *features.shape[2:]))
    for y, x in np.ndindex(*features.shape[2:]):
        covariance = np.cov(normal[:, :, y, x].T) + SHRINKAGE * np.eye(normal.shape[1])
        for kind in changes:
            for change in kind[:, :, y, x]:
                covariance += np.outer(change, change) / len(kind)
        for image, vector in enumerate(features[:, :, y, x]):
            deviations = vector - normal[:, :, y, x]
            squares = [deviation @ np.linalg.solve(covariance, deviation) for deviation in deviations]
            result[image, y, x] = np.sqrt(min(squares) / len(vector))
    return result


def test_odds_are_even_at_the_tolerance_and_grow_with_the_square() -> None:
    unusual = torch.tensor([-8.0, 2.0, 4.0, 6.0, 104.0, 5004.0])
    expected = []
    for deviation in ((unusual.double() - 2) / 2).tolist():
        odds = (1 + deviation) ** STEEPNESS if deviation > 0 else np.exp(STEEPNESS * deviation)
        expected.append(np.log(odds / (1 + TOLERANCE) ** STEEPNESS))
    found = log_odds(unusual, torch.tensor(2.0), torch.tensor(2.0))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert found[3] == 0
    assert torch.sigmoid(found[-1]) < 1  # far is still told from farther


@pytest.mark.slow
@pytest.mark.parametrize("number", [8, 40, 60])
@pytest.mark.parametrize("with_changes", [False, True])
def test_distances_are_from_the_nearest_example_and_calibrated_by_other_folds(number: int, with_changes: bool) -> None:
    """An image that was learnt from is its own example, at no distance."""
    measure, features, other = Whole(), _features(number), _features(5, seed=1)
    generator = torch.Generator().manual_seed(9)
    kinds = 3 * torch.randn(2, 5, *features.shape[1:], generator=generator) if with_changes else None
    measure.fit(features, None if kinds is None else kinds.flatten(0, 1), kinds=2)
    normal, seen = _scaled(features, features), _scaled(other, features)
    changes = () if kinds is None else tuple(_scaled(kind, features) for kind in kinds)
    found = measure.distances(other)[:, 0].numpy()
    assert measure.examples.shape[1] == number  # all are kept
    np.testing.assert_allclose(found, _slow_distances(normal, seen, changes), rtol=1e-3, atol=1e-4)
    fold_of = np.array([image * min(10, number) // number % 5 for image in range(number)])
    highest = [
        _slow_distances(normal[fold_of != fold], normal[fold_of == fold], changes).max(axis=(1, 2)) for fold in range(5)
    ]
    # torch takes the lower of the two middle ones
    assert measure.median.item() == pytest.approx(np.sort(np.concatenate(highest))[(number - 1) // 2], rel=1e-3)


def test_new_normal_images_are_unlikely_anomalous_and_moved_ones_likely() -> None:
    places = _fitted(200)
    image, pixels = places(_features(50, seed=2), (48, 64))
    moved_image, moved_pixels = places(_features(50, seed=2, shift=40.0), (48, 64))
    assert (image.shape, pixels.shape) == ((50,), (50, 1, 48, 64))
    assert (image > 0).float().mean() < 0.1
    assert (pixels.amax(dim=(1, 2, 3)) > 0).float().mean() < 0.1
    assert torch.sigmoid(moved_pixels.amin(dim=(1, 2, 3)).min()) > 0.9
    assert moved_image.min() > image.max()
    torch.testing.assert_close(_fitted(200, Whole)(_features(50, seed=2)), image)


def test_changes_that_mean_nothing_are_normal() -> None:
    """Images that resemble each other would make an alarm of every other exposure."""
    normal = 10 + 0.01 * _features(40)
    darker, wrong = 0.9 * normal[:5], normal[:5] + 2 * torch.randn(5, CHANNELS, 6, 8).sign()
    odds = []
    for changes in (None, torch.cat([0.1 * normal, -0.1 * normal])):
        whole = Whole()
        whole.fit(normal, changes, kinds=2)
        odds.append([whole(images).median().item() for images in (darker, wrong)])
    assert odds[0][0] > 2
    assert odds[1][0] < 0
    assert odds[1][1] > 2


def test_several_photographs_of_each_part_alarm_no_more_than_one() -> None:
    """Held out one by one, the next one would be found at almost no distance, and any other image far away."""
    measure = Whole()
    features = _features(100).repeat_interleave(4, dim=0)
    measure.fit(features + 0.01 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1)))
    assert (measure(_features(50, seed=2)) > 0).float().mean() < 0.1


def test_what_lies_between_two_kinds_of_normal_is_farther_than_either() -> None:
    """Half of one product and half of another is the most usual of all to a single Gaussian."""
    measure = Whole()
    measure.fit(torch.cat([_features(60), _features(60, seed=1, shift=80.0)]))
    new = [_features(40, seed=2), _features(40, seed=3, shift=80.0)]
    odds = [measure(features) for features in (*new, new[0] + 40)]
    for normal in odds[:2]:
        assert roc_auc_score([0] * 40 + [1] * 40, torch.cat([normal, odds[2]])) > 0.8


def test_examples_are_as_different_as_can_be() -> None:
    points = torch.randn(5, 20, 3, generator=torch.Generator().manual_seed(0))
    for place, found in zip(points.numpy(), _most_different(points, 7), strict=True):
        chosen = [int(np.argmin((place**2).sum(axis=1)))]
        while len(chosen) < 7:
            gaps = [min(np.linalg.norm(point - place[one]) for one in chosen) for point in place]
            chosen.append(int(np.argmax(gaps)))
        np.testing.assert_array_equal(found.numpy(), place[chosen])


def test_a_bounded_number_of_examples_is_kept() -> None:
    places = _fitted(EXAMPLES + 9)
    assert places.examples.shape == (6 * 8, EXAMPLES, CHANNELS)
    assert places.examples.unique(dim=1).shape == places.examples.shape


def test_the_place_matters() -> None:
    features = _features(1, seed=3).flip(2)
    assert torch.sigmoid(_fitted()(features, (6, 8))[1][0, 0, 0].min()) > 0.9


def test_the_map_peaks_where_cells_look() -> None:
    places, features = _fitted(), _features(40)[:1].clone()
    features[:, :, 3, 5] += 40
    for offset, row, column in (((0.0, 0.0), 28, 44), ((4.0, -4.0), 32, 40)):
        assert isinstance(places, Places)
        places.align((48, 64), torch.tensor(offset))
        peaks = (places(features, (48, 64))[1][0, 0] >= places(features, (48, 64))[1].max() - 1e-3).nonzero().float()
        torch.testing.assert_close(peaks.mean(dim=0) + 0.5, torch.tensor([row, column], dtype=torch.float32))


def test_fits_anew_and_survives_checkpoints() -> None:
    places, fresh = _fitted(), Places()
    assert not fresh.fitted
    fresh.load_state_dict(places.state_dict())
    assert fresh.fitted
    torch.testing.assert_close(fresh(_features(2, seed=5), (6, 8)), places(_features(2, seed=5), (6, 8)))
    fresh.reset()
    assert not fresh.fitted
    torch.testing.assert_close(fresh.state_dict(), Places().state_dict())


@pytest.mark.parametrize("number", [2, 3])
def test_two_images_are_enough(number: int) -> None:
    whole = Whole()
    whole.fit(_features(number))
    assert whole(_features(2, seed=1)).isfinite().all()


def test_constant_features_are_no_anomalies() -> None:
    features = _features(1).expand(8, -1, -1, -1)
    whole = Whole()
    whole.fit(features)
    assert whole(features).max() < 0


def test_few_images_that_happen_to_lie_equally_far_raise_no_alarms() -> None:
    """Two images leave no spread at all; one a twentieth farther than they are from each other is no anomaly."""
    first, second = _features(1), _features(1, seed=1)
    middle = (first + second) / 2
    whole = Whole()
    whole.fit(torch.cat([first, second]))
    assert whole.spread >= 0.1 * whole.median
    assert whole(middle + 1.05 * (second - middle)).max() < 0


MEMORY_OF_A_FIT = """
import torch
from anomalib_slsg.normality.places import Places
from anomalib_slsg.normality.poses import Posed
from benchmarks.common.own_process import peak_mebibytes

features = torch.rand(150, 64, 16, 16)
posed = Posed(torch.rand(450, 64, 16, 16), torch.arange(150).repeat(3))
Places().fit(features[:8])
before = peak_mebibytes()
Places().fit(features, posed=posed)
print((peak_mebibytes() - before) * 2**20 / (features.nbytes + posed.features.nbytes))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Python has no name for a process's highest memory on Windows")
def test_a_fit_needs_less_memory_than_its_features() -> None:
    told = subprocess.run(
        [sys.executable, "-c", MEMORY_OF_A_FIT], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert float(told.stdout) < 1
