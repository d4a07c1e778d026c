"""SLSG for anomalib: self-supervised learning and self-attentive graph convolution for anomaly detection."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalib_slsg.data.reading import read_deep_images
    from anomalib_slsg.lightning_model import Slsg
    from anomalib_slsg.pretraining.callback import GenerativePretraining
    from anomalib_slsg.processing.post_processing import ProbabilityPostProcessor
    from anomalib_slsg.torch_model import SlsgModel

__all__ = ["GenerativePretraining", "ProbabilityPostProcessor", "Slsg", "SlsgModel", "read_deep_images"]

_HOMES = {
    "Slsg": "anomalib_slsg.lightning_model",
    "SlsgModel": "anomalib_slsg.torch_model",
    "GenerativePretraining": "anomalib_slsg.pretraining.callback",
    "read_deep_images": "anomalib_slsg.data.reading",
    "ProbabilityPostProcessor": "anomalib_slsg.processing.post_processing",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that importing the package alone loads nothing heavy."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'anomalib_slsg' has no attribute '{name}'")
