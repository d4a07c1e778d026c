"""The file of results, which grows job by job."""

import csv
from pathlib import Path

from anomalib_slsg.data.file_lock import exclusive
from anomalib_slsg.utils.files import write_atomically

KEY = ("model", "data", "category", "seed", "schedule")
METRICS = (
    "image_AUROC",
    "image_F1Score",
    "image_F1Max",
    "pixel_AUROC",
    "pixel_AUPRO",
    "image_AUROC_logical",
    "image_AUROC_structural",
    "image_AUROC_mean",
    "pixel_AUSPRO_logical",
    "pixel_AUSPRO_structural",
    "pixel_AUSPRO_mean",
)
COLUMNS = (*KEY, *METRICS, "fit_s", "test_s")


class Rows:
    """Rows of a CSV file.

    Args:
        path: The file, made with its first row. A lock beside it keeps other processes out while one writes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, path.with_name(f".{path.name}.lock")

    def read(self) -> list[dict[str, str]]:
        """Read all rows."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def has(self, key: dict[str, str]) -> bool:
        """Tell whether a job is done."""
        return any(all(row[name] == key[name] for name in KEY) for row in self.read())

    def add(self, row: dict[str, str]) -> None:
        """Append a row unless it is there; other processes may do so at the same time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self.lock):
            if not self.has(row):
                rows = [*self.read(), row]
                write_atomically(self.path, lambda path: _write(path, rows))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
