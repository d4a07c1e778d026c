"""AU-sPRO against the definition, against the official values, and its invariances."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomalib_slsg.metrics.anomaly_maps import read_map
from anomalib_slsg.metrics.ground_truth import Defect, DefectType, GroundTruth
from anomalib_slsg.metrics.image_areas import areas_of
from anomalib_slsg.metrics.spro import area_under_curve
from anomalib_slsg.metrics.spro_metrics import AUSPRO
from anomalib_slsg.metrics.spro_state import SPROState, curve
from tests.support.spro import Sample, batch_of, random_samples, reference_area, write_samples

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
GROUPS = ("logical_anomalies", "structural_anomalies")
GOLDEN = ("gaussian", "probability")


def _state(samples: list[Sample]) -> SPROState:
    state = SPROState()
    for sample in samples:
        state.update(torch.from_numpy(sample.scores)[None], [sample.path])
    return state


def _assert_exact(samples: list[Sample], groups: tuple[str, ...] = GROUPS) -> None:
    tables = _state(samples).tables()
    for group in groups:
        points = curve(tables, [group])
        for limit in LIMITS:
            assert area_under_curve(points, limit) == pytest.approx(reference_area(samples, group, limit), abs=1e-6)


@pytest.mark.parametrize("levels", [0, 1, 4], ids=["distinct", "heavy ties", "ties"])
@pytest.mark.parametrize("seed", range(4))
def test_small_random_sets(seed: int, levels: int, tmp_path: Path) -> None:
    _assert_exact(write_samples(tmp_path / "part", random_samples(np.random.default_rng(seed), levels=levels)))


@pytest.mark.parametrize("map_size", [(6, 6), (9, 9), (6, 7), (30, 35)], ids=str)
def test_maps_of_other_sizes(map_size: tuple[int, int], tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    samples = random_samples(generator)
    for sample in samples:
        sample.shape = (12, 14)
        sample.scores = generator.normal(size=map_size).astype(np.float32)
    _assert_exact(write_samples(tmp_path / "part", samples))


@pytest.mark.parametrize("map_size", [(6, 7), (24, 28)], ids=str)
def test_ties_that_interpolation_keeps(map_size: tuple[int, int], tmp_path: Path) -> None:
    """Whole numbers between which weights are quarters and halves: single and double precision are both exact."""
    generator = np.random.default_rng(9)
    samples = random_samples(generator)
    for sample in samples:
        sample.shape = (12, 14)
        sample.scores = generator.integers(0, 3, map_size).astype(np.float32)
    _assert_exact(write_samples(tmp_path / "part", samples))


def _rectangle(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((12, 14), bool)
    mask[top : top + height, left : left + width] = True
    return mask


# pixel values of CONFIG in tests/support/spro.py: 255 saturates at 12 pixels, 254 at 0.6 of the area, 250 at all of it
DEFECTS = {
    "smaller than its saturation": [(255, _rectangle(2, 2, 2, 3))],
    "as large as its saturation": [(255, _rectangle(2, 2, 3, 4))],
    "larger than its saturation": [(255, _rectangle(2, 2, 6, 8))],
    "relative": [(254, _rectangle(2, 2, 5, 5))],
    "relative, all of it": [(250, _rectangle(2, 2, 5, 5))],
    "overlapping": [(255, _rectangle(1, 1, 5, 6)), (254, _rectangle(3, 4, 5, 6)), (250, _rectangle(4, 5, 2, 2))],
    "the same pixels twice": [(255, _rectangle(1, 1, 5, 6)), (254, _rectangle(1, 1, 5, 6))],
    "a pixel": [(255, _rectangle(0, 0, 1, 1)), (250, _rectangle(11, 13, 1, 1))],
}


@pytest.mark.parametrize("levels", [0, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("kind", DEFECTS)
def test_each_kind_of_defect(kind: str, levels: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(10)
    samples = []
    for masks in ([], DEFECTS[kind], [(250, _rectangle(5, 5, 3, 3))]):
        scores = generator.random((12, 14)).astype(np.float32)
        for _, mask in masks:
            scores[mask] += np.float32(0.3)
        scores = np.floor(scores * levels) if levels else scores
        samples.append(Sample("logical_anomalies" if masks else "good", scores, masks))
    write_samples(tmp_path / "part", samples)
    _assert_exact(samples, GROUPS[:1])
    for limit in LIMITS:
        metric = AUSPRO(fpr_limit=limit, anomaly_type="logical")
        for sample in samples:
            metric.update(batch_of([sample]))
        assert metric.compute().item() == pytest.approx(reference_area(samples, GROUPS[0], limit), abs=1e-6)


def test_reference_by_hand(tmp_path: Path) -> None:
    """The reference of these tests itself, and the metric, on a case that is counted by hand.

    The defect has 16 pixels, of which 12 saturate it: 8 score 3, 8 score 1. Of 152 normal pixels, 38 score 2, the
    others 0. The curve goes through (0, 0), (0, 8/12), (1/4, 8/12), (1/4, 1), (1, 1).
    """
    scores = np.zeros((12, 14), np.float32)
    mask = _rectangle(0, 0, 4, 4)
    scores[:4, :2], scores[:4, 2:4] = 3, 1
    scores.ravel()[np.flatnonzero(~mask)[:38]] = 2
    samples = write_samples(tmp_path / "part", [Sample(GROUPS[0], scores, [(255, mask)])])
    points = curve(_state(samples).tables(), [GROUPS[0]])
    for limit, expected in ((0.1, 8 / 12), (0.25, 8 / 12), (0.5, (2 / 3 * 0.25 + 0.25) / 0.5), (1.0, 1 / 6 + 0.75)):
        assert reference_area(samples, GROUPS[0], limit) == pytest.approx(expected)
        assert area_under_curve(points, limit) == pytest.approx(expected)


def test_image_that_is_all_defect(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    everywhere = Sample(GROUPS[0], generator.random((12, 14)).astype(np.float32), [(255, np.ones((12, 14), bool))])
    _assert_exact(write_samples(tmp_path / "part", [*random_samples(generator), everywhere]))


def test_no_good_images(tmp_path: Path) -> None:
    samples = [sample for sample in random_samples(np.random.default_rng(7)) if sample.group != "good"]
    _assert_exact(write_samples(tmp_path / "part", samples))


def test_metric_gives_each_type_and_their_mean(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "part", random_samples(np.random.default_rng(8)))
    expected = {name: reference_area(samples, group, 0.3) for name, group in zip(("logical", "structural"), GROUPS)}
    expected |= {"mean": sum(expected.values()) / 2, GROUPS[0]: expected["logical"]}
    batch = batch_of(samples)
    for kind, value in expected.items():
        metric = AUSPRO(fpr_limit=0.3, anomaly_type=kind)
        metric.update(batch)
        assert metric.compute().item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("name", GOLDEN)
def test_official_values(name: str, official_spro: Path) -> None:
    root = official_spro / name
    expected = json.loads((root / "expected.json").read_text())["auc_spro"]
    state = SPROState()
    for image in sorted((root / "breakfast_box" / "test").glob("*/*.png")):
        values = read_map(root / "anomaly_maps" / "breakfast_box" / "test" / image.parent.name / f"{image.stem}.tiff")
        state.update(torch.from_numpy(values)[None], [image])
    tables = state.tables()
    for limit in expected["mean"]:
        found = [area_under_curve(curve(tables, [group]), float(limit)) for group in GROUPS]
        assert found == pytest.approx([expected[group][limit] for group in GROUPS], abs=1e-3)
        assert sum(found) / 2 == pytest.approx(expected["mean"][limit], abs=1e-3)


SIZE = (6, 7)
TYPES = [DefectType("spot", 5, relative_saturation=False), DefectType("dent", 0.5, relative_saturation=True)]
INCREASING = {
    "line": lambda values: 3 * values - 7,
    "exponential": np.exp,
    "cube": lambda values: values**3,
    "sigmoid": lambda values: 1 / (1 + np.exp(-values)),
    "tiny": lambda values: values * 1e-30,
    "huge": lambda values: values * 1e6,
}
# whole numbers: ties are frequent, and transforms keep different scores apart
maps = st.lists(st.integers(-12, 12), min_size=42, max_size=42).map(
    lambda values: np.array(values, float).reshape(SIZE)
)
masks = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 3), st.sampled_from(TYPES))
anomalous = st.tuples(maps, st.lists(masks, min_size=1, max_size=3))
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _defects(parts: list[tuple[int, int, int, DefectType]]) -> list[Defect]:
    defects = []
    for top, left, side, kind in parts:
        mask = np.zeros(SIZE, bool)
        mask[top : top + side, left : left + side] = True
        defects.append(Defect(kind, mask))
    return defects


def _area(good: list[np.ndarray], bad: list[tuple[np.ndarray, list[Defect]]], limit: float = 0.3) -> float:
    state = SPROState()
    images = [(values, GroundTruth("good", SIZE, [])) for values in good]
    images += [(values, GroundTruth("spoilt", SIZE, defects)) for values, defects in bad]
    for values, truth in images:
        state.add_image(areas_of(values, truth))
    return area_under_curve(curve(state.tables(), ["spoilt"]), limit)


@pytest.mark.slow
@quick
@given(
    st.lists(maps, min_size=1, max_size=2), st.lists(anomalous, min_size=1, max_size=2), st.sampled_from([*INCREASING])
)
def test_only_the_order_of_scores_counts(good: list[np.ndarray], bad: list[Sample], transform: str) -> None:
    change = INCREASING[transform]
    spoilt = [(values, _defects(parts)) for values, parts in bad]
    changed = _area([change(values) for values in good], [(change(values), defects) for values, defects in spoilt])
    assert changed == pytest.approx(_area(good, spoilt), abs=1e-9)


@quick
@given(st.lists(maps, min_size=1, max_size=2), st.lists(anomalous, min_size=2, max_size=3))
def test_the_order_of_images_does_not_count(good: list[np.ndarray], bad: list[Sample]) -> None:
    spoilt = [(values, _defects(parts)) for values, parts in bad]
    assert _area(good[::-1], spoilt[::-1]) == pytest.approx(_area(good, spoilt), abs=1e-6)


@quick
@given(st.lists(maps, min_size=1, max_size=2), anomalous, st.integers(0, 2), st.integers(1, 9), st.data())
def test_it_never_falls_when_a_defects_scores_rise(
    good: list[np.ndarray], bad: Any, which: int, rise: int, data: st.DataObject
) -> None:
    values, parts = bad
    defects = _defects(parts)
    mask = defects[which % len(defects)].mask
    chosen = data.draw(st.lists(st.booleans(), min_size=int(mask.sum()), max_size=int(mask.sum())))
    raised = values.copy()
    raised[mask] += rise * np.array(chosen)
    for limit in (0.1, 1.0):
        assert _area(good, [(raised, defects)], limit) >= _area(good, [(values, defects)], limit) - 1e-9
