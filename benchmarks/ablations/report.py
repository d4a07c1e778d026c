"""What the ablations change, beside the paper's differences."""

import statistics
from pathlib import Path
from typing import Any

from anomalib_slsg.utils.files import write_text
from benchmarks.ablations.printed import printed
from benchmarks.accuracy.matrix import schedule
from benchmarks.common.markdown import markdown_table

FULL = "full"
PAPERS_PRECISION = 0.001
# what the tables report, and what we call it
COMPARED = ("image_AUROC", "image_AUROC_structural", "image_AUROC_logical")
HEADER = (
    "table",
    "experiment",
    "metric",
    "full",
    "ablation",
    "difference",
    "paper's",
    "direction",
    "beyond spread",
)


def compare(rows: list[dict[str, str]], entries: list[dict[str, Any]]) -> list[str]:
    """Set our differences to the full method beside the paper's.

    Args:
        rows: Results of one data set; of each ablation, the seeds count that the full method has too.
        entries: Ablations with the paper's figures.

    Returns:
        Lines of a Markdown table, a row for each ablation and metric.
    """
    lines = []
    for entry in entries:
        full = next(other for other in entries if other["table"] == entry["table"] and other["config"] == FULL)
        for metric in COMPARED:
            ours, without = _values(rows, (FULL, entry["config"]), metric)
            if entry["config"] == FULL or not ours or not without:
                continue
            difference = statistics.mean(without) - statistics.mean(ours)
            papers = entry["paper"][metric] - full["paper"][metric]
            cells = [entry["table"], entry["experiment"], metric, _mean(ours), _mean(without)]
            cells += [f"{difference:+.3f}", f"{papers:+.3f}", direction(difference, papers)]
            lines.append([*cells, exceeds_spread(ours, without)])
    return markdown_table(HEADER, lines, alignment="rllrrrrll")


def direction(difference: float, papers: float) -> str:
    """Tell whether both differences have the same sign; where one is none, there is nothing to agree with."""
    if abs(papers) < PAPERS_PRECISION / 2:
        return "none in the paper"
    if abs(difference) < PAPERS_PRECISION / 2:
        return "none here"
    return "agrees" if difference * papers > 0 else "differs"


def exceeds_spread(one: list[float], other: list[float]) -> str:
    """Tell whether all seeds of one lie above all of the other; a single seed says nothing."""
    if len(one) < 2 or len(other) < 2:
        return "one seed"
    return "yes" if min(one) > max(other) or min(other) > max(one) else "no"


def _values(rows: list[dict[str, str]], models: tuple[str, str], metric: str) -> list[list[float]]:
    """Results of both models, of the seeds that both have: seeds share images, order and first weights."""
    values = [
        {row["seed"]: float(row[metric]) for row in rows if row["model"] == name and row[metric]} for name in models
    ]
    seeds = sorted(values[0].keys() & values[1].keys())
    return [[each[seed] for seed in seeds] for each in values]


def _mean(values: list[float]) -> str:
    mean = statistics.mean(values)
    return f"{mean:.3f} ± {max(abs(value - mean) for value in values):.3f}"


def of_matrix(rows: list[dict[str, str]], matrix: dict[str, Any]) -> list[dict[str, str]]:
    """Leave out rows of other schedules, whose differences would be those of the schedule."""
    expected = {model["name"]: schedule(model, tuple(matrix["image_size"])) for model in matrix["models"]}
    return [row for row in rows if expected.get(row["model"]) == row["schedule"]]


def in_common(base: dict[str, Any], rows: list[dict[str, Any]], group: str = "") -> list[str]:
    """Name the options of a matrix that all its rows have, as command lines do."""
    named = []
    for name, value in base.items():
        values = [row.get(name) for row in rows]
        if isinstance(value, dict):
            named += in_common(value, [each or {} for each in values], f"{group}{name}.")
        elif all(each == value for each in values):
            named.append(f"`{group}{name}` {value}")
    return named


def report(every: list[dict[str, str]], entries: list[dict[str, Any]], matrix: dict[str, Any], path: Path) -> None:
    """Write the tables as the paper prints them, and the differences on each data set.

    Args:
        every: Results.
        entries: Ablations with the paper's figures.
        matrix: What was trained, with a model for each ablation.
        path: The Markdown file.
    """
    options = {model["name"]: model["init_args"] for model in matrix["models"]}
    full = next(model for model in matrix["models"] if model["name"] == FULL)
    trained = schedule(full, tuple(matrix["image_size"]))
    shared = in_common(matrix["base"], list(options.values()))
    lines = [f"Image AUROC, {trained}; all rows with {', '.join(shared)}.", ""]
    for table in dict.fromkeys(entry["table"] for entry in entries):
        lines += printed(table, entries, every, options)
    for data, category in dict.fromkeys((row["data"], row["category"]) for row in every):
        chosen = [row for row in every if (row["data"], row["category"]) == (data, category)]
        lines += [f"### Differences on {data}, {category}", "", *compare(chosen, entries), ""]
    write_text(path, "\n".join(lines))
