"""AUROC by type of anomaly, against scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch
from sklearn.metrics import roc_auc_score

from anomalib_slsg.metrics import AnomalyTypeAUROC
from anomalib_slsg.utils.auroc import area_under_roc

FOLDERS = ["good", "logical_anomalies", "structural_anomalies", "broken"]


def _batch(scores: list[float], folders: list[str]) -> ImageBatch:
    return ImageBatch(
        image=torch.zeros(len(scores), 3, 2, 2),
        pred_score=torch.tensor(scores),
        gt_label=torch.tensor([folder != "good" for folder in folders]),
        image_path=[f"/data/part/test/{folder}/{index:03d}.png" for index, folder in enumerate(folders)],
    )


def _value(anomaly_type: Any, *batches: ImageBatch) -> float:
    metric = AnomalyTypeAUROC(anomaly_type)
    for batch in batches:
        metric.update(batch)
    return metric.compute().item()


SCORES = {
    "probabilities": lambda g: g.random(60),
    "ties": lambda g: g.integers(0, 4, 60) / 4,
    "raw": lambda g: 40 + 10 * g.standard_normal(60),
    "negative": lambda g: -1000 * g.random(60),
}


@pytest.mark.parametrize("kind", SCORES)
def test_types_are_scikit_learns_values(kind: str) -> None:
    generator = np.random.default_rng(0)
    folders = [FOLDERS[i] for i in generator.integers(0, 4, 60)]
    shift = np.array([FOLDERS.index(folder) for folder in folders]) > 0
    scores = SCORES[kind](generator)
    scores = (scores + 0.5 * np.std(scores) * shift * (kind != "ties")).astype(np.float32)
    batches = [_batch(scores[s].tolist(), folders[s]) for s in (slice(0, 7), slice(7, 30), slice(30, 60))]

    def expected(*positive: str) -> float:
        chosen = np.array([folder in {"good", *positive} for folder in folders])
        labels = np.array([folder != "good" for folder in folders])
        return float(roc_auc_score(labels[chosen], scores[chosen]))

    logical, structural = expected("logical_anomalies"), expected("structural_anomalies")
    assert _value("logical", *batches) == pytest.approx(logical, abs=1e-12)
    assert _value("structural", *batches) == pytest.approx(structural, abs=1e-12)
    assert _value("mean", *batches) == pytest.approx((logical + structural) / 2, abs=1e-12)
    assert _value("all", *batches) == pytest.approx(expected(*FOLDERS[1:]), abs=1e-12)


def test_raw_scores_are_not_squashed() -> None:
    """A sigmoid would make these equal in single precision."""
    assert _value("logical", _batch([40.0, 41.0, 42.0, 43.0], ["good", "good", *["logical_anomalies"] * 2])) == 1.0


def test_ties_count_half() -> None:
    batch = _batch([1.0, 1.0, 0.0, 2.0], ["good", "logical_anomalies", "good", "logical_anomalies"])
    assert _value("logical", batch) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_without_images_of_the_type_there_is_no_value() -> None:
    batch = _batch([0.1, 0.9], ["good", "logical_anomalies"])
    assert _value("logical", batch) == 1.0
    assert math.isnan(_value("structural", batch))
    assert math.isnan(_value("mean", batch))
    only_anomalies = _batch([0.1, 0.9], ["structural_anomalies", "logical_anomalies"])
    assert math.isnan(_value("all", only_anomalies))


def test_labels_decide_what_is_good() -> None:
    """A category's good images may lie in a folder of any name."""
    batch = _batch([0.2, 0.9], ["good", "logical_anomalies"])
    assert batch.image_path is not None
    batch.image_path = ["/data/ok/0.png", batch.image_path[1]]
    assert _value("logical", batch) == 1.0


def test_reset_forgets() -> None:
    metric = AnomalyTypeAUROC("logical")
    metric.update(_batch([0.9, 0.1], ["good", "logical_anomalies"]))
    assert metric.compute() == 0
    metric.reset()
    metric.update(_batch([0.1, 0.9], ["good", "logical_anomalies"]))
    assert metric.compute() == 1


def test_unknown_type_is_an_error() -> None:
    with pytest.raises(ValueError, match="anomaly_type must be logical, structural, mean or all, got 'both'"):
        AnomalyTypeAUROC("both")  # type: ignore[arg-type]


def test_name_tells_the_type() -> None:
    assert AnomalyTypeAUROC("logical", prefix="image_").name == "image_AUROC_logical"
    assert AnomalyTypeAUROC().name == "AUROC_mean"


def test_area_is_exact_where_single_precision_is_not() -> None:
    """Every one of 5,000 x 5,000 pairs counts."""
    negative, positive = torch.arange(5000.0), torch.arange(5000.0) + 0.5
    assert area_under_roc(negative, positive).item() == pytest.approx(5001 / 10000, abs=1e-14)
