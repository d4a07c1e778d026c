"""Metrics of the LOCO protocol, for anomalib's evaluator and for maps on disk."""

from anomalib_slsg.metrics.anomaly_type import AnomalyTypeAUROC
from anomalib_slsg.metrics.map_writer import AnomalyMapWriter
from anomalib_slsg.metrics.spro_metrics import AUSPRO

__all__ = ["AUSPRO", "AnomalyMapWriter", "AnomalyTypeAUROC"]
