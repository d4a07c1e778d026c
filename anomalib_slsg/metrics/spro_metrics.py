"""sPRO as a metric of anomalib's evaluator."""

from collections.abc import Sequence
from typing import Any

import torch
from anomalib.metrics import AnomalibMetric
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

from anomalib_slsg.metrics.figures import draw_spro_over_fpr
from anomalib_slsg.metrics.spro import SPROPoints, area_under_curve, check_fpr_limit
from anomalib_slsg.metrics.spro_state import SPROState, anomalous_groups, curve

PAPER_FPR_LIMIT = 0.05
FOLDER_OF_TYPE = {"logical": "logical_anomalies", "structural": "structural_anomalies"}


class _AUSPRO(SPROState):
    """State and computation; see :class:`AUSPRO`."""

    def __init__(self, fpr_limit: float, anomaly_type: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fpr_limit = fpr_limit
        self.anomaly_type = anomaly_type
        self._computed_curves: dict[str, SPROPoints] = {}

    def compute(self) -> Tensor:
        """Give the area, NaN if it is undefined."""
        self._computed_curves = self._curves()  # kept, since Lightning resets a metric that it has logged
        values = [area_under_curve(points, self.fpr_limit) for points in self._computed_curves.values()]
        return torch.tensor(sum(values) / len(values) if values else float("nan"), device=self.device)

    def curves(self) -> dict[str, SPROPoints]:
        """Give the curve of each folder of the images seen since the last reset, or those computed last if none were.

        Returns:
            Curves; none, with a warning, if the type's value is undefined.
        """
        return self._computed_curves if self._computed_curves and not len(self.names) else self._curves()

    def generate_figure(self) -> tuple[Figure, str]:
        """Draw the curve of each folder up to the limit; see :meth:`curves`.

        Returns:
            The figure and its title.
        """
        return draw_spro_over_fpr(self.curves(), self.fpr_limit), "sPRO"

    def __getstate__(self) -> dict[str, Any]:
        """Leave computed curves out of what is exported or copied; they may have a million points."""
        return {**super().__getstate__(), "_computed_curves": {}}

    def _curves(self) -> dict[str, SPROPoints]:
        tables = self.tables()
        groups = anomalous_groups(tables)
        if self.anomaly_type not in {"mean", "all"}:
            groups = [group for group in groups if group == FOLDER_OF_TYPE.get(self.anomaly_type, self.anomaly_type)]
        if len(groups) < (2 if self.anomaly_type == "mean" else 1):
            return self._undefined("its folders of test images are missing")
        try:
            if self.anomaly_type == "all":
                return {"all": curve(tables, groups)}
            return {group: curve(tables, [group]) for group in groups}
        except ValueError as error:
            return self._undefined(str(error))

    def _undefined(self, reason: str) -> dict[str, SPROPoints]:
        rank_zero_warn(f"sPRO of anomaly_type '{self.anomaly_type}' is undefined: {reason}.", UserWarning)
        return {}


class AUSPRO(AnomalibMetric, _AUSPRO):  # type: ignore[misc]
    """Area under the curve of saturated per-region overlap (sPRO) over false-positive rate, up to a limit.

    :meth:`curves` gives the curves themselves, whole whatever the limit, and :meth:`generate_figure` draws them.

    Maps are compared with all masks of their image, at the masks' resolution; the masks and ``defects_config.json``
    are found from the image's path, ``<category>/test/<folder>/<name>.png`` in a tree of MVTec LOCO's format. The size
    of the maps does not matter, nor does their range: only the order of scores counts. They have to be of whole images:
    a pre-processor that crops, as PatchCore's does with ``center_crop_size`` and Dinomaly's by default, and
    augmentations of test images that flip or turn them make values meaningless, which this metric does not see.

    Therefore give it raw scores. anomalib's normalisation clips scores to [0, 1]: all that are further from the
    threshold than the extremes of the validation set become equal, and with a validation set of normal images only, as
    in LOCO, that is most of what this metric looks at. ``Slsg`` does not normalise; switch it off for other models with
    ``post_processor=PostProcessor(enable_normalization=False)``, on the command line
    ``--model.post_processor anomalib.post_processing.PostProcessor --model.post_processor.enable_normalization false``.

    Source: section 4.3 of the SLSG paper; Bergmann et al., IJCV 2022, section 5.

    Args:
        fpr_limit: Largest false-positive rate, above 0 and at most 1; 0.05 in the paper.
        anomaly_type: ``logical`` or ``structural``, each against its own normal pixels and those of good images; the
            ``mean`` of all folders of anomalies; ``all`` of them in one curve; or the name of a folder. NaN with a
            warning if there is no such folder, or a single one for the mean.
        fields: Batch fields of map and image path.
        prefix: Goes in front of the name.
        strict: Raise an error if a field is missing.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If the limit is out of range.
    """

    default_fields = ("anomaly_map", "image_path")

    def __init__(
        self,
        fpr_limit: float = PAPER_FPR_LIMIT,
        anomaly_type: str = "mean",
        fields: Sequence[str] | None = None,
        prefix: str = "",
        strict: bool = True,
        **kwargs: Any,
    ) -> None:
        check_fpr_limit(fpr_limit)
        super().__init__(fields, prefix, strict, fpr_limit=fpr_limit, anomaly_type=anomaly_type, **kwargs)
        limit = "" if fpr_limit == PAPER_FPR_LIMIT else f"_{fpr_limit:g}"
        self.name = f"{prefix}AUSPRO{limit}_{anomaly_type}"
