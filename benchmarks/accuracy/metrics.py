"""Metrics of raw scores and maps.

torchmetrics squashes scores outside [0, 1] with a sigmoid, which makes most raw scores of PaDiM and PatchCore equal;
anomalib's normalisation clips them. Here ranks decide.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.metrics.aupro import _AUPRO
from lightning.pytorch import Callback
from sklearn.metrics import precision_recall_curve
from torch import Tensor

from anomalib_slsg.metrics import AUSPRO
from anomalib_slsg.metrics.ground_truth import has_defects_config
from anomalib_slsg.metrics.spro_metrics import FOLDER_OF_TYPE
from anomalib_slsg.utils.auroc import area_under_roc
from benchmarks.accuracy.rows import COUNTS


class RawMetrics(Callback):
    """Gathers what a model predicts on the test set before its post-processor changes it."""

    def __init__(self) -> None:
        self.scores: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.maps: list[Tensor] = []
        self.masks: list[Tensor] = []
        self.paths: list[Path] = []
        self.spro: dict[str, AUSPRO] = {kind: AUSPRO(anomaly_type=kind) for kind in FOLDER_OF_TYPE}

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Keep a batch's scores and maps; the model's own callbacks, its post-processor among them, come later."""
        self.scores.append(batch.pred_score.detach().float().cpu().flatten())
        self.labels.append(batch.gt_label.cpu().flatten().bool())
        self.paths.extend(Path(path) for path in batch.image_path)
        maps = batch.anomaly_map.detach().float().cpu()
        self.maps.append(maps.reshape(len(maps), *maps.shape[-2:]))
        if batch.gt_mask is not None:
            self.masks.append(batch.gt_mask.cpu().bool())
        if has_defects_config(Path(batch.image_path[0])):
            for metric in self.spro.values():
                metric.update(batch)

    def compute(self) -> dict[str, float]:
        """Compute what the data allow, by anomalib's names."""
        scores, labels = torch.cat(self.scores), torch.cat(self.labels)
        values = {
            "image_AUROC": area_under_roc(scores[~labels], scores[labels]),
            "image_F1Max": _largest_f1(scores, labels),
        }
        folders = {
            kind: torch.tensor([p.parent.name == name for p in self.paths]) for kind, name in FOLDER_OF_TYPE.items()
        }
        for kind, chosen in folders.items():
            if chosen.any():
                values[f"image_AUROC_{kind}"] = area_under_roc(scores[~labels], scores[chosen])
                if has_defects_config(self.paths[0]):
                    values[f"pixel_AUSPRO_{kind}"] = self.spro[kind].compute()
        for name in ("image_AUROC", "pixel_AUSPRO"):
            if all(f"{name}_{kind}" in values for kind in folders):
                values[f"{name}_mean"] = torch.stack([values[f"{name}_{kind}"].double() for kind in folders]).mean()
        if len(self.masks) == len(self.maps):
            values |= _pixel_metrics(torch.cat(self.maps), torch.cat(self.masks))
        return {name: float(value) for name, value in values.items()}

    def counts(self) -> dict[str, int]:
        """Count false alarms and misses at a threshold of 0.5; for scores that are probabilities."""
        scores, labels = torch.cat(self.scores), torch.cat(self.labels)
        called = scores > 0.5
        found = ~labels, called & ~labels, labels, labels & ~called
        return {name: int(each.sum()) for name, each in zip(COUNTS, found, strict=True)}


def _largest_f1(scores: Tensor, labels: Tensor) -> Tensor:
    """F1 at the best of all thresholds."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    return torch.as_tensor((2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)).max())


def _pixel_metrics(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    scaled = (maps - maps.min()) / (maps.max() - maps.min()).clamp(min=torch.finfo(maps.dtype).tiny)
    overlap = _AUPRO()
    overlap.update(scaled, masks.int())
    return {"pixel_AUROC": area_under_roc(maps[~masks], maps[masks]), "pixel_AUPRO": overlap.compute()}
