"""Metrics that ``Slsg`` adds by itself when the test set is a tree of MVTec LOCO's format."""

from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule
from anomalib.metrics import Evaluator
from torch import nn

from anomalib_slsg.metrics.anomaly_type import AnomalyType, AnomalyTypeAUROC
from anomalib_slsg.metrics.ground_truth import DEFECTS_CONFIG
from anomalib_slsg.metrics.spro_metrics import AUSPRO, FOLDER_OF_TYPE


def add_loco_metrics(evaluator: Any, datamodule: Any) -> None:
    """Add image AUROC and AU-sPRO of the types of anomalies; do nothing if the test set has none of them.

    AU-sPRO needs ``defects_config.json`` beside the test set, too. Metrics that the evaluator has already are left
    as they are.

    Args:
        evaluator: The model's evaluator, if it has one.
        datamodule: The trainer's data module.
    """
    if not isinstance(evaluator, Evaluator) or not isinstance(datamodule, AnomalibDataModule):
        return
    if not hasattr(datamodule, "test_data"):
        return
    paths = [Path(path) for path in datamodule.test_data.samples["image_path"]]
    folders = {path.parent.name for path in paths}
    present: list[AnomalyType] = [kind for kind in ("logical", "structural") if FOLDER_OF_TYPE[kind] in folders]
    wanted: list[AnomalyType] = [*present, "mean"] if len(present) == 2 else present
    _add(evaluator, AnomalyTypeAUROC, [AnomalyTypeAUROC(kind, prefix="image_") for kind in wanted])
    # <category>/test/<folder>/<name>.png
    if all(len(path.parents) > 2 and (path.parents[2] / DEFECTS_CONFIG).is_file() for path in paths):
        _add(evaluator, AUSPRO, [AUSPRO(anomaly_type=kind, prefix="pixel_") for kind in wanted])


def _add(evaluator: Evaluator, kind: type, metrics: list[nn.Module]) -> None:
    if not any(isinstance(metric, kind) for metric in evaluator.test_metrics):
        evaluator.test_metrics.extend(metrics)
