"""AUSPRO on batches: its curves, hard cases, errors, bounded memory and several processes."""

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch
from anomalib.metrics import Evaluator
from jsonargparse import ArgumentParser

from anomalib_slsg.metrics import AUSPRO, AnomalyTypeAUROC, image_areas, spro_state
from anomalib_slsg.metrics.anomaly_maps import resize_map
from anomalib_slsg.metrics.spro import area_under_curve
from tests.support.spro import Sample, batch_of, random_samples, reference_area, write_samples


def _value(batch: ImageBatch, anomaly_type: str = "mean", limit: float = 0.3) -> float:
    metric = AUSPRO(fpr_limit=limit, anomaly_type=anomaly_type)
    metric.update(batch)
    return metric.compute().item()


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return write_samples(tmp_path / "part", random_samples(np.random.default_rng(0)))


@pytest.mark.parametrize("value", [0.0, 0.1, -5.0, 1e-30, 1e6])
@pytest.mark.parametrize("limit", [0.05, 1.0])
def test_equal_scores_tell_nothing(samples: list[Sample], value: float, limit: float) -> None:
    for sample in samples:
        # smaller than the mask: interpolation must not make differences
        sample.scores = np.full((5, 5), value, np.float32)
    assert _value(batch_of(samples), limit=limit) == pytest.approx(limit / 2)


def test_maps_of_two_values(samples: list[Sample]) -> None:
    """Perfect maps score 1, inverted ones what the diagonal to (1, 1) leaves."""
    for sample in samples:
        defective = np.logical_or.reduce([mask for _, mask in sample.masks] or [np.zeros(sample.size, bool)])
        sample.scores = defective.astype(np.float32)
    assert _value(batch_of(samples)) == pytest.approx(1)
    for sample in samples:
        sample.scores = 1 - sample.scores
    assert _value(batch_of(samples)) == 0


