"""``slsg report``: one page of what was found, from the folder that ``train`` or ``predict`` has written."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from anomalib_slsg.utils.files import write_text

PACKAGES = ("anomalib-slsg", "anomalib", "torch", "lightning", "timm", "openvino", "onnxruntime")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="the folder, with scores.jsonl in it")


def run(options: Namespace) -> int:
    """Write the report and say where it is.

    Returns:
        0.

    Raises:
        OSError: If the folder has no table, or the report cannot be written.
        ValueError: If what is there cannot be read.
    """
    from anomalib_slsg.report.html import write_report

    print(f"The report is '{write_report(options.folder)}'.")
    return 0


def describe_run(folder: Path, model: Path, seconds: float, **sections: Any) -> None:
    """Write ``run.json``, which the report shows.

    Args:
        folder: Of the run.
        model: The model's file.
        seconds: How long everything took.
        **sections: Further ones, by name: options, the card of the calibration.
    """
    facts = {"model": model.name, "minutes": round(seconds / 60, 2)}
    content = {"run": facts, "versions": versions(), **sections}
    text = json.dumps(content, indent=2, default=str)
    write_text(folder / "run.json", text)


def versions() -> dict[str, str]:
    """Versions of what results depend on, ``not installed`` for what is missing."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
