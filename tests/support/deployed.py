"""Exported models in OpenVINO, against the engine."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from anomalib.deploy import OpenVINOInferencer

FULL_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
STEEP, FEW = 0.1, 0.02  # by how much maps may differ, and at which share of their pixels, where weights are rounded


def assert_maps_alike(one: Any, other: Any, tolerance: float) -> None:
    """Assert that rounded weights give a map within a tolerance, but for few pixels.

    Rounding makes other nodes neighbours in the SG block here and there, which changes the map around them. Of models
    after 400 iterations at 256 px, weights of 16 bits change SegNet's maps by up to 0.1 so, and image scores by
    0.00002; 8 bits change 1 % of the pixels by more than 0.05.
    """
    difference = (torch.as_tensor(one) - torch.as_tensor(other)).abs()
    assert difference.max() <= STEEP
    assert (share := (difference > tolerance).float().mean()) <= FEW, f"{share:.3f} of the pixels differ"


def assert_deployed_alike(
    exported: Path, predictions: Iterable[Any], tolerance: float, labels: bool = True, maps: float | None = None
) -> None:
    """Assert that an exported model finds what the engine did, image by image; with ``maps``, one of rounded weights.

    A function of its own, so that one model is gone before the next is compiled: of two at a time, OpenVINO 2026.4
    leaves a stack for signal handlers behind that is freed, and the next Ctrl-C crashes the process.
    """
    inferencer = OpenVINOInferencer(exported, device="CPU", config=FULL_PRECISION)
    for expected in predictions:
        found = inferencer.predict(expected.image_path[0])
        for name in ("anomaly_map", "pred_score"):
            one, other = (torch.as_tensor(getattr(each, name)).squeeze() for each in (found, expected))
            if name == "anomaly_map" and maps is not None:
                assert_maps_alike(one, other, maps)
            else:
                torch.testing.assert_close(one, other, atol=tolerance, rtol=0)
        if labels:
            assert bool(torch.as_tensor(found.pred_label).squeeze()) == expected.pred_label.item()


def operations_of(exported: Path) -> list[Any]:
    """An exported model's operations, in the order of computation."""
    import openvino

    return openvino.Core().read_model(exported).get_ordered_ops()


def kind_before(operation: Any) -> str:
    """The kind of operation whose result an operation takes first."""
    return operation.input_value(0).get_node().get_type_name()
