"""The report of a run: one HTML file that needs nothing else."""

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from anomalib_slsg.report.gallery import make_cards
from anomalib_slsg.report.judged import Judged, read_scores
from anomalib_slsg.report.photographs import MOST, look_at
from anomalib_slsg.report.pictures import ImageFiles, colour_scale
from anomalib_slsg.report.training_images import Photograph, read_training_images
from anomalib_slsg.utils.files import write_atomically

logger = logging.getLogger(__name__)

PICTURE_CHARACTERS = 11_000_000  # of the 15 MB that a mail may have; the rest is text
EXACT_SCORES = 50_000  # images; of more, scores are rounded, so that equal ones are counted together
FOLDERS = 100  # with a line of their own
FAULTS = 20  # files that are listed


def write_report(folder: Path, file: Path | None = None) -> Path:
    """Write the report of what ``slsg train`` or ``slsg predict`` has found.

    Args:
        folder: Where ``scores.jsonl`` is and, if there are any, ``run.json``: what is known of the run, in sections,
            and ``training_images.jsonl``: whose photographs are looked at in place of those that were judged.
        file: The report; ``report.html`` in the folder if left out.

    Returns:
        The report.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If the table is empty, or of several thresholds, or one of the others cannot be read.
    """
    folder, file = Path(folder), Path(file or Path(folder) / "report.html")
    images = read_scores(folder)
    if not images:
        raise ValueError(f"'{folder / 'scores.jsonl'}' is empty: there is nothing to report")
    if len(thresholds := {image.threshold for image in images}) > 1:
        raise ValueError(f"'{folder / 'scores.jsonl'}' has {len(thresholds)} thresholds; a report takes one")
    run, files = _read_run(folder / "run.json"), ImageFiles(folder)
    trained = read_training_images(folder)
    photographs = trained or [Photograph(image.file, image.score, image.anomalous) for image in images]
    warned = look_at(photographs, files)
    cards = make_cards(images, files, PICTURE_CHARACTERS)
    if files.faults:
        logger.warning("%d images are not in the report: %s.", len(files.faults), next(iter(files.faults.values())))
    common = _common_folder([image.file for image in images])
    nearest = [image.nearest for image in images if image.nearest is not None]
    normal = _common_folder([photograph.file for photograph in trained] or nearest)
    environment = Environment(
        loader=PackageLoader("anomalib_slsg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["below"] = lambda name, folder=common: name.removeprefix(folder)
    page = environment.get_template("report.html").render(
        title=folder.absolute().name,
        common=common,
        normal=normal,
        images=images,
        threshold=thresholds.pop(),
        data=_data(images),
        cards=cards,
        warned=warned,
        trained=bool(trained),
        photographs=len(photographs),
        looked_at=min(MOST, len(photographs)),
        faults=list(files.faults.values()),
        most_faults=FAULTS,
        calibration=run.pop("calibration", None),
        run=run,
        colours=", ".join(colour_scale()),
    )
    data = page.encode("utf-8", "replace")  # names of files may be no text
    write_atomically(file, lambda path: path.write_bytes(data))
    return file


def _read_run(file: Path) -> dict[str, Any]:
    """What is known of the run; nothing if it left no file."""
    if not file.is_file():
        return {}
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"'{file}' is no JSON ({error}); remove it for a report without it") from error
    if not isinstance(run, dict):
        raise ValueError(f"'{file}' holds no sections; remove it for a report without it")
    return run


def _common_folder(names: Sequence[str]) -> str:
    """The folder of all images with a slash, so that it need not be repeated; nothing if they have none in common."""
    try:
        common = Path(os.path.commonpath({str(Path(name).parent) for name in names}))
    except ValueError:  # there are none, some are absolute and some are not, or they are on several drives
        return ""
    return f"{common}{os.sep}" if common.name else ""


def _data(images: Sequence[Judged]) -> dict[str, Any]:
    """What the page counts: folders, and rows of score, whether it is anomalous, folder and number of images."""
    named = [name for name, _ in Counter(image.folder for image in images).most_common(FOLDERS)]
    places = {name: index for index, name in enumerate(sorted(named))}
    counted: Counter[tuple[float, bool | None, int]] = Counter()
    for image in images:
        score = image.score if len(images) <= EXACT_SCORES else round(image.score, 3)
        if (score > image.threshold) != (image.verdict == "anomalous"):
            score = image.score
        counted[score, image.anomalous, places.get(image.folder, len(places))] += 1
    others = ["(other folders)"] if any(place == len(places) for _, _, place in counted) else []
    return {
        "threshold": images[0].threshold,
        "folders": [*places, *others],
        "rows": [[*row, number] for row, number in counted.items()],
    }
