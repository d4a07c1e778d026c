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
NAMED = 6  # the one of these whose experiments have names, too


def printed(
    table: int, entries: Sequence[dict[str, Any]], rows: Sequence[Row], options: Mapping[str, Any]
) -> list[str]:
    """Give a table, each line or column of metrics over the data sets that have it in all experiments.

    Args:
        table: Its number in the paper.
        entries: Ablations with the paper's figures.
        rows: Results.
        options: Options of ``Slsg`` of each ablation, by name.

    Returns:
        Lines of Markdown.
    """
    experiments = [entry for entry in entries if entry["table"] == table]
    configs = [entry["config"] for entry in experiments]
    found = {name: {config: _means(config, metric, rows) for config in configs} for name, metric in LINES.items()}
    data = {name: _in_all(list(each.values())) for name, each in found.items()}
    title = f"### Table {table}: {SUBJECTS[table]}"
    if not any(data.values()):
        return [title, "", "There is no data set of which all experiments have been measured.", ""]
    over = [f"{name}: {', '.join(each) or 'none'}" for name, each in data.items()]
    same = all(each == data["Mean"] for each in data.values())
    means = f"Means over {', '.join(data['Mean'])}" if same else f"Means over data sets ({'; '.join(over)})"
    note = f"{means}; in brackets the paper's, over the five of MVTec LOCO AD."
    cells = [
        [
            _cell([found[name][entry["config"]][each] for each in data[name]], entry["paper"][metric])
            for name, metric in LINES.items()
        ]
        for entry in experiments
    ]
    if table in PARTS:
        names = [{"Experiment": entry["experiment"]} if table == NAMED else {} for entry in experiments]
        parts = [{**name, **PARTS[table](options[config])} for name, config in zip(names, configs)]
        body = [[*part.values(), *line] for part, line in zip(parts, cells)]
        header = [*parts[0], *LINES]
    else:
        body = [[line, *figures] for line, figures in zip(LINES, zip(*cells))]
        header = ["", *(entry["experiment"] for entry in experiments)]
    return [title, "", note, "", *markdown_table(header, body, "l"), ""]


def _means(config: str, metric: str, rows: Sequence[Row]) -> dict[str, float]:
    """Give means over seeds, by data set."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["model"] == config and row[metric]:
            values.setdefault(f"{row['data']} {row['category']}", []).append(float(row[metric]))
    return {data: statistics.mean(each) for data, each in values.items()}


def _in_all(found: Sequence[Mapping[str, float]]) -> list[str]:
    return [data for data in found[0] if all(data in each for each in found)]


def _cell(values: Sequence[float], papers: float) -> str:
    ours = fixed(statistics.mean(values), 3) if values else "-"
    return f"{ours} ({fixed(papers, 3)})"