@pytest.mark.parametrize("factor", [1e-30, 1e6])
def test_scale_of_scores(samples: list[Sample], factor: float) -> None:
    expected = _value(batch_of(samples))
    for sample in samples:
        sample.scores = sample.scores * np.float32(factor)
    assert _value(batch_of(samples)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channel", [False, True])
def test_types_and_shapes_of_maps(samples: list[Sample], dtype: torch.dtype, channel: bool) -> None:
    batch = batch_of(samples, dtype, channel)
    for sample, values in zip(samples, batch.anomaly_map, strict=True):
        sample.scores = values.squeeze(0).double().numpy() if channel else values.double().numpy()
    expected = [reference_area(samples, f"{kind}_anomalies", 0.3) for kind in ("logical", "structural")]
    assert _value(batch) == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_maps_of_the_inference_mode_and_of_training(samples: list[Sample]) -> None:
    """The mode of Lightning's test loop, and maps that still carry gradients."""
    expected = _value(batch_of(samples))
    with torch.inference_mode():
        batch = batch_of(samples)
        batch.anomaly_map = batch.anomaly_map * 1
        assert batch.anomaly_map.is_inference()
        assert _value(batch) == expected
    state = spro_state.SPROState()
    state.update(torch.from_numpy(np.stack([sample.scores for sample in samples])).requires_grad_(), batch.image_path)
    assert sum(table.regions for table in state.tables().values()) == sum(len(sample.masks) for sample in samples)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channel", [False, True])
def test_tensors_that_no_batch_has_converted(samples: list[Sample], dtype: torch.dtype, channel: bool) -> None:
    """``ImageBatch`` turns maps into single precision of shape (B, H, W); the state takes any."""
    maps = torch.from_numpy(np.stack([sample.scores for sample in samples])).to(dtype)
    for sample, values in zip(samples, maps, strict=True):
        sample.scores = values.double().numpy()
    if dtype == torch.float64:
        # differences that single precision does not show
        maps = 1 + 2.0**-27 * maps
    state = spro_state.SPROState()
    state.update(maps.unsqueeze(1) if channel else maps, [sample.path for sample in samples])
    for group in ("logical_anomalies", "structural_anomalies"):
        area = area_under_curve(spro_state.curve(state.tables(), [group]), 0.3)
        assert area == pytest.approx(reference_area(samples, group, 0.3), abs=1e-6)


def test_a_changed_configuration_is_read_again(samples: list[Sample]) -> None:
    before = _value(batch_of(samples))
    path = samples[0].path.parents[2] / "defects_config.json"
    entries = [
        entry | {"saturation_threshold": 1, "relative_saturation": False} for entry in json.loads(path.read_text())
    ]
    path.write_text(json.dumps(entries))
    # one pixel of each defect is enough now
    assert _value(batch_of(samples)) > before


def test_a_refused_batch_changes_nothing(samples: list[Sample]) -> None:
    metric = AUSPRO(0.3)
    metric.update(batch_of(samples))
    expected = metric.compute().item()
    samples[-1].scores = np.full_like(samples[-1].scores, np.nan)
    with pytest.raises(ValueError, match="NaN"):
        metric.update(batch_of(samples))
    assert metric.compute().item() == expected


@pytest.mark.parametrize("missing", ["logical", "structural"])
def test_missing_types_are_undefined(samples: list[Sample], missing: str) -> None:
    kept = [sample for sample in samples if sample.group != f"{missing}_anomalies"]
    for kind in (missing, "mean"):
        with pytest.warns(UserWarning, match=f"anomaly_type '{kind}' is undefined"):
            assert math.isnan(_value(batch_of(kept), kind))
    other = "structural" if missing == "logical" else "logical"
    assert 0 < _value(batch_of(kept), other) == _value(batch_of(kept), "all") < 1


def test_no_normal_pixel_leaves_it_undefined(tmp_path: Path) -> None:
    sample = Sample("logical_anomalies", np.random.rand(4, 4).astype(np.float32), [(255, np.ones((4, 4), bool))])
    with pytest.warns(UserWarning, match="needs normal pixels"):
        assert math.isnan(_value(batch_of(write_samples(tmp_path / "part", [sample])), "logical"))


def _break_config(samples: list[Sample], content: str | None) -> Path:
    path = samples[0].path.parents[2] / "defects_config.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    return path


@pytest.mark.parametrize(
    "content",
    [None, "no json", "{}5", "[1]", '[{"defect_name": "missing"}]', "[]", json.dumps([{"pixel_value": 255}] * 2)],
    ids=["missing", "text", "rubbish", "numbers", "no keys", "value not listed", "twice"],
)
def test_bad_configurations_are_named(samples: list[Sample], content: str | None) -> None:
    path = _break_config(samples, content)
    with pytest.raises((ValueError, FileNotFoundError), match=str(path)):
        _value(batch_of(samples))


def test_pixel_value_that_the_configuration_lacks(samples: list[Sample]) -> None:
    mask = next(samples[0].path.parents[2].glob("ground_truth/*/*/000.png"))
    cv2.imwrite(str(mask), (cv2.imread(str(mask), 0) > 0).astype(np.uint8) * 7)
    with pytest.raises(ValueError, match=f"'{mask}' has the value 7"):
        _value(batch_of(samples))


def test_missing_masks_are_named(samples: list[Sample]) -> None:
    folder = next(samples[0].path.parents[2].glob("ground_truth/*/*"))
    for mask in folder.iterdir():
        mask.unlink()
    with pytest.raises(FileNotFoundError, match=f"'{folder}' holds no masks"):
        _value(batch_of(samples))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((12, 14), np.uint8), "marks nothing"),
        (np.full((6, 7), 255, np.uint8), "has 7x6 pixels, its image 14x12"),
        (np.arange(168, dtype=np.uint8).reshape(12, 14), "more than one value"),
        (np.full((12, 14, 3), 255, np.uint8), "not a grey image"),
        (30, "is truncated or not a readable image"),
        (0, "is truncated or not a readable image"),
    ],
    ids=["empty", "size", "values", "colour", "broken", "no bytes"],
)
def test_bad_masks_are_named(samples: list[Sample], content: np.ndarray | int, message: str) -> None:
    mask = next(samples[0].path.parents[2].glob("ground_truth/*/*/000.png"))
    if isinstance(content, int):
        mask.write_bytes(mask.read_bytes()[:content])
    else:
        cv2.imwrite(str(mask), content)
    with pytest.raises(ValueError, match=f"'{mask}'.*{message}"):
        _value(batch_of(samples))


