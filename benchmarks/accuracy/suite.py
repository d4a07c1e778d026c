"""A whole data set as the paper's tables have it: its categories, those that are there, and the paper's figures."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "suites"
SUITES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
ALL = "all"  # the group of all categories
READING = {"eval_batch_size": 16, "num_workers": 1}

Figures = dict[str, float | None]  # in per cent, by metric; none where there is no figure


@dataclass(frozen=True)
class Suite:
    """A data set of several categories.

    Args:
        title: How tables call it.
        name: What rows of results call it.
        class_path: Its data module.
        root: Its folder, below that of all data sets.
        source: Where to get it, if anomalib does not fetch it.
        levels: The two metrics of the paper's table, as rows call them, by what tables call them.
        groups: Categories by the table's groups, the last of which has all.
        paper: The table: figures of each method, by category or group.
        types: Types of anomalies, with the image AUROC in per cent of the paper's SLSG; none where there are no types.
    """

    title: str
    name: str
    class_path: str
    root: str
    source: str | None
    levels: dict[str, str]
    groups: dict[str, tuple[str, ...]]
    paper: dict[str, dict[str, Figures]]
    types: dict[str, float] = field(default_factory=dict)

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, in the table's order."""
        return self.groups[ALL]


def read_suite(name: str) -> Suite:
    """Read the description of a data set.

    Args:
        name: One of ``SUITES``.
    """
    described = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    methods, categories, table, means = (described.pop(part) for part in ("methods", "categories", "table", "means"))
    groups = categories if isinstance(categories, dict) else {}
    every = [each for group in groups.values() for each in group] if groups else categories
    metrics = described["levels"].values()
    paper = {
        method: {
            title: dict(zip(metrics, line[number] or (None, None), strict=True))
            for title, line in {**table, **means}.items()
        }
        for number, method in enumerate(methods)
    }
    return Suite(**described, groups={**groups, ALL: tuple(every)}, paper=paper)


def data_of(suite: Suite, data_root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """List the categories that can be measured.

    Args:
        suite: The data set.
        data_root: Folder above the data sets.

    Returns:
        Entries of a matrix, all where the folder is not there at all and anomalib will fetch it; and what is missing,
        in sentences.

    Raises:
        FileNotFoundError: If there is nothing to measure.
    """
    folder = data_root / suite.root
    if suite.source is None and not folder.exists():
        return [_entry(suite, category) for category in suite.categories], []
    there = [category for category in suite.categories if _has_images(folder / category)]
    if not there:
        place = suite.source or f"anomalib, which fetches it if there is no folder '{folder}'"
        msg = f"'{folder}' has no images of {', '.join(suite.categories)}; the data set comes from {place}"
        raise FileNotFoundError(msg)
    lacking = [category for category in suite.categories if category not in there]
    unmasked = [category for category in there if not any((folder / category).glob("ground_truth/**/*.png"))]
    missing = []
    if lacking:
        missing.append(f"'{folder}' lacks {', '.join(lacking)}: there will be no rows of them.")
    if unmasked:
        missing.append(f"There are no masks of {', '.join(unmasked)}: only their image scores are measured.")
    entries = [
        _without_masks(suite, folder, category) if category in unmasked else _entry(suite, category)
        for category in there
    ]
    return entries, missing


def _has_images(folder: Path) -> bool:
    """Tell whether there are normal images to train with, and normal and anomalous ones to test with."""
    normal, tests = _folders(folder / "train"), _folders(folder / "test")
    return len(normal) == 1 and len(tests) > 1 and normal[0] in tests


def _folders(parent: Path) -> list[str]:
    """Name the folders of images."""
    return sorted({path.parent.name for path in parent.glob("[!.]*/[!.]*") if path.is_file()})


def _entry(suite: Suite, category: str) -> dict[str, Any]:
    arguments = {"root": suite.root, "category": category, **READING}
    return {"name": suite.name, "category": category, "class_path": suite.class_path, "init_args": arguments}


def _without_masks(suite: Suite, folder: Path, category: str) -> dict[str, Any]:
    """Have images alone measured, for without masks the data set's own module fails."""
    (normal,) = _folders(folder / category / "train")
    arguments = {
        "name": category,
        "root": f"{suite.root}/{category}",
        "normal_dir": f"train/{normal}",
        "normal_test_dir": f"test/{normal}",
        "abnormal_dir": [f"test/{name}" for name in _folders(folder / category / "test") if name != normal],
        "val_split_mode": "same_as_test",  # anomalib's default draws half of the test images, others for each model
        **READING,
    }
    return {**_entry(suite, category), "class_path": "anomalib.data.Folder", "init_args": arguments}
