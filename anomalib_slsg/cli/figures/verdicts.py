"""Figures of what models say of the test images: Fig. 5, 6 and 11."""

from pathlib import Path

import cv2
import numpy as np
import torch

from anomalib_slsg.cli.figures.made import Made
from anomalib_slsg.cli.figures.subject import Subject
from anomalib_slsg.metrics.anomaly_maps import resize_map
from anomalib_slsg.metrics.ground_truth import (
    GOOD,
    Defect,
    DefectType,
    GroundTruth,
    has_defects_config,
    read_ground_truth,
)
from anomalib_slsg.metrics.image_areas import areas_of
from anomalib_slsg.metrics.spro_state import SPROState, anomalous_groups, curve
from anomalib_slsg.report.figures.localisation import draw_localisation
from anomalib_slsg.report.figures.thresholds import draw_thresholds
from anomalib_slsg.report.figures.types_of_anomaly import draw_types
from anomalib_slsg.utils.auroc import area_under_roc

EXAMPLES = 6  # images in Fig. 5
WHOLE = DefectType("defect", saturation_threshold=1.0, relative_saturation=True)  # where the data do not say


def localisation(subject: Subject) -> Made:
    """Make Fig. 5."""
    places = subject.tests(EXAMPLES)
    if not places:
        raise ValueError("the data have no anomalous test images")
    maps = {name: [said.maps[place] for place in places] for name, said in subject.judged.items()}
    return Made(draw_localisation([subject.example(place) for place in places], maps))


def types_of_anomaly(subject: Subject) -> Made:
    """Make Fig. 6."""
    groups = np.array(subject.groups)
    numbers = {str(group): int((groups == group).sum()) for group in np.unique(groups) if group != GOOD}
    good = int((groups == GOOD).sum())
    if not numbers or not good:
        raise ValueError(f"the data have no {'normal' if numbers else 'anomalous'} test images")
    areas = {
        name: {
            kind: area_under_roc(said.scores[torch.from_numpy(groups == GOOD)], said.scores[groups == kind]).item()
            for kind in numbers
        }
        for name, said in subject.judged.items()
    }
    labels = {
        kind: f"{kind.replace('_anomalies', '').replace('_', ' ')}\n({number} images)"
        for kind, number in numbers.items()
    }
    return Made(draw_types(areas, labels, f"each against the {good} normal images of the test set"))


def thresholds(subject: Subject) -> Made:
    """Make Fig. 11: the checkpoint and the first further one, or else its two opinions, or it alone."""
    names = list(subject.opinions) or list(subject.judged)[:2]
    states = {name: SPROState() for name in names}
    for place, path in enumerate(subject.paths):
        truth = _truth(subject, place, path)
        for name, state in states.items():
            state.add_image(areas_of(resize_map(subject.judged[name].maps[place], truth.shape), truth))
    curves = {}
    for name, state in states.items():
        tables = state.tables()
        groups = anomalous_groups(tables)
        if not groups:
            raise ValueError("the data have no anomalous test images")
        curves[name] = curve(tables, groups)
    return Made(draw_thresholds(curves))


def _truth(subject: Subject, place: int, path: Path) -> GroundTruth:
    """What is known of a test image; each connected region of a mask is a defect where the data do not tell them."""
    if has_defects_config(path):
        return read_ground_truth(path)
    mask = subject.mask(place)
    if mask is None:
        raise ValueError(f"the data have no mask of '{path}', which sPRO is measured by")
    number, regions = cv2.connectedComponents(mask.astype(np.uint8))
    defects = [Defect(WHOLE, regions == region) for region in range(1, number)]
    return GroundTruth(subject.groups[place], (mask.shape[0], mask.shape[1]), defects)
