"""The photographs that a model was trained with, and their file ``training_images.jsonl``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from anomalib_slsg.utils.files import write_text

NAME = "training_images.jsonl"


@dataclass(frozen=True)
class Photograph:
    """A photograph to be looked at.

    Args:
        file: The image.
        score: Probability of an anomaly, in [0, 1], by what was learnt of other images, where that is known.
        anomalous: Whether it is, where that is known.
    """

    file: str
    score: float | None = None
    anomalous: bool | None = False


def write_training_images(photographs: Sequence[Photograph], folder: Path) -> None:
    """Write ``training_images.jsonl``, a line an image.

    Args:
        photographs: All of them, normal ones.
        folder: Where the file goes.
    """
    text = "".join(f"{json.dumps(asdict(photograph))}\n" for photograph in photographs)
    write_text(folder / NAME, text)


def read_training_images(folder: Path) -> list[Photograph]:
    """Read what :func:`write_training_images` has written.

    Args:
        folder: Where the file is, if there is one.

    Returns:
        The photographs; none without a file.

    Raises:
        ValueError: If the file is something else, naming it.
    """
    file = folder / NAME
    if not file.is_file():
        return []
    try:
        return [Photograph(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise ValueError(f"'{file}' is no list of training images ({error}); remove it to go without them") from error
