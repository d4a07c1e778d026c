"""Metrics of the LOCO protocol for anomalib's evaluator."""

from anomalib_slsg.metrics.anomaly_type import AnomalyTypeAUROC

__all__ = ["AnomalyTypeAUROC"]
