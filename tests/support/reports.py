"""Folders as ``slsg predict`` writes them, for the report."""

import json
import math
from pathlib import Path

import numpy as np

from anomalib_slsg.report.judged import Judged, write_scores
from tests.support.trees import draw_part, write_image

CALIBRATION = {
    "images": 39,
    "kept": 4,
    "false_alarm_rate": 0.05,
    "supported_rate": 0.025,
    "scores": [0.25] * 38 + [0.5],
    "histogram": [0] * 5 + [38] + [0] * 4 + [1] + [0] * 9,
}


def write_judged_folder(folder: Path, good: int = 12, bad: int = 6, unknown: int = 2) -> list[Judged]:
    """Write images, maps, a table and ``run.json``.

    Scores of good images rise from 0.1 to 0.6, those of bad ones from 0.4 to 0.95; unknown ones have 0.3.

    Args:
        folder: Where they go.
        good: How many images are known to be normal.
        bad: How many are known to be anomalous.
        unknown: Of how many nothing is known.

    Returns:
        What the table holds.
    """
    generator, images = np.random.default_rng(3), []
    scores = {
        "good": np.linspace(0.1, 0.6, good),
        "bar": np.linspace(0.4, 0.95, bad),
        "new": np.full(unknown, 0.3),
    }
    for kind, values in scores.items():
        for index, score in enumerate(values.tolist()):
            picture, mask = draw_part(generator, defect=kind == "bar")
            file = write_image(folder / "images" / kind / f"{index:03d}.png", picture)
            heat_map = write_image(folder / "maps" / kind / f"{index:03d}.png", mask)
            judged = Judged(
                file=str(file),
                folder=kind,
                score=score,
                model="0a1b2c",
                anomalous={"good": False, "bar": True, "new": None}[kind],
                milliseconds=12.5,
                opinions={"SegNet": -2.0, "places": math.log(score / (1 - score)), "composition": -4.0},
                heat_map=str(heat_map.relative_to(folder)),
                nearest=str(folder / "images" / "good" / "000.png"),
            )
            images.append(judged)
    write_scores(images, folder)
    run = {"versions": {"torch": "2.99"}, "options": {"network": {"dropout": 0.5}}, "calibration": CALIBRATION}
    (folder / "run.json").write_text(json.dumps(run))
    return images
