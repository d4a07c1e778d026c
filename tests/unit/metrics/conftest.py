"""Small trees of MVTec LOCO's format, and sPRO computed in the slow, obvious way."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

CONFIG = [
    {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 12, "relative_saturation": False},
    {"defect_name": "scratch", "pixel_value": 254, "saturation_threshold": 0.6, "relative_saturation": True},
    {"defect_name": "dent", "pixel_value": 250, "saturation_threshold": 1.0, "relative_saturation": True},
]
LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)


@dataclass
class Sample:
    """One test image: folder, size, masks as (pixel value, boolean array), and an anomaly map."""

    group: str
    scores: np.ndarray
    masks: list[tuple[int, np.ndarray]] = field(default_factory=list)
    shape: tuple[int, int] | None = None
    path: Path = Path()

    @property
    def size(self) -> tuple[int, int]:
        if self.masks:
            return self.masks[0][1].shape  # type: ignore[return-value]
        return self.shape or self.scores.shape  # type: ignore[return-value]


WriteTree = Callable[..., list[Sample]]
Reference = Callable[[list[Sample], str, float], float]


def _write(folder: Path, samples: list[Sample], config: Any = CONFIG) -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "defects_config.json").write_text(json.dumps(config))
    for number, sample in enumerate(samples):
        sample.path = folder / "test" / sample.group / f"{number:03d}.png"
        sample.path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(sample.path), np.zeros(sample.size, np.uint8))
        for index, (value, mask) in enumerate(sample.masks):
            file = folder / "ground_truth" / sample.group / sample.path.stem / f"{index:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), (mask * value).astype(np.uint8))
    return samples


def _at_mask_size(sample: Sample) -> np.ndarray:
    values = torch.from_numpy(sample.scores.astype(np.float64))[None, None]
    if sample.scores.shape == sample.size:
        return sample.scores.astype(np.float64)
    return interpolate(values, sample.size, mode="bilinear", align_corners=False)[0, 0].numpy()


def _reference(samples: list[Sample], group: str, limit: float) -> float:
    """AU-sPRO of one folder, straight from the definition, with every score as a threshold."""
    types = {entry["pixel_value"]: entry for entry in CONFIG}
    used = [(sample, _at_mask_size(sample)) for sample in samples if sample.group in {"good", group}]
    distinct = sorted({score for _, values in used for score in values.ravel().tolist()}, reverse=True)
    points = []
    for threshold in [*distinct, -np.inf]:
        false, normal, overlaps = 0, 0, []
        for sample, values in used:
            positive = values > threshold
            defective = np.zeros(values.shape, bool)
            for value, mask in sample.masks:
                area, saturation = int(mask.sum()), types[value]["saturation_threshold"]
                full = int(saturation * area) if types[value]["relative_saturation"] else min(saturation, area)
                overlaps.append(min((positive & mask).sum() / full, 1.0))
                defective |= mask
            false += (positive & ~defective).sum()
            normal += (~defective).sum()
        points.append((false / normal, sum(overlaps) / len(overlaps)))
    total = 0.0
    for (x, y), (next_x, next_y) in pairwise(points):
        if next_x <= limit:
            total += (next_x - x) * (y + next_y) / 2
        elif x < limit:
            cut = y + (limit - x) / (next_x - x) * (next_y - y)
            total += (limit - x) * (y + cut) / 2
    return total / limit


@pytest.fixture(scope="session")
def write_tree() -> WriteTree:
    """Write samples into a category's folder and set their paths."""
    return _write


@pytest.fixture(scope="session")
def reference() -> Reference:
    """AU-sPRO from the definition."""
    return _reference


@pytest.fixture(scope="session")
def sample_type() -> type[Sample]:
    """Class of samples: test modules cannot import this file."""
    return Sample


def _random_samples(generator: np.random.Generator, size: tuple[int, int] = (12, 14), levels: int = 0) -> list[Sample]:
    """Draw good images and anomalous ones with one to three defects, which may overlap."""
    samples = []
    for group, count in (("good", 2), ("logical_anomalies", 3), ("structural_anomalies", 2)):
        for _ in range(count):
            masks = []
            for _ in range(0 if group == "good" else int(generator.integers(1, 4))):
                height, width, value = (
                    generator.integers(3, 7),
                    generator.integers(3, 7),
                    generator.choice([255, 254, 250]),
                )
                top, left = generator.integers(0, size[0] - height), generator.integers(0, size[1] - width)
                mask = np.zeros(size, bool)
                mask[top : top + height, left : left + width] = True
                masks.append((int(value), mask))
            scores = generator.normal(size=size)
            for _, mask in masks:
                scores[mask] += generator.uniform(0, 2)
            if levels:
                scores = np.floor(scores * levels) / levels
            samples.append(Sample(group, scores.astype(np.float32), masks))
    return samples


@pytest.fixture(scope="session")
def random_samples() -> Callable[..., list[Sample]]:
    """Draw a small test set."""
    return _random_samples
