"""The paper's ablations (Tables 4-7) at a shortened schedule, beside the paper's differences.

``python benchmarks/ablations.py --data_root datasets`` trains the full method and every configuration in
``configs/ablations`` over the data and seeds of ``ablations_matrix.yaml``, by the machinery of ``accuracy.py``: rows
are appended to ``benchmarks/results/ablations.csv``, and an interrupted run goes on. ``ablations.md`` beside it tells
which directions agree with the paper's and which differences exceed the spread over seeds.
"""

import statistics
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from accuracy_job import AccuracyJobs
from accuracy_models import read_matrix, schedule
from accuracy_rows import Rows
from accuracy_runners import make_runner
from jsonargparse import ArgumentParser

from anomalib_slsg.utils.files import write_atomically

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs" / "ablations"
FULL = "full"
PAPERS_PRECISION = 0.001
# what the tables report, and what we call it
COMPARED = ("image_AUROC", "image_AUROC_structural", "image_AUROC_logical")


def merge(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change options, group by group; ``None`` takes the place of a whole group."""
    merged = deepcopy(options)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


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
        model = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["model"]
        options = merge(matrix["base"], model.get("init_args") or {})
        models.append({"name": name, **model, "init_args": options, "trainer": matrix["trainer"]})
    return {**matrix, "models": models}


def compare(rows: list[dict[str, str]], entries: list[dict[str, Any]]) -> list[str]:
    """Set our differences to the full method beside the paper's.

    Args:
        rows: Results of one data set; of each ablation, the seeds count that the full method has too.
        entries: Ablations with the paper's figures.

    Returns:
        Lines of a Markdown table, a row for each ablation and metric.
    """
    header = [
        "table",
        "experiment",
        "metric",
        "full",
        "ablation",
        "difference",
        "paper's",
        "direction",
        "beyond spread",
    ]
    lines = [f"| {' | '.join(header)} |", "| ---: | --- | --- " + "| ---: " * 4 + "| --- | --- |"]
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
            cells.append(exceeds_spread(ours, without))
            lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return lines


def direction(difference: float, papers: float) -> str:
    """Tell whether both differences have the same sign; where the paper has none, there is nothing to agree with."""
    if abs(papers) < PAPERS_PRECISION / 2:
        return "none in the paper"
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


def report(every: list[dict[str, str]], entries: list[dict[str, Any]], path: Path) -> None:
    """Write the comparison for each data set."""
    lines: list[str] = []
    for data, category in dict.fromkeys((row["data"], row["category"]) for row in every):
        chosen = [row for row in every if (row["data"], row["category"]) == (data, category)]
        lines += [f"### {data}, {category}", "", *compare(chosen, entries), ""]
    write_atomically(path, lambda temporary: temporary.write_text("\n".join(lines), encoding="utf-8"))


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "ablations_matrix.yaml", help="data, seeds, schedule")
    parser.add_argument("--tables", type=list[int], default=[4, 5, 6, 7], help="which of them")
    parser.add_argument("--data_root", type=Path, default=Path("datasets"), help="folder above the data sets")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "ablations.csv", help="file of rows")
    parser.add_argument("--work", type=Path, default=Path("results") / "ablations", help="folder for logs")
    parser.add_argument(
        "--only", type=list[str], default=[], help="names of ablations, data, categories, data/category"
    )
    parser.add_argument("--accelerator", type=str, default="auto", help="Lightning's accelerator")
    parser.add_argument("--devices", type=int, default=1, help="jobs at a time, each on a device of its own")
    parsed = parser.parse_args()
    every = yaml.safe_load((HERE / "ablations.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in every if entry["table"] in parsed.tables]
    given = read_matrix(parsed.config)
    matrix = with_ablations(given, entries)
    rows = Rows(parsed.results)
    jobs = AccuracyJobs(rows, parsed.work, parsed.data_root, parsed.accelerator, parsed.only)
    try:
        make_runner(jobs, parsed.devices).run(matrix)
    finally:
        # rows of the other tables stay in the report
        report(of_matrix(rows.read(), with_ablations(given, every)), every, parsed.results.with_suffix(".md"))


if __name__ == "__main__":
    main()
