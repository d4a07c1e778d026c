"""The file of results, which grows job by job."""

from pathlib import Path

from filelock import FileLock

from benchmarks.common.files import read_rows, write_rows

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
# at the threshold of 0.5, of models whose scores are probabilities
COUNTS = ("good_images", "false_alarms", "anomalous_images", "misses")
COLUMNS = (*KEY, *METRICS, *COUNTS, "fit_s", "test_s")


class Rows:
    """Rows of a CSV file.

    Args:
        path: The file, made with its first row. A lock beside it keeps other processes out while one writes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, path.with_name(f".{path.name}.lock")

    def read(self) -> list[dict[str, str]]:
        """Read all rows."""
        return read_rows(self.path)

    def has(self, key: dict[str, str]) -> bool:
        """Tell whether a job is done."""
        return any(all(row[name] == key[name] for name in KEY) for row in self.read())

    def add(self, row: dict[str, str]) -> None:
        """Append a row unless it is there; other processes may do so at the same time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.lock):
            if not self.has(row):
                write_rows(self.path, COLUMNS, [*self.read(), row])
