"""Image AUROC by type of anomaly, as in the LOCO protocol (section 4.3, Fig. 6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from anomalib.metrics import AnomalibMetric
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.prints import rank_zero_warn

from anomalib_slsg.utils.auroc import area_under_roc

GOOD, LOGICAL, STRUCTURAL, OTHER = range(4)
TYPE_OF_FOLDER = {"good": GOOD, "logical_anomalies": LOGICAL, "structural_anomalies": STRUCTURAL}

AnomalyType = Literal["logical", "structural", "mean", "all"]


class _AnomalyTypeAUROC(Metric):
    """State and computation; see :class:`AnomalyTypeAUROC`."""

    full_state_update = False
    scores: list[Tensor]
    types: list[Tensor]

    def __init__(self, anomaly_type: AnomalyType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.anomaly_type = anomaly_type
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("types", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor, paths: Sequence[str]) -> None:
        for path, score in zip(paths, scores.flatten(), strict=True):
            if score.isnan():
                raise ValueError(f"the image score of '{path}' is NaN")
        folders = [Path(path).parent.name for path in paths]
        known = torch.tensor([TYPE_OF_FOLDER.get(folder, OTHER) for folder in folders], device=scores.device)
        self.scores.append(scores.detach().flatten())
        self.types.append(torch.where(labels.flatten().bool(), known, GOOD))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Take part in the exchange of processes, also without images: with empty tensors of the others' types."""
        if torch.distributed.is_initialized() and not len(self.scores):
            self.scores = [torch.empty(0, device=self.device)]
            self.types = [torch.empty(0, dtype=torch.int64, device=self.device)]
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        scores, types = dim_zero_cat(self.scores), dim_zero_cat(self.types)
        good = scores[types == GOOD]
        anomalous = {
            "all": [types != GOOD],
            "logical": [types == LOGICAL],
            "structural": [types == STRUCTURAL],
            "mean": [types == LOGICAL, types == STRUCTURAL],
        }[self.anomaly_type]
        value = torch.stack([area_under_roc(good, scores[chosen]) for chosen in anomalous]).mean()
        if value.isnan():
            missing = "no good images" if not len(good) else "no anomalous images of that type"
            rank_zero_warn(f"Image AUROC of anomaly_type '{self.anomaly_type}' is undefined: {missing}.", UserWarning)
        return value


class AnomalyTypeAUROC(AnomalibMetric, _AnomalyTypeAUROC):  # type: ignore[misc]
    """Image AUROC of one type of anomaly against the good images.

    The type is the name of the image's folder, ``logical_anomalies`` or ``structural_anomalies``. Ranks decide, so raw
    scores of any range serve. NaN with a warning if there are no images of the type, or no good ones.

    Args:
        anomaly_type: ``logical``, ``structural``, the ``mean`` of both, or ``all`` anomalies together.
        fields: Batch fields of score, label and path.
        prefix: Goes in front of the name.
        strict: Raise an error if a field is missing.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If the type is unknown.
    """

    default_fields = ("pred_score", "gt_label", "image_path")

    def __init__(
        self,
        anomaly_type: AnomalyType = "mean",
        fields: Sequence[str] | None = None,
        prefix: str = "",
        strict: bool = True,
        **kwargs: Any,
    ) -> None:
        if anomaly_type not in {"logical", "structural", "mean", "all"}:
            raise ValueError(f"anomaly_type must be logical, structural, mean or all, got '{anomaly_type}'")
        super().__init__(fields, prefix, strict, anomaly_type=anomaly_type, **kwargs)
        self.name = f"{prefix}AUROC_{anomaly_type}"
