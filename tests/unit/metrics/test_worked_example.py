"""The example that docs/loco_metrics.md works out by hand."""

import numpy as np
import pytest

from anomalib_slsg.metrics.ground_truth import Defect, DefectType, GroundTruth
from anomalib_slsg.metrics.image_areas import areas_of
from anomalib_slsg.metrics.spro import area_above, area_under_curve
from anomalib_slsg.metrics.spro_state import SPROState, curve

A = DefectType("A", saturation_threshold=2, relative_saturation=False)
B = DefectType("B", saturation_threshold=1.0, relative_saturation=True)
# threshold, mean sPRO, false-positive rate
ROWS = [
    (0.9, 0, 0),
    (0.8, 0.25, 0),
    (0.7, 0.5, 0),
    (0.6, 0.75, 0),
    (0.4, 0.75, 1 / 8),
    (0.2, 0.75, 2 / 8),
    (0.1, 1, 3 / 8),
]


def test_example_of_the_page() -> None:
    mask_a, mask_b = np.zeros((2, 1, 10), bool)
    mask_a[0, :4] = mask_b[0, 4:6] = True
    scores = np.array([[0.9, 0.8, 0.3, 0.1, 0.7, 0.2, 0.6, 0.2, 0.1, 0.1]])
    state = SPROState()
    state.add_image(areas_of(np.array([[0.4, 0.1, 0.1, 0.1]]), GroundTruth("good", (1, 4), [])))
    defects = [Defect(A, mask_a), Defect(B, mask_b)]
    state.add_image(areas_of(scores, GroundTruth("logical_anomalies", (1, 10), defects)))
    points = curve(state.tables(), ["logical_anomalies"])
    for threshold, spro, fpr in ROWS:
        place = points.thresholds.tolist().index(threshold)
        assert (points.spro[place], points.fpr[place]) == pytest.approx((spro, fpr))
    assert (points.spro[-1], points.fpr[-1]) == (1, 1)
    assert area_under_curve(points, 0.3) == pytest.approx((0.25 * 0.75 + 0.05 * 0.8) / 0.3)
    assert round(area_under_curve(points, 0.3), 4) == 0.7583
    normal = next(table.areas for key, table in state.tables().items() if key == ("good", None))
    assert area_above(normal, np.array([0.1])).item() == 1
