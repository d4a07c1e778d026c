"""Distances of features against a loop in NumPy, and their probabilities on images that are known."""

import copy

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomalib_slsg.networks.seg_net import RARITY
from anomalib_slsg.normality.gaussian import SHRINKAGE, _most_different
from anomalib_slsg.normality.measure import FEATURES, LARGEST_SIDE, STEEPNESS
from anomalib_slsg.normality.places import EXAMPLES, TOLERANCE, Places
from anomalib_slsg.torch_model import SlsgModel, join_maps
from tests.support.models import PLACES

CHANNELS = (3, 4)


def _pyramid(number: int, grid: tuple[int, int] = (3, 4), seed: int = 0, shift: float = 0.0) -> list[Tensor]:
    """Features whose mean and spread depend on the place."""
    generator = torch.Generator().manual_seed(seed)
    height, width = grid
    deep = torch.randn(number, CHANNELS[1], height, width, generator=generator)
    fine = torch.randn(number, CHANNELS[0], 2 * height, 2 * width, generator=generator)
    slope = torch.linspace(1, 5, height)[:, None]
    return [torch.rand(number, 2, 4 * height, 4 * width), 3 * fine + shift, deep * slope + 10 * slope + shift]


def _fitted(number: int = 40, grid: tuple[int, int] = (3, 4)) -> Places:
    distance = Places(CHANNELS)
    pyramid = _pyramid(number, grid)
    distance.fit(distance.gather([[level[:7] for level in pyramid], [level[7:] for level in pyramid]]))
    return distance


def _stacked(pyramid: list[Tensor]) -> np.ndarray:
    fine, deep = (level.double().numpy() for level in pyramid[-2:])
    height, width = fine.shape[2:]
    enlarged = [[cv2.resize(channel, (width, height)) for channel in image] for image in deep]
    return np.concatenate([fine, np.array(enlarged)], axis=1)


