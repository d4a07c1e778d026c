"""Small test sets of MVTec LOCO's format, and sPRO computed in the slow, obvious way."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import ImageBatch
from torch.nn.functional import interpolate

from tests.support.trees import write_defects_config, write_loco_image

CONFIG = [
    {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 12, "relative_saturation": False},
    {"defect_name": "scratch", "pixel_value": 254, "saturation_threshold": 0.6, "relative_saturation": True},
    {"defect_name": "dent", "pixel_value": 250, "saturation_threshold": 1.0, "relative_saturation": True},
]


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


def write_samples(category: Path, samples: list[Sample], config: Any = CONFIG) -> list[Sample]:
    """Write samples into a category's folder, with a configuration of its defects if there is one; set their paths."""
    if config is not None:
        write_defects_config(category, config)
    for number, sample in enumerate(samples):
        masks = [(mask * value).astype(np.uint8) for value, mask in sample.masks]
        sample.path = write_loco_image(category, sample.group, number, np.zeros(sample.size, np.uint8), masks)
    return samples


def batch_of(samples: list[Sample], dtype: torch.dtype = torch.float32, channel: bool = False) -> ImageBatch:
    """A batch of the samples' maps, with or without a dimension of one channel."""
    maps = torch.from_numpy(np.stack([sample.scores for sample in samples])).to(dtype)
    return ImageBatch(
        image=torch.zeros(len(samples), 3, 2, 2),
        anomaly_map=maps.unsqueeze(1) if channel else maps,
        pred_score=maps.flatten(1).amax(dim=1).float(),
        gt_label=torch.tensor([sample.group != "good" for sample in samples]),
        image_path=[str(sample.path) for sample in samples],
    )


def _at_mask_size(sample: Sample) -> np.ndarray:
    values = torch.from_numpy(sample.scores.astype(np.float64))[None, None]
    if sample.scores.shape == sample.size:
        return sample.scores.astype(np.float64)
    return interpolate(values, sample.size, mode="bilinear", align_corners=False)[0, 0].numpy()


def reference_area(samples: list[Sample], group: str, limit: float) -> float:
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


def random_samples(generator: np.random.Generator, size: tuple[int, int] = (12, 14), levels: int = 0) -> list[Sample]:
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
