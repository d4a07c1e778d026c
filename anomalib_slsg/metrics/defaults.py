"""Metrics that ``Slsg`` adds by itself when the test set is a tree of MVTec LOCO's format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule
from anomalib.metrics import Evaluator
from lightning.pytorch import Trainer
from torch import nn
from torchmetrics import Metric
from torchmetrics.utilities.prints import rank_zero_warn

from anomalib_slsg.metrics.anomaly_type import AnomalyType, AnomalyTypeAUROC
from anomalib_slsg.metrics.cropping import displacing_transform
from anomalib_slsg.metrics.ground_truth import has_defects_config
from anomalib_slsg.metrics.spro_metrics import AUSPRO, FOLDER_OF_TYPE


def replace_loco_metrics(added: Sequence[Metric], evaluator: Any, trainer: Trainer) -> list[Metric]:
    """Add image AUROC and AU-sPRO of the types of anomalies, as far as the test set has them.

    AU-sPRO needs ``defects_config.json`` beside the test set, too, and maps of whole images. Metrics that the evaluator
    has of the user's are left as they are.

    Args:
        added: What this function added for the test set before, which is taken out.
        evaluator: The model's evaluator, if it has one.
        trainer: The trainer, about to test or to validate.

    Returns:
        What was added.
    """
    if not isinstance(evaluator, Evaluator):
        return []
    kept = [metric for metric in evaluator.test_metrics if all(metric is not one for one in added)]
    metrics = [
        metric
        for metric in _loco_metrics(data_in_use(trainer), trainer.lightning_module)
        if not any(isinstance(other, type(metric)) for other in kept)
    ]
    evaluator.test_metrics = nn.ModuleList([*kept, *metrics])
    if evaluator.compute_on_cpu and trainer.num_devices == 1:  # the evaluator has dealt with its others before
        evaluator.metrics_to_cpu(metrics)
    return metrics


def data_in_use(trainer: Trainer) -> Any:
    """Tell what is tested or validated; ``trainer.datamodule`` is that of an earlier run where loaders are given.

    Args:
        trainer: The trainer, about to test or to validate.

    Returns:
        The data module or loaders.
    """
    loop = trainer.test_loop if trainer.testing else trainer.validate_loop
    return loop._data_source.instance


def _loco_metrics(datamodule: Any, model: Any) -> list[Metric]:
    if not isinstance(datamodule, AnomalibDataModule) or not hasattr(datamodule, "test_data"):
        return []
    paths = [Path(path) for path in datamodule.test_data.samples["image_path"]]
    folders = {path.parent.name for path in paths}
    present: list[AnomalyType] = [kind for kind in ("logical", "structural") if FOLDER_OF_TYPE[kind] in folders]
    wanted: list[AnomalyType] = [*present, "mean"] if len(present) == 2 else present
    metrics: list[Metric] = [AnomalyTypeAUROC(kind, prefix="image_") for kind in wanted]
    if all(map(has_defects_config, paths)):
        displacing = displacing_transform(model, datamodule.test_data)
        if displacing is not None:
            rank_zero_warn(f"AU-sPRO is left out: {displacing} gives maps of another part of the image than its masks.")
            return metrics
        metrics += [AUSPRO(anomaly_type=kind, prefix="pixel_") for kind in wanted]
    return metrics
