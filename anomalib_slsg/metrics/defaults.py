"""Metrics that ``Slsg`` adds by itself when the test set is a tree of MVTec LOCO's format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataset
from anomalib.metrics import Evaluator
from torch import nn
from torchmetrics import Metric
from torchmetrics.utilities.prints import rank_zero_warn

from anomalib_slsg.metrics.anomaly_type import AnomalyType, AnomalyTypeAUROC
from anomalib_slsg.metrics.cropping import displacing_transform
from anomalib_slsg.metrics.ground_truth import has_defects_config
from anomalib_slsg.metrics.spro_metrics import AUSPRO, FOLDER_OF_TYPE
from anomalib_slsg.utils.datasets import datasets


def replace_loco_metrics(
    added: Sequence[Metric], evaluator: Any, model: nn.Module, loaders: Any, device: torch.device
) -> list[Metric]:
    """Add image AUROC and AU-sPRO of the types of anomalies, as far as the test set has them.

    AU-sPRO needs ``defects_config.json`` beside the test set, too, and maps of whole images. Metrics that the evaluator
    has of the user's are left as they are.

    Args:
        added: What this function added for the test set before, which is taken out.
        evaluator: The model's evaluator, if it has one.
        model: The model, whose pre-processor may crop.
        loaders: The trainer's loaders of test images.
        device: Where the model is tested.

    Returns:
        What was added.
    """
    if not isinstance(evaluator, Evaluator):
        return []
    kept = [metric for metric in evaluator.test_metrics if all(metric is not one for one in added)]
    metrics = [
        metric.to(device)
        for metric in _loco_metrics(datasets(loaders), model)
        if not any(isinstance(other, type(metric)) for other in kept)
    ]
    evaluator.test_metrics = nn.ModuleList([*kept, *metrics])
    if evaluator.compute_on_cpu and not torch.distributed.is_initialized():  # as it moved its own before
        evaluator.metrics_to_cpu(metrics)
    return metrics


def _loco_metrics(tested: Sequence[Any], model: nn.Module) -> list[Metric]:
    if len(tested) != 1 or not isinstance(tested[0], AnomalibDataset):
        return []
    paths = [Path(path) for path in tested[0].samples["image_path"]]
    folders = {path.parent.name for path in paths}
    present: list[AnomalyType] = [kind for kind in ("logical", "structural") if FOLDER_OF_TYPE[kind] in folders]
    wanted: list[AnomalyType] = [*present, "mean"] if len(present) == 2 else present
    metrics: list[Metric] = [AnomalyTypeAUROC(kind, prefix="image_") for kind in wanted]
    if all(map(has_defects_config, paths)):
        displacing = displacing_transform(model, tested[0])
        if displacing is not None:
            rank_zero_warn(f"AU-sPRO is left out: {displacing} gives maps of another part of the image than its masks.")
            return metrics
        metrics += [AUSPRO(anomaly_type=kind, prefix="pixel_") for kind in wanted]
    return metrics