def test_masks_do_not_depend_on_the_letters_of_the_path(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's own reader finds nothing on Windows where they are not the system's."""
    expected = _value(batch_of(samples))
    monkeypatch.setattr(cv2, "imread", lambda *_: None)
    assert _value(batch_of(samples)) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_maps_that_are_not_finite_are_named(samples: list[Sample], value: float) -> None:
    samples[3].scores[2, 2] = value
    with pytest.raises(ValueError, match=f"'{samples[3].path}' holds NaN or infinity"):
        _value(batch_of(samples))


def test_maps_of_any_aspect_show_the_whole_image(samples: list[Sample]) -> None:
    """Models squeeze images into whatever they take; what they then say is enlarged to the masks' size."""
    for sample in samples:
        sample.scores = np.random.default_rng(0).random((14, 6)).astype(np.float32)
    squeezed = _value(batch_of(samples))
    for sample in samples:
        sample.scores = resize_map(sample.scores, (12, 14))
    assert squeezed == pytest.approx(_value(batch_of(samples)))
    assert 0 < squeezed < 1


def test_missing_image_is_named(samples: list[Sample]) -> None:
    samples[0].path.unlink()
    with pytest.raises(FileNotFoundError, match=f"'{samples[0].path}' is missing"):
        _value(batch_of(samples))


@pytest.mark.parametrize(
    ("kind", "groups"),
    [
        ("logical", ["logical_anomalies"]),
        ("structural", ["structural_anomalies"]),
        ("mean", ["logical_anomalies", "structural_anomalies"]),
        ("all", ["all"]),
        ("structural_anomalies", ["structural_anomalies"]),
    ],
)
def test_curves_go_from_nothing_to_all(samples: list[Sample], kind: str, groups: list[str]) -> None:
    metric, narrow = AUSPRO(1.0, kind), AUSPRO(0.1, kind)
    metric.update(batch_of(samples))
    narrow.update(batch_of(samples))
    curves = metric.curves()
    assert list(curves) == groups
    areas = []
    for group, points in curves.items():
        fpr, spro, thresholds = (
            torch.from_numpy(np.asarray(values, np.float64)) for values in (points.fpr, points.spro, points.thresholds)
        )
        assert (fpr[0], spro[0], fpr[-1], spro[-1]) == (0, 0, 1, 1)
        assert (fpr.diff() >= 0).all()
        assert (spro.diff() >= 0).all()
        assert (thresholds.diff() < 0).all()
        areas.append(torch.trapezoid(spro, fpr).item())
        # the limit cuts the area and leaves the curve whole
        assert all(np.array_equal(one, other) for one, other in zip(narrow.curves()[group], points, strict=True))
    area = sum(areas) / len(areas)
    assert area == pytest.approx(_value(batch_of(samples), kind, 1.0), abs=1e-6)
    assert area == pytest.approx(metric.compute().item(), abs=1e-6)


def test_curves_outlive_a_reset_until_the_next_images(samples: list[Sample]) -> None:
    """Lightning resets a metric that it has logged."""
    metric = AUSPRO(1.0, "all")
    metric.update(batch_of(samples))
    value = metric.compute().item()
    metric.reset()
    assert area_under_curve(metric.curves()["all"], 1.0) == pytest.approx(value, abs=1e-6)
    for sample in samples:
        sample.scores = -sample.scores
    metric.update(batch_of(samples))
    assert area_under_curve(metric.curves()["all"], 1.0) == pytest.approx(metric.compute().item(), abs=1e-6)
    assert metric.compute().item() != pytest.approx(value, abs=1e-3)


def test_undefined_curves_are_none(samples: list[Sample]) -> None:
    with pytest.warns(UserWarning, match="undefined"):
        assert AUSPRO(anomaly_type="all").curves() == {}
    metric = AUSPRO(1.0, "logical")
    metric.update(batch_of([sample for sample in samples if sample.group == "good"]))
    with pytest.warns(UserWarning, match="'logical' is undefined"):
        assert metric.compute().isnan()
    with pytest.warns(UserWarning, match="'logical' is undefined"):
        assert metric.curves() == {}


@pytest.mark.parametrize("limit", [0, -0.1, 1.1, math.nan])
def test_bad_options(limit: float) -> None:
    with pytest.raises(ValueError, match="fpr_limit must be above 0"):
        AUSPRO(fpr_limit=limit)


def test_names() -> None:
    assert AUSPRO().name == "AUSPRO_mean"
    assert AUSPRO(0.3, "logical", prefix="pixel_").name == "pixel_AUSPRO_0.3_logical"


def test_figures_show_a_line_for_each_folder(samples: list[Sample]) -> None:
    for metric, lines in ((AUSPRO(), 2), (AUSPRO(anomaly_type="logical"), 1), (AUSPRO(anomaly_type="all"), 1)):
        metric.update(batch_of(samples))
        figure, title = metric.generate_figure()
        assert len(figure.axes[0].lines) == lines
        assert title == "sPRO"


def test_batches_repetition_reset_clone_and_pickle(samples: list[Sample]) -> None:
    expected = _value(batch_of(samples))
    metric = AUSPRO(0.3)
    for part in (samples[:3], samples[3:]):
        metric.update(batch_of(part))
    for other in (metric, metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert other.compute().item() == pytest.approx(expected, abs=1e-7)
    metric.reset()
    assert metric.tables() == {}
    assert len(metric.generate_figure()[0].axes[0].lines) == 2
    assert metric(batch_of(samples)).item() == pytest.approx(expected, abs=1e-7)
    assert metric.compute().item() == pytest.approx(expected, abs=1e-7)
    metric.reset()
    assert len(pickle.dumps(metric)) < 1.2 * len(pickle.dumps(AUSPRO(0.3)))  # no curve in what is exported


def test_metrics_share_the_work_on_a_batch(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = spro_state.image_areas
    monkeypatch.setattr(spro_state, "image_areas", lambda *args: calls.append(args) or original(*args))
    batch = batch_of(samples)
    first, second = AUSPRO(0.3), AUSPRO(0.3)
    first.update(batch)
    second.update(batch)
    assert len(calls) == len(samples)
    assert first.compute() == second.compute()
    batch.anomaly_map.neg_()
    second.reset()
    second.update(batch)
    assert len(calls) == 2 * len(samples)
    assert first.compute() != second.compute()


@pytest.mark.parametrize("seed", range(3))
def test_thinning_bounds_rows_and_error(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(seed)
    samples = [sample for _ in range(12) for sample in random_samples(generator)]
    batch = batch_of(write_samples(tmp_path / "part", samples))
    exact = {kind: _value(batch, kind, 1.0) for kind in ("logical", "structural")}
    monkeypatch.setattr(spro_state, "MAX_ROWS", 2000)
    monkeypatch.setattr(spro_state, "RESOLUTION", 2.0**-6)
    monkeypatch.setattr(image_areas, "EXACT_SCORES", 50)
    monkeypatch.setattr(image_areas, "IMAGE_RESOLUTION", 2.0**-5)
    rows = []
    for kind, value in exact.items():
        metric = AUSPRO(1.0, kind)
        for sample in samples:
            metric.update(batch_of([sample]))
            rows.append(sum(map(len, metric.scores)))
        assert metric.compute().item() == pytest.approx(value, abs=0.01)
        counts = {key: (table.images, table.regions) for key, table in metric.tables().items()}
        assert sum(regions for _, regions in counts.values()) == sum(len(sample.masks) for sample in samples)
        assert counts["good", None] == (24, 0)
    assert max(rows) < 6000 < sum(sample.scores.size for sample in samples)


def test_metrics_can_be_written_in_configurations() -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(Evaluator, "evaluator")
    metrics = [
        {"class_path": "anomalib_slsg.metrics.AUSPRO", "init_args": {"fpr_limit": 0.1, "prefix": "pixel_"}},
        {"class_path": "anomalib_slsg.metrics.AnomalyTypeAUROC", "init_args": {"anomaly_type": "logical"}},
    ]
    config = {"evaluator": {"class_path": "anomalib.metrics.Evaluator", "init_args": {"test_metrics": metrics}}}
    evaluator = parser.instantiate_classes(parser.parse_object(config)).evaluator
    assert [type(metric) for metric in evaluator.test_metrics] == [AUSPRO, AnomalyTypeAUROC]
    assert evaluator.test_metrics[0].fpr_limit == 0.1


def _process(rank: int, rendezvous: str, batches: list[ImageBatch], results: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    metrics = [AUSPRO(0.3), AUSPRO(0.3, "logical"), AnomalyTypeAUROC("mean")]
    for metric in metrics if batches[rank] is not None else []:
        metric.update(batches[rank])
    results[rank] = [metric.compute().item() for metric in metrics]
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("split", ["alternating", "one has good images only", "one has no images"])
def test_two_processes_give_the_value_of_one(samples: list[Sample], tmp_path: Path, split: str) -> None:
    if split == "alternating":
        parts = [samples[::2], samples[1::2]]
    elif split == "one has no images":
        parts = [samples, []]
    else:
        parts = [[s for s in samples if s.group == "good"], [s for s in samples if s.group != "good"]]
    alone = AnomalyTypeAUROC("mean")
    alone.update(batch_of(samples))
    expected = [_value(batch_of(samples)), _value(batch_of(samples), "logical"), alone.compute().item()]
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        arguments = (f"file://{tmp_path / 'rendezvous'}", [batch_of(part) if part else None for part in parts], results)
        # spawned processes could not import this module
        torch.multiprocessing.start_processes(_process, arguments, nprocs=2, start_method="fork")
        for rank in range(2):
            assert results[rank] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("inference", [False, True])
def test_maps_changed_in_place_are_compared_again(samples: list[Sample], inference: bool) -> None:
    with torch.inference_mode(inference):
        batch = batch_of(samples)
        before = _value(batch)
        batch.anomaly_map.numpy()[:] *= -1
        changed = _value(batch)
    for sample in samples:
        sample.scores = -sample.scores
    assert changed == pytest.approx(_value(batch_of(samples)), abs=1e-7)
    assert changed != before


def test_masks_are_numbered_with_or_without_zeros(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    masks = [(255, np.eye(12, 14, k=shift, dtype=bool)) for shift in range(11)]
    samples = [
        Sample("good", generator.random((12, 14)).astype(np.float32)),
        Sample("logical_anomalies", generator.random((12, 14)).astype(np.float32), masks),
    ]
    expected = _value(batch_of(write_samples(tmp_path / "part", samples)), "logical")
    for mask in (tmp_path / "part" / "ground_truth").glob("*/*/*.png"):
        mask.rename(mask.with_name(f"{int(mask.stem)}.png"))
    assert _value(batch_of(samples), "logical") == expected


def test_relative_paths(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _value(batch_of(samples))
    monkeypatch.chdir(samples[0].path.parents[1])
    for sample in samples:
        sample.path = Path(sample.path.parent.name, sample.path.name)
    assert _value(batch_of(samples)) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_saturation": "false"}, "relative_saturation must be one of True, False, got 'false'"),
        ({"saturation_threshold": 4.0}, r"saturation_threshold must lie in \(0, 1\], got 4.0"),
        ({"saturation_threshold": 0}, r"saturation_threshold must lie in \(0, 1\], got 0"),
        ({"saturation_threshold": True}, "saturation_threshold must lie in .*, got True"),
        ({"pixel_value": math.inf}, r"pixel_value must be a whole number in \[1, inf\), got inf"),
        ({"pixel_value": 255.9}, r"pixel_value must be a whole number in \[1, inf\), got 255.9"),
        ({"pixel_value": True}, r"pixel_value must be a whole number in \[1, inf\), got True"),
    ],
)
def test_configurations_without_sense_are_refused(samples: list[Sample], change: dict, message: str) -> None:
    entry = {"defect_name": "dent", "pixel_value": 250, "saturation_threshold": 0.5, "relative_saturation": True}
    path = _break_config(samples, json.dumps([entry | change]))
    with pytest.raises(ValueError, match=f"'{path}'.*{message}"):
        _value(batch_of(samples))


def test_image_scores_that_are_nan_are_named(samples: list[Sample]) -> None:
    batch = batch_of(samples)
    batch.pred_score[0] = math.nan
    with pytest.raises(ValueError, match=f"'{samples[0].path}' is NaN"):
        AnomalyTypeAUROC("mean").update(batch)
