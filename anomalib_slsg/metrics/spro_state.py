"""State of the sPRO metrics: areas by score of all images seen so far, in bounded memory."""

import hashlib
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from anomalib_slsg.metrics.anomaly_maps import check_map
from anomalib_slsg.metrics.ground_truth import GOOD
from anomalib_slsg.metrics.image_areas import ImageAreas, image_areas
from anomalib_slsg.metrics.spro import AreaByScore, SPROPoints, add, spro_curve, tabulate, thin

# As long as all tables together have at most this many rows, nothing is rounded.
MAX_ROWS = 2**20
# Relative change of any area when longer ones are joined.
RESOLUTION = 2.0**-13

EMPTY_STATES = {
    "scores": torch.empty(0),
    "areas": torch.empty(0),
    "series": torch.empty(0, dtype=torch.int64),
    "counts": torch.empty(0, 3, dtype=torch.int64),
    "names": torch.empty(0, dtype=torch.uint8),
}
STATES = tuple(EMPTY_STATES)
NO_AREA = AreaByScore(np.empty(0, np.float32), np.empty(0))


class Series(NamedTuple):
    """What is added up in one table.

    Attributes:
        group: Name of the test folder.
        defect: Name of the defect; None for the pixels that are free of defects.
    """

    group: str
    defect: str | None


class SeriesAreas(NamedTuple):
    """Sum over the images of a test set.

    Attributes:
        areas: Normal pixels, or saturated areas of defects, by score.
        images: Number of images.
        regions: Number of defects.
    """

    areas: AreaByScore
    images: int
    regions: int


class SPROState(Metric):
    """Adds up areas by score, for each folder of test images and each type of defect in it.

    Rows of all tables lie in flat tensors that concatenation reduces over processes. When there are more than
    ``MAX_ROWS`` of them, the tables are thinned: memory then depends neither on the number of images nor on the number
    of different scores.

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    scores: list[Tensor]
    areas: list[Tensor]
    series: list[Tensor]
    counts: list[Tensor]
    names: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in STATES:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, anomaly_map: Tensor, image_path: Sequence[str | Path]) -> None:
        """Compare maps with the masks on disk.

        Args:
            anomaly_map: Raw maps, of shape (B, h, w) or (B, 1, h, w).
            image_path: Their B test images; see :func:`read_ground_truth`.

        Raises:
            FileNotFoundError: If a file of the ground truth is missing.
            ValueError: If one is broken, or a map is not finite.
        """
        for areas in _areas_of_batch(anomaly_map, [str(path) for path in image_path]):
            self.add_image(areas)

    def add_image(self, image: ImageAreas) -> None:
        """Add one image's areas.

        Args:
            image: The areas.
        """
        tables = [(Series(image.group, None), image.normal)]
        tables += [(Series(image.group, name), areas) for name, areas in image.defects]
        regions: dict[Series, int] = {}
        for series, _ in tables:
            regions[series] = regions.get(series, 0) + (series.defect is not None)
        self._append(tables, [(series, 1, number) for series, number in regions.items()])
        # the first tensor is what was thinned last: as many rows again may follow, so that thinning stays rare
        if sum(map(len, self.scores)) > max(MAX_ROWS, 2 * len(self.scores[0])):
            self._thin()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Take part in the exchange of processes, also without images: with empty tensors of the others' types."""
        if torch.distributed.is_initialized() and not len(self.names):
            for name, empty in EMPTY_STATES.items():
                setattr(self, name, [empty.to(self.device)])
        super().sync(*args, **kwargs)

    def compute(self) -> Any:
        """Give the sums of all processes; see :meth:`tables`."""
        return self.tables()

    def tables(self) -> dict[Series, SeriesAreas]:
        """Give the sums, sorted by folder and defect."""
        if not len(self.names):
            return {}
        scores, areas, series, counts, names = (
            dim_zero_cat(state).cpu().numpy()
            for state in (self.scores, self.areas, self.series, self.counts, self.names)
        )
        catalogue = {Series(*json.loads(line)) for line in names.tobytes().decode().splitlines()}
        result = {}
        for key in sorted(catalogue, key=lambda key: (key.group, key.defect or "")):
            rows, (images, regions) = series == _identity(key), counts[counts[:, 0] == _identity(key), 1:].sum(axis=0)
            result[key] = SeriesAreas(tabulate(scores[rows], areas[rows]), int(images), int(regions))
        return result

    def _append(self, tables: list[tuple[Series, AreaByScore]], counts: list[tuple[Series, int, int]]) -> None:
        scores = np.concatenate([table.scores for _, table in tables])
        areas = np.concatenate([table.areas for _, table in tables]).astype(np.float32)
        series = np.repeat([_identity(key) for key, _ in tables], [len(table.scores) for _, table in tables])
        numbers = [[_identity(key), images, regions] for key, images, regions in counts]
        names = "".join(json.dumps(key) + "\n" for key, _, _ in counts).encode()
        self.scores.append(torch.from_numpy(scores).to(self.device))
        self.areas.append(torch.from_numpy(areas).to(self.device))
        self.series.append(torch.from_numpy(series).to(self.device))
        self.counts.append(torch.tensor(numbers, dtype=torch.int64, device=self.device))
        self.names.append(torch.frombuffer(bytearray(names), dtype=torch.uint8).to(self.device))

    def _thin(self) -> None:
        tables = self.tables()
        for name in STATES:
            setattr(self, name, [])
        self._append(
            [(key, thin(table.areas, RESOLUTION)) for key, table in tables.items()],
            [(key, table.images, table.regions) for key, table in tables.items()],
        )


