"""The paper's ablations (Tables 4-7) at a shortened schedule, beside the paper's differences.

``python -m benchmarks.ablations.run --data_root datasets`` trains the full method and every configuration in
``configs/ablations`` over the data and seeds of ``short.yaml``, by the machinery of ``benchmarks.accuracy``: rows are
appended to ``benchmarks/results/ablations.csv``, and an interrupted run goes on. ``ablations.md`` beside it has
the tables as the paper prints them, and tells which differences exceed the spread over seeds.
"""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from benchmarks.ablations.report import FULL, of_matrix, report
from benchmarks.accuracy.jobs import AccuracyJobs
from benchmarks.accuracy.matrix import read_matrix
from benchmarks.accuracy.rows import Rows
from benchmarks.accuracy.runners import make_runner
from benchmarks.common.paths import RESULTS
from benchmarks.common.slsg import merge, read_config

MATRIX = Path(__file__).parent / "short.yaml"
PAPERS_FIGURES = Path(__file__).parent / "paper.yaml"
CLASS_PATH = "anomalib_slsg.Slsg"


def with_ablations(matrix: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a model for each ablation into a matrix.

    Args:
        matrix: Data, seeds, image size and ``base``, the options that all have in common.
        entries: Ablations.

    Returns:
        A matrix for :class:`AccuracyJobs`.
    """
    models = []
    for name in dict.fromkeys([FULL, *(entry["config"] for entry in entries)]):
        options = merge(matrix["base"], read_config(f"ablations/{name}"))
        options["backbone"] = matrix["base"].get("backbone", options["backbone"])  # the only one that is no ablation
        models.append({"name": name, "class_path": CLASS_PATH, "init_args": options, "trainer": matrix["trainer"]})
    return {**matrix, "models": models}


def papers_figures() -> list[dict[str, Any]]:
    """Read all ablations, with the paper's figures."""
    entries: list[dict[str, Any]] = yaml.safe_load(PAPERS_FIGURES.read_text(encoding="utf-8"))
    return entries


def write_report(config: Path, rows: Rows, file: Path) -> None:
    """Write the tables of a file of rows, whatever part of them was run last.

    Args:
        config: Data, seeds, schedule.
        rows: The rows; those of other schedules are left out.
        file: The Markdown file.
    """
    entries = papers_figures()
    matrix = with_ablations(read_matrix(config), entries)
    report(of_matrix(rows.read(), matrix), entries, matrix, file)


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=MATRIX, help="data, seeds, schedule")
    parser.add_argument("--tables", type=list[int], default=[4, 5, 6, 7], help="which of them")
    parser.add_argument("--data_root", type=Path, default=Path("datasets"), help="folder above the data sets")
    parser.add_argument("--results", type=Path, default=RESULTS / "ablations.csv", help="file of rows")
    parser.add_argument("--work", type=Path, default=Path("results") / "ablations", help="folder for logs")
    parser.add_argument(
        "--only", type=list[str], default=[], help="names of ablations, data, categories, data/category"
    )
    parser.add_argument("--accelerator", type=str, default="auto", help="Lightning's accelerator")
    parser.add_argument("--devices", type=int, default=1, help="jobs at a time, each on a device of its own")
    parsed = parser.parse_args()
    entries = [entry for entry in papers_figures() if entry["table"] in parsed.tables]
    matrix = with_ablations(read_matrix(parsed.config), entries)
    rows = Rows(parsed.results)
    jobs = AccuracyJobs(rows, parsed.work, parsed.data_root, parsed.accelerator, parsed.only)
    try:
        make_runner(jobs, parsed.devices).run(matrix)
    finally:
        write_report(parsed.config, rows, parsed.results.with_suffix(".md"))


if __name__ == "__main__":
    main()
