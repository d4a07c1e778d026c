"""A whole data set as the paper's tables have it: its categories, those that are there, and the paper's figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "suites"
SUITES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
READING = {"eval_batch_size": 16, "num_workers": 1}

Pair = tuple[float | None, float | None]  # image and pixel level; none where a table has a dash


@dataclass(frozen=True)
class Suite:
    """A data set of several categories.

    Args:
        title: How tables call it.
        name: What rows of results call it.
        class_path: Its data module.
        root: Its folder, below that of all data sets.
        source: Where to get it, if anomalib does not fetch it.
        pixel: The pixel-level metric of the paper's table, as rows call it.
        groups: Categories by the table's groups; one group without a name where it has none.
        paper: The table, in per cent: figures of each method, by category.
    """

    title: str
    name: str
    class_path: str
    root: str
    source: str | None
    pixel: str
    groups: dict[str, tuple[str, ...]]
    paper: dict[str, dict[str, Pair]]

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, in the table's order."""
        return tuple(category for group in self.groups.values() for category in group)


def read_suite(name: str) -> Suite:
    """Read the description of a data set.

    Args:
        name: One of ``SUITES``.
    """
    described = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    groups, table = described.pop("categories"), described.pop("paper")
    methods = table.pop("methods")
    nothing = (None, None)
    paper = {
        method: {category: tuple(line[number] or nothing) for category, line in table.items()}
        for number, method in enumerate(methods)
    }
    return Suite(**described, groups=groups if isinstance(groups, dict) else {"": groups}, paper=paper)


def data_of(suite: Suite, data_root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """List the categories that can be measured.

    Args:
        suite: The data set.
        data_root: Folder above the data sets.

    Returns:
        Entries of a matrix, all where the folder is not there at all and anomalib will fetch it, and the names of the
        categories that are missing.

    Raises:
        FileNotFoundError: If there is nothing to measure.
    """
    folder = data_root / suite.root
    fetched = suite.source is None and not folder.exists()
    there = [category for category in suite.categories if fetched or (folder / category).is_dir()]
    if not there:
        place = suite.source or f"anomalib, which fetches it if there is no folder '{folder}'"
        msg = f"'{folder}' has none of the folders {', '.join(suite.categories)}; the data set comes from {place}"
        raise FileNotFoundError(msg)
    return [_entry(suite, folder, category) for category in there], [c for c in suite.categories if c not in there]


def _entry(suite: Suite, folder: Path, category: str) -> dict[str, Any]:
    entry = {"name": suite.name, "category": category, "class_path": suite.class_path}
    if (folder / category).is_dir() and not (folder / category / "ground_truth").is_dir():
        return {**entry, "class_path": "anomalib.data.Folder", "init_args": _without_masks(suite, folder, category)}
    return {**entry, "init_args": {"root": suite.root, "category": category, **READING}}


def _without_masks(suite: Suite, folder: Path, category: str) -> dict[str, Any]:
    """Have images alone measured where there are no masks, without which the data set's own module fails."""
    (normal,) = (path.name for path in (folder / category / "train").iterdir())
    anomalous = sorted(path.name for path in (folder / category / "test").iterdir() if path.name != normal)
    return {
        "name": category,
        "root": f"{suite.root}/{category}",
        "normal_dir": f"train/{normal}",
        "normal_test_dir": f"test/{normal}",
        "abnormal_dir": [f"test/{name}" for name in anomalous],
        "val_split_mode": "same_as_test",  # anomalib's default draws half of the test images, others for each model
        **READING,
    }
