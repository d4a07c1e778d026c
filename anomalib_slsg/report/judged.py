"""What was found in each image, and its files ``scores.csv`` and ``scores.jsonl``."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from anomalib_slsg.utils.files import write_atomically, write_text

COLUMNS = ("file", "score", "verdict", "threshold", "box", "area", "milliseconds", "model")


@dataclass(frozen=True)
class Judged:
    """What was found in an image.

    Args:
        file: The image.
        folder: Its folder below that of all images, with ``/`` between parts; empty if it lies there itself.
        score: Probability of an anomaly, in [0, 1].
        model: Hash of the model that judged, in hexadecimal digits.
        threshold: Score above which the verdict is "anomalous".
        anomalous: Whether it is, where that is known.
        box: Left, top, width and height in pixels of the largest region above the threshold; ``None`` without one.
        area: Share of the image's pixels in that region, in [0, 1].
        milliseconds: How long the model took.
        opinions: Log odds of an anomaly by each opinion: ``SegNet``, ``places``, ``whole``, ``composition``.
        heat_map: Picture of the map, in grey levels from 0 to 255 for probabilities from 0 to 1, of the size that the
            model takes; relative to the folder of the table.
        nearest: The training image that is most like it, if it was looked for.
    """

    file: str
    folder: str
    score: float
    model: str
    threshold: float = 0.5
    anomalous: bool | None = None
    box: tuple[int, int, int, int] | None = None
    area: float = 0.0
    milliseconds: float = 0.0
    opinions: dict[str, float] = field(default_factory=dict)
    heat_map: str | None = None
    nearest: str | None = None

    @property
    def verdict(self) -> str:
        """``normal`` or ``anomalous``."""
        return "anomalous" if self.score > self.threshold else "normal"


def write_scores(images: Sequence[Judged], folder: Path) -> None:
    """Write ``scores.csv``, for spreadsheets, and ``scores.jsonl``, with all that is known of each image.

    Args:
        images: What was found.
        folder: Where the files go.
    """

    def write_table(path: Path) -> None:
        # names that are no text stay the bytes that they are
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for image in images:
                box = "" if image.box is None else " ".join(map(str, image.box))
                values = {**asdict(image), "verdict": image.verdict, "box": box}
                table.writerow(values[name] for name in COLUMNS)

    lines = (json.dumps({**asdict(image), "verdict": image.verdict}) for image in images)
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(folder / "scores.csv", write_table)
    write_text(folder / "scores.jsonl", text)


def read_scores(folder: Path) -> list[Judged]:
    """Read what :func:`write_scores` has written.

    Args:
        folder: Where the files are.

    Returns:
        What was found in each image.

    Raises:
        FileNotFoundError: If there is no table.
    """
    file = folder / "scores.jsonl"
    if not file.is_file():
        raise FileNotFoundError(
            f"'{folder}' has no scores.jsonl; give the folder that slsg train or predict has written"
        )
    return [_parse(json.loads(line)) for line in _lines(file)]


def _lines(file: Path) -> Iterable[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _parse(values: dict) -> Judged:
    values = {name: value for name, value in values.items() if name != "verdict"}
    box = values.get("box")
    return Judged(**{**values, "box": None if box is None else tuple(box)})
