"""The pure functions of sPRO."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from anomalib_slsg.metrics.anomaly_maps import check_aspect, check_map, resize_map
from anomalib_slsg.metrics.spro import (
    SPROPoints,
    add,
    area_above,
    area_by_score,
    area_under_curve,
    saturate,
    saturation_area,
    spro_curve,
    tabulate,
    thin,
    thin_curve,
)


@pytest.mark.parametrize(
    ("area", "threshold", "relative", "expected"),
    [(100, 384, False, 100), (1000, 384, False, 384), (100, 0.37, True, 37), (99, 0.5, True, 49), (1, 0.5, True, 1)],
)
def test_saturation_area(area: int, threshold: float, relative: bool, expected: int) -> None:
    assert saturation_area(area, threshold, relative) == expected


def _scores(number: int, levels: int | None) -> np.ndarray:
    generator = np.random.default_rng(number)
    return generator.integers(0, levels, number).astype(float) if levels else generator.normal(size=number)


@pytest.mark.parametrize("levels", [None, 1, 2, 7])
def test_areas_count_pixels_strictly_above(levels: int | None) -> None:
    scores = _scores(200, levels)
    areas = area_by_score(scores)
    assert areas.total == 200
    assert np.all(np.diff(areas.scores) < 0)
    thresholds = np.concatenate([scores, [-np.inf, np.inf, 0.5]])
    assert area_above(areas, thresholds).tolist() == [(scores > threshold).sum() for threshold in thresholds]


def test_no_pixels_make_an_empty_table() -> None:
    assert len(area_by_score(np.empty(0, np.float32)).scores) == 0


@pytest.mark.parametrize("saturation", [1, 30, 30.5, 199, 200])
@pytest.mark.parametrize("levels", [None, 3])
def test_saturated_area_is_the_defects_spro(saturation: float, levels: int | None) -> None:
    scores = _scores(200, levels)
    share = saturate(area_by_score(scores), saturation)
    assert share.total == pytest.approx(1)
    thresholds = np.append(scores, -np.inf)
    expected = [min((scores > threshold).sum() / saturation, 1) for threshold in thresholds]
    assert area_above(share, thresholds) == pytest.approx(expected)


def test_sum_of_tables() -> None:
    left, right = _scores(50, 5), _scores(80, 7)
    both, together = add([area_by_score(left), area_by_score(right)]), area_by_score(np.concatenate([left, right]))
    assert np.array_equal(both.scores, together.scores)
    assert np.array_equal(both.areas, together.areas)


@pytest.mark.parametrize("levels", [None, 5, 300])
@pytest.mark.parametrize("resolution", [0.3, 0.01])
@pytest.mark.parametrize("weighted", [False, True])
def test_thinning_keeps_areas_within_the_resolution(levels: int | None, resolution: float, weighted: bool) -> None:
    scores = _scores(5000, levels)
    exact = area_by_score(scores)
    if weighted:
        exact = tabulate(exact.scores, exact.areas * np.random.default_rng(0).pareto(1, len(exact.scores)))
    tables = [thin(exact, resolution)] if weighted else [thin(exact, resolution), area_by_score(scores, 4, resolution)]
    before = area_above(exact, exact.scores)
    for thinned in tables:
        change = np.abs(area_above(thinned, exact.scores) - before)
        assert np.all(change <= resolution * before * (1 + 1e-9))
        assert thinned.total == pytest.approx(exact.total)
        assert len(thinned.scores) <= len(exact.scores)
    if levels is None and resolution == 0.3:
        assert all(len(thinned.scores) < 60 for thinned in tables)


heavy_areas = st.lists(st.one_of(st.floats(1e-3, 1), st.floats(100, 1e6)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(heavy_areas, st.sampled_from([1.0, 0.1, 2.0**-10]))
def test_thinning_of_any_areas(areas: list[float], resolution: float) -> None:
    exact = tabulate(np.arange(len(areas), dtype=float), np.array(areas))
    thinned = thin(exact, resolution)
    # at scores, between them, above and below all
    thresholds = np.arange(-1, len(areas) + 0.5, 0.5)
    before = area_above(exact, thresholds)
    assert np.all(np.abs(area_above(thinned, thresholds) - before) <= resolution * before * (1 + 1e-9))
    assert np.isin(thinned.scores, exact.scores).all()
    assert np.all(np.diff(thinned.scores) < 0)
    assert np.all(thinned.areas > 0)
    assert thinned.total == pytest.approx(exact.total)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.sampled_from([1.0, 0.1]))
def test_pixels_with_many_ties_are_thinned_within_the_resolution(pixels: list[int], resolution: float) -> None:
    scores = np.array(pixels, float)
    exact, thinned = area_by_score(scores), area_by_score(scores, 2, resolution)
    thresholds = np.arange(-1, 31, 0.5)
    before = area_above(exact, thresholds)
    assert np.all(np.abs(area_above(thinned, thresholds) - before) <= resolution * before + 1e-9)
    assert thinned.total == len(pixels)


def test_joined_scores_become_their_median() -> None:
    """With resolution 1 the areas 1, 2, 4 and 8 end a group: 8 | 7 | 6 5 | 4 3 2 1."""
    pixels = np.arange(1.0, 9)
    for thinned in (thin(area_by_score(pixels), 1.0), area_by_score(pixels, 4, 1.0)):
        assert thinned.scores.tolist() == [8, 7, 6, 3]
        assert thinned.areas.tolist() == [1, 1, 2, 4]


def test_few_scores_are_not_thinned() -> None:
    scores = np.repeat(np.arange(50.0), 20)
    exact = area_by_score(scores, 50, 0.5)
    assert (exact.scores.tolist(), set(exact.areas)) == (list(range(49, -1, -1)), {20.0})
    assert len(area_by_score(scores, 49, 0.5).scores) < 50


def test_thinning_depends_on_the_order_of_scores_only() -> None:
    scores = _scores(3000, None)
    plain, transformed = thin(area_by_score(scores), 0.05), thin(area_by_score(np.exp(3 * scores)), 0.05)
    assert np.array_equal(plain.areas, transformed.areas)
    assert np.array_equal(np.exp(3 * plain.scores), transformed.scores)


def test_curve_by_hand() -> None:
    points = spro_curve(area_by_score(np.array([3.0, 1.0, 1.0])), saturate(area_by_score(np.array([4.0, 2.0])), 2))
    assert points.thresholds.tolist() == [4, 3, 2, 1, -np.inf]
    assert points.fpr == pytest.approx([0, 0, 1 / 3, 1 / 3, 1])
    assert points.spro == pytest.approx([0, 0.5, 0.5, 1, 1])
    assert area_under_curve(points, 1.0) == pytest.approx(1 / 6 + 2 / 3)
    assert area_under_curve(points, 1 / 3) == pytest.approx(0.5)
    assert area_under_curve(points, 0.1) == pytest.approx(0.5)


def test_area_is_cut_by_interpolation() -> None:
    points = SPROPoints(np.array([1.0, -np.inf]), np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert area_under_curve(points, 0.4) == pytest.approx(0.2)


@pytest.mark.parametrize("limit", [0, -1, 1.1, float("nan")])
def test_limits_out_of_range(limit: float) -> None:
    points = SPROPoints(np.array([1.0, -np.inf]), np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="fpr_limit must be above 0 and at most 1"):
        area_under_curve(points, limit)


def test_undefined_curves() -> None:
    some, none = area_by_score(np.ones(3)), area_by_score(np.empty(0))
    with pytest.raises(ValueError, match="needs normal pixels"):
        spro_curve(none, some)
    with pytest.raises(ValueError, match="needs a defect"):
        spro_curve(some, none)


def test_thinned_curve_keeps_ends_and_distances() -> None:
    normal, defects = area_by_score(_scores(20000, None)), saturate(area_by_score(_scores(9000, None) + 1), 6000)
    points = spro_curve(normal, defects)
    thinned = thin_curve(points, 0.01)
    for name in ("fpr", "spro"):
        full, values = getattr(points, name), getattr(thinned, name)
        assert (values[0], values[-1]) == (full[0], full[-1])
        assert np.diff(values).max() <= 0.01
    assert len(thinned.fpr) <= 9 / 0.01
    assert set(thinned.thresholds) <= set(points.thresholds)


@pytest.mark.parametrize("resolution", [1.0, 0.3, 0.05, 0.01])
@pytest.mark.parametrize("levels", [1, 2, 30, 3000])
def test_thinned_curve_keeps_both_sides_of_jumps(levels: int, resolution: float) -> None:
    generator = np.random.default_rng(levels)
    # exponents make some scores far more frequent than others
    normal = area_by_score(np.floor(levels * generator.random(5000) ** 4))
    defects = saturate(area_by_score(np.floor(levels * generator.random(3000) ** 0.3)), 2000)
    points = spro_curve(normal, defects)
    thinned = thin_curve(points, resolution)
    places = np.searchsorted(-points.thresholds, -thinned.thresholds)
    assert np.array_equal(points.fpr[places], thinned.fpr)
    assert np.array_equal(points.spro[places], thinned.spro)
    assert (places[0], places[-1]) == (0, len(points.fpr) - 1)
    near = np.maximum(np.diff(thinned.fpr), np.diff(thinned.spro)) <= resolution
    assert np.all(near | (np.diff(places) == 1))
    assert len(thinned.fpr) <= 9 / resolution


@pytest.mark.parametrize(
    "sizes", [((8, 8), (20, 30)), ((5, 9), (64, 64)), ((20, 30), (8, 12)), ((1, 1), (3, 4))], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resize_is_bilinear(sizes: tuple[tuple[int, int], tuple[int, int]], dtype: type) -> None:
    old, new = sizes
    values = np.random.default_rng(0).normal(size=old).astype(dtype)
    expected = interpolate(torch.from_numpy(values.astype(np.float64))[None, None], new, mode="bilinear")[0, 0].numpy()
    resized = resize_map(values, new)
    assert resized.dtype == dtype
    np.testing.assert_allclose(resized, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_regions_keep_their_value_exactly(dtype: type) -> None:
    values = np.full((16, 16), 0.1, dtype)
    values[:, 8:] = 0.7
    resized = resize_map(values, (171, 133))
    assert set(np.unique(resized[:, :60])) == {dtype(0.1)}
    assert set(np.unique(resized[:, 73:])) == {dtype(0.7)}


def test_only_the_border_of_flat_blocks_is_interpolated() -> None:
    values = np.full((10, 10), np.float32(1e-30))
    values[5:, 5:] = np.float32(1e6)
    resized = resize_map(values, (100, 70))
    between = np.ones(resized.shape, bool)
    for rows, columns, value in (
        (slice(0, 45), slice(None), 1e-30),
        (slice(None), slice(0, 32), 1e-30),
        (slice(55, None), slice(38, None), 1e6),
    ):
        assert (resized[rows, columns] == np.float32(value)).all()
        between[rows, columns] = False
    assert np.all((resized[between] > np.float32(1e-30)) & (resized[between] < np.float32(1e6)))


def test_maps_have_their_images_aspect_or_are_square() -> None:
    for shape in ((256, 256), (64, 80), (63, 80), (128, 160)):
        check_aspect(shape, (1280, 1600), "map.tiff")
    # MVTec LOCO's pushpins and screw bag, at sides that are multiples of 16
    check_aspect((256, 432), (1000, 1700), "map.tiff")
    check_aspect((256, 368), (1100, 1600), "map.tiff")
    with pytest.raises(ValueError, match=r"'map.tiff' has 64x80 pixels, its image 1600x1280"):
        check_aspect((80, 64), (1280, 1600), "map.tiff")


def test_maps_of_other_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'x' has the shape \(2, 3, 4\)"):
        check_map(np.zeros((2, 3, 4)), "x")
    with pytest.raises(ValueError, match="'x' holds complex128"):
        check_map(np.zeros((2, 2), complex), "x")
    assert check_map(np.zeros((1, 2, 3), np.float16), "x").dtype == np.float32
    assert check_map(np.zeros((2, 3, 1), np.int32), "x").shape == (2, 3)