def _folds(number: int, folds: int) -> list[tuple[list[int], list[int]]]:
    """Images that are held out, with those that judge them: each tenth of them in turns is of another fold."""
    fold_of = [image * min(10, number) // number % folds for image in range(number)]
    return [
        ([i for i in range(number) if fold_of[i] == fold], [i for i in range(number) if fold_of[i] != fold])
        for fold in range(folds)
    ]


def _scale(normal: np.ndarray) -> np.ndarray:
    return normal.std(axis=(0, 2, 3), ddof=1)[:, None, None]


def _slow_distances(normal: np.ndarray, features: np.ndarray, errors: np.ndarray | None = None) -> np.ndarray:
    """Of features that vary by about 1, and are rounded by ``errors``."""
    result = np.empty((len(features), 1, *features.shape[2:]))
    for y, x in np.ndindex(*features.shape[2:]):
        covariance = np.cov(normal[:, :, y, x].T) + SHRINKAGE * np.eye(normal.shape[1])
        for error in () if errors is None else errors[:, :, y, x]:
            covariance += np.outer(error, error) / len(errors)
        for image, vector in enumerate(features[:, :, y, x]):
            deviations = vector - normal[:, :, y, x]
            squares = [deviation @ np.linalg.solve(covariance, deviation) for deviation in deviations]
            result[image, 0, y, x] = np.sqrt(min(squares) / len(vector))
    return result


def test_log_odds_are_those_of_the_distance_from_the_nearest_normal_image() -> None:
    distance = _fitted()
    other = _pyramid(5, seed=1)
    normal = _stacked(_pyramid(40))
    expected = _slow_distances(normal / _scale(normal), _stacked(other) / _scale(normal))
    scaled = (expected - distance.median.item()) / distance.spread.item()
    expected = STEEPNESS * (scaled - TOLERANCE)
    np.testing.assert_allclose(distance(other, (6, 8)).numpy(), expected, rtol=1e-3, atol=1e-4)


def _rounded(features: Tensor) -> Tensor:
    """Features with an error that all images have alike, and another one each."""
    generator = torch.Generator().manual_seed(9)
    alike = torch.randn(features.shape[1:], generator=generator)
    return features + alike + 0.5 * torch.randn(features.shape, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("number", [10, 40, 60])
def test_rounding_counts_as_variation_and_is_calibrated_with(number: int) -> None:
    distance, other = Places(CHANNELS), _pyramid(5, seed=1)
    features = distance.gather([_pyramid(number)])
    distance.fit(features, _rounded(features) - features)
    scale = _scale(features.double().numpy())
    normal, rounded, seen = (
        images / scale for images in (features.double().numpy(), _rounded(features).double().numpy(), _stacked(other))
    )
    errors = rounded - normal
    maxima = [
        _slow_distances(normal[rest], rounded[fold], errors[rest]).max(axis=(1, 2, 3))
        for fold, rest in _folds(number, 5)
    ]
    # torch takes the lower of the two middle ones
    assert distance.median.item() == pytest.approx(np.sort(np.concatenate(maxima))[number // 2 - 1], rel=1e-3)
    scaled = (_slow_distances(normal, seen, errors) - distance.median.item()) / distance.spread.item()
    np.testing.assert_allclose(distance(other, (6, 8)).numpy(), STEEPNESS * (scaled - TOLERANCE), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [8, 10, 40, 80])
def test_each_fold_is_measured_by_the_others(number: int) -> None:
    """An image that was learnt from is its own example, at no distance."""
    distance = _fitted(number)
    stacked = _stacked(_pyramid(number))
    stacked = stacked / _scale(stacked)
    maxima = [_slow_distances(stacked[rest], stacked[fold]).max(axis=(1, 2, 3)) for fold, rest in _folds(number, 5)]
    assert distance.median.item() == pytest.approx(np.sort(np.concatenate(maxima))[number // 2 - 1], rel=1e-3)


def test_new_normal_images_are_unlikely_anomalous_and_moved_ones_likely() -> None:
    distance = _fitted(200)
    normal = distance(_pyramid(50, seed=2), (48, 64))
    moved = distance(_pyramid(50, seed=2, shift=20.0), (48, 64))
    assert normal.shape == (50, 1, 48, 64)
    assert (normal.amax(dim=(1, 2, 3)) > 0).float().mean() < 0.1
    assert torch.sigmoid(moved.amin(dim=(1, 2, 3)).min()) > 0.9


def test_several_photographs_of_each_part_alarm_no_more_than_one() -> None:
    """Held out one by one, the next one would be found at almost no distance, and any other image far away."""
    distance = Places(CHANNELS)
    features = distance.gather([_pyramid(100)]).repeat_interleave(4, dim=0)
    distance.fit(features + 0.01 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1)))
    normal = distance(_pyramid(50, seed=2), (48, 64))
    assert (normal.amax(dim=(1, 2, 3)) > 0).float().mean() < 0.1


def test_what_lies_between_two_kinds_of_normal_is_farther_than_either() -> None:
    """Half of one product and half of another is the most usual of all to a single Gaussian."""
    distance = Places(CHANNELS)
    first, second = _pyramid(60), _pyramid(60, seed=1, shift=40.0)
    distance.fit(distance.gather([first, second]))
    new = [_pyramid(40, seed=2), _pyramid(40, seed=3, shift=40.0)]
    between = [level + 20 for level in new[0]]
    highest = [distance(pyramid, (6, 8)).amax(dim=(1, 2, 3)) for pyramid in (*new, between)]
    for normal in highest[:2]:
        assert roc_auc_score([0] * 40 + [1] * 40, torch.cat([normal, highest[2]])) > 0.8


def test_examples_are_as_different_as_can_be() -> None:
    points = torch.randn(5, 20, 3, generator=torch.Generator().manual_seed(0))
    for place, found in zip(points.numpy(), _most_different(points, 7), strict=True):
        chosen = [int(np.argmin((place**2).sum(axis=1)))]
        while len(chosen) < 7:
            gaps = [min(np.linalg.norm(point - place[one]) for one in chosen) for point in place]
            chosen.append(int(np.argmax(gaps)))
        np.testing.assert_array_equal(found.numpy(), place[chosen])


def test_a_bounded_number_of_examples_is_kept() -> None:
    distance = _fitted(EXAMPLES + 9)
    assert distance.examples.shape == (6 * 8, EXAMPLES, sum(CHANNELS))
    assert distance.examples.unique(dim=1).shape == distance.examples.shape


def test_the_place_matters() -> None:
    distance = _fitted()
    pyramid = _pyramid(1, seed=3)
    pyramid[-1] = pyramid[-1].flip(2)
    assert torch.sigmoid(distance(pyramid, (6, 8))[0, 0, 0].min()) > 0.9


def test_fits_once_per_shape_and_survives_checkpoints() -> None:
    distance = _fitted()
    fresh = Places(CHANNELS)
    assert not fresh.fitted
    fresh.load_state_dict(distance.state_dict())
    assert fresh.fitted
    torch.testing.assert_close(fresh(_pyramid(2), (6, 8)), distance(_pyramid(2), (6, 8)))


def test_images_of_other_sizes_are_brought_to_the_grid() -> None:
    distance = _fitted(grid=(4, 4))
    assert distance(_pyramid(2, (6, 10)), (96, 160)).shape == (2, 1, 96, 160)


@pytest.mark.slow
def test_large_images_and_wide_encoders_stay_small() -> None:
    distance = Places((100, 100))
    side = LARGEST_SIDE + 8
    pyramid = [torch.randn(3, 100, 2 * side, 2 * side), torch.randn(3, 100, side, side)]
    distance.fit(distance.gather([pyramid]))
    assert distance.mean.shape == (FEATURES, LARGEST_SIDE, LARGEST_SIDE)
    assert distance.selected.unique().numel() == FEATURES


@pytest.mark.parametrize("number", [2, 3])
def test_two_images_are_enough(number: int) -> None:
    distance = Places(CHANNELS)
    distance.fit(distance.gather([_pyramid(number)]))
    assert distance(_pyramid(2, seed=1), (6, 8)).isfinite().all()


def test_constant_features_are_no_anomalies() -> None:
    distance = Places(CHANNELS)
    pyramid = [level[:1].expand(8, -1, -1, -1) for level in _pyramid(1)]
    distance.fit(distance.gather([pyramid]))
    assert distance(pyramid, (6, 8)).max() < 0


def test_few_images_that_happen_to_lie_equally_far_raise_no_alarms() -> None:
    """Two images leave no spread at all; one half again as far as they are from each other is still no anomaly."""
    distance = Places(CHANNELS)
    first, second = _pyramid(1), _pyramid(1, seed=1)
    middle = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    distance.fit(distance.gather([first, second]))
    near = [m + 1.05 * (b - m) for m, b in zip(middle, second, strict=True)]
    assert distance.spread >= 0.1 * distance.median
    assert distance(near, (6, 8)).max() < 0


@pytest.mark.slow
def test_the_map_joins_both_opinions() -> None:
    model = SlsgModel("regnetx_002", normality=PLACES, auto_bfloat16=False).eval()
    places = model.normality.places
    assert places is not None
    normal, images = torch.rand(1, 3, 64, 96), torch.rand(4, 3, 64, 96)

    def pyramid(images: Tensor) -> list[Tensor]:
        return model.seg_net.encoder(model.normalise(images))

    with torch.no_grad():
        alone = model(images).anomaly_map.double()
        pyramids = [pyramid(normal + 0.02 * torch.randn(4, 3, 64, 96)) for _ in range(3)]
        places.fit(places.gather(pyramids))
        both = model(images).anomaly_map
        distant = places(pyramid(images), (64, 96)).double().exp()  # odds
    decoders = (alone / (1 - alone)).clamp(min=0.05 / 0.95)
    odds = decoders / (0.05 / 0.95) * distant
    torch.testing.assert_close(both, (odds / (1 + odds)).float(), atol=1e-4, rtol=0)
    assert (both - alone).abs().max() > 1e-2
    copied = copy.deepcopy(model).normality.places
    assert copied is not None
    assert copied.fitted


def test_evidence_adds_up_and_silence_is_none() -> None:
    for distance in torch.tensor([-3.0, 0.0, 3.0]):
        silent = join_maps(torch.tensor(-20.0), distance)
        assert silent == join_maps(torch.tensor(RARITY), distance) == distance
        torch.testing.assert_close(join_maps(torch.tensor(RARITY + 3), distance), distance + 3)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "times", "folds"), [(10, 3, 5), (40, 1, 5), (60, 1, 3), (80, 1, 2)])
def test_separation_is_that_of_images_which_have_not_been_learnt_from(number: int, times: int, folds: int) -> None:
    distance = Places(CHANNELS)
    normal = distance.gather([_pyramid(number)])
    stacked = _stacked(_pyramid(number))
    hardly_each_third = 2 * (torch.arange(number * times) % 3)[:, None, None, None]
    moved = normal.repeat(times, 1, 1, 1) + 0.1 + hardly_each_third
    scores = []
    for images in (stacked, *np.split(moved.double().numpy(), times)):
        for fold, rest in _folds(number, folds):
            measured = _slow_distances((stacked / _scale(stacked))[rest], (images / _scale(stacked))[fold])
            scores += measured.max(axis=(1, 2, 3)).tolist()
    expected = roc_auc_score([0] * number + [1] * number * times, scores)
    assert 0.6 < expected < 0.9
    assert distance.separation(normal, moved) == pytest.approx(expected, abs=1e-6)


def test_where_places_mean_nothing_there_is_no_separation() -> None:
    """A part that lies anywhere is normal everywhere, so that a second one is no news."""
    generator = torch.Generator().manual_seed(0)
    aligned = torch.randn(60, 7, 4, 4, generator=generator) * 0.1
    aligned[:, :, 1, 2] += 3
    shifts = torch.randint(0, 4, (60, 2), generator=generator).tolist()
    turned = torch.stack([image.roll(shift, dims=(1, 2)) for shift, image in zip(shifts, aligned, strict=True)])
    found = []
    for normal in (aligned, turned):
        anomalous = torch.stack([torch.maximum(image, image.roll(1, dims=2)) for image in normal])
        found.append(Places(CHANNELS).separation(normal, anomalous))
    assert found[0] > 0.95
    assert found[1] < Places.least_separation
