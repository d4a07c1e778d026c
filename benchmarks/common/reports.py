"""Writes the Markdown files in ``benchmarks/results`` anew that are made of files of rows there.

``make results``, or ``python -m benchmarks.common.reports``.
"""

from pathlib import Path

from benchmarks.ablations.run import MATRIX, write_report
from benchmarks.accuracy.matrix import read_matrix
from benchmarks.accuracy.report import by_data, write_tables
from benchmarks.accuracy.rows import Rows
from benchmarks.accuracy.run import SUITE_MODELS
from benchmarks.accuracy.suite import SUITES, read_suite
from benchmarks.accuracy.suite_report import suite_report
from benchmarks.common.paths import RESULTS


def write_reports(folder: Path) -> None:
    """Write them into a folder; with bars, those beside the suites' tables."""
    rows = Rows(RESULTS / "accuracy.csv").read()
    write_tables(dict(by_data(rows)), folder / "accuracy.md")
    matrix = read_matrix(SUITE_MODELS)
    for name in SUITES:
        suite_report(read_suite(name), matrix, rows, folder / f"accuracy_{name}.md")
    write_report(MATRIX, Rows(RESULTS / "ablations.csv"), folder / "ablations.md")


if __name__ == "__main__":
    write_reports(RESULTS)