def curve(tables: dict[Series, SeriesAreas], groups: Sequence[str], defect: str | None = None) -> SPROPoints:
    """Curve of some folders' defects against the normal pixels of these folders and of the good images.

    Args:
        tables: Sums of a test set; see :meth:`SPROState.tables`.
        groups: Names of the folders.
        defect: Take this type of defect only.

    Returns:
        The curve.

    Raises:
        ValueError: If there are no normal pixels or no such defects.
    """
    normal, defects = [NO_AREA], [NO_AREA]
    for key, table in tables.items():
        if key.defect is None and key.group in {GOOD, *groups}:
            normal.append(table.areas)
        elif key.defect is not None and key.group in groups and defect in {None, key.defect}:
            defects.append(table.areas)
    return spro_curve(add(normal), add(defects))


def anomalous_groups(tables: dict[Series, SeriesAreas]) -> list[str]:
    """Names of the folders that hold defects, sorted."""
    return sorted({key.group for key in tables if key.defect is not None})


def _identity(series: Series) -> int:
    """Number that stands for a series in every process."""
    digest = hashlib.blake2b(json.dumps(series).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


_last_batch: tuple[weakref.ref[Tensor], bytes, list[ImageAreas]] | None = None


def _areas_of_batch(anomaly_map: Tensor, paths: list[str]) -> list[ImageAreas]:
    """Compute the areas of a batch once, however many metrics ask for them in turn."""
    global _last_batch  # noqa: PLW0603
    if len(anomaly_map) != len(paths):
        raise ValueError(f"{len(anomaly_map)} anomaly maps for {len(paths)} image paths")
    maps = anomaly_map.detach().cpu()
    values = (maps.float() if maps.dtype == torch.bfloat16 else maps).numpy()  # NumPy knows no bfloat16
    # the content counts too: a tensor can be changed in place unnoticed
    content = hashlib.blake2b(values.tobytes() + json.dumps(paths).encode(), digest_size=16).digest()
    if _last_batch is not None and _last_batch[0]() is anomaly_map and _last_batch[1] == content:
        return _last_batch[2]
    areas = [image_areas(check_map(one, path), Path(path)) for one, path in zip(values, paths, strict=True)]
    _last_batch = (weakref.ref(anomaly_map), content, areas)
    return areas
