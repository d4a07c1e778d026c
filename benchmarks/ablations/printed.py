"""Tables 4-7 as the paper prints them: our figures, and in brackets the paper's."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common.markdown import fixed, markdown_table
from benchmarks.common.slsg import loss_terms, sg_block_parts

Row = Mapping[str, str]

LINES = {"Structural": "image_AUROC_structural", "Logical": "image_AUROC_logical", "Mean": "image_AUROC"}
SUBJECTS = {4: "pre-training", 5: "anomaly simulation", 6: "parts of the SG block", 7: "losses"}
# tables whose experiments are lines, and what their first columns tell of the options
PARTS = {6: sg_block_parts, 7: loss_terms}


def printed(
    table: int, entries: Sequence[dict[str, Any]], rows: Sequence[Row], options: Mapping[str, Any]
) -> list[str]:
    """Give a table over the data sets of which all its experiments have been measured.

    Args:
        table: Its number in the paper.
        entries: Ablations with the paper's figures.
        rows: Results.
        options: Options of ``Slsg`` of each ablation, by name.

    Returns:
        Lines of Markdown; none if no data set is complete.
    """
    experiments = [entry for entry in entries if entry["table"] == table]
    data = _complete(experiments, rows)
    if not data:
        return []
    title = f"### Table {table}: {SUBJECTS[table]}"
    note = f"Means over {', '.join(' '.join(each) for each in data)}; in brackets the paper's over MVTec LOCO AD."
    figures = [[_cell(entry, metric, data, rows) for metric in LINES.values()] for entry in experiments]
    if table in PARTS:
        parts = [PARTS[table](options[entry["config"]]) for entry in experiments]
        body = [
            [entry["experiment"], *part.values(), *found] for entry, part, found in zip(experiments, parts, figures)
        ]
        header = ["", *parts[0], *LINES]
    else:
        body = [[line, *found] for line, found in zip(LINES, zip(*figures))]
        header = ["", *(entry["experiment"] for entry in experiments)]
    return [title, "", note, "", *markdown_table(header, body, "l"), ""]


def _complete(experiments: Sequence[dict[str, Any]], rows: Sequence[Row]) -> list[tuple[str, str]]:
    wanted = {entry["config"] for entry in experiments}
    measured: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        measured.setdefault((row["data"], row["category"]), set()).add(row["model"])
    return [data for data, models in measured.items() if wanted <= models]


def _cell(entry: dict[str, Any], metric: str, data: Sequence[tuple[str, str]], rows: Sequence[Row]) -> str:
    """Give the mean over data sets of the means over seeds, where data sets have the type of anomaly."""
    means = []
    for each in data:
        of_data = [row for row in rows if row["model"] == entry["config"] and (row["data"], row["category"]) == each]
        values = [float(row[metric]) for row in of_data if row[metric]]
        means += [statistics.mean(values)] if values else []
    ours = fixed(statistics.mean(means), 3) if means else "-"
    return f"{ours} ({fixed(entry['paper'][metric], 3)})"
