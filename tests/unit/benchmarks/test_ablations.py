"""Ablations: what is merged, and what is said about differences."""

from pathlib import Path
from typing import Any

import pytest
import yaml


def test_options_merge_by_group_and_none_replaces_a_value() -> None:
    from benchmarks.common.slsg import merge

    base = {"encoder_weights": "imagenet", "simulation": {"noise": "perlin", "minimum_change": 0.05}, "seed": 1}
    changed = merge(base, {"simulation": {"noise": "rectangle"}, "encoder_weights": None})
    assert changed == {
        "encoder_weights": None,
        "simulation": {"noise": "rectangle", "minimum_change": 0.05},
        "seed": 1,
    }
    assert base["simulation"]["noise"] == "perlin"


def test_every_ablation_is_trained_once_after_the_full_method() -> None:
    from benchmarks.ablations.run import MATRIX, PAPERS_FIGURES, with_ablations

    entries = yaml.safe_load(PAPERS_FIGURES.read_text())
    matrix = yaml.safe_load(MATRIX.read_text())
    models = with_ablations(matrix, entries)["models"]
    names = [model["name"] for model in models]
    assert names[0] == "full"
    assert len(names) == len(set(names)) == len({entry["config"] for entry in entries})
    by_name = {model["name"]: model["init_args"] for model in models}
    beyond = {"normality": {"measures": []}, "calibration": {"false_alarm_rate": None}}
    assert by_name["full"] == {"backbone": "resnet18", **matrix["base"], **beyond}
    assert by_name["table4_imagenet"]["pretraining"] == {"epochs": 0}
    # without ImageNet's weights, it would be a random encoder that nothing trains
    assert by_name["table4_imagenet"]["encoder_weights"] == "imagenet"
    assert by_name["table4_patch8_ratio60"]["pretraining"] == {"epochs": 3, "mask_ratio": 0.6}


def test_ablations_share_a_pre_training_for_each_seed_and_data_set(tmp_path: Path) -> None:
    from benchmarks.ablations.run import MATRIX, PAPERS_FIGURES, with_ablations
    from benchmarks.accuracy.jobs import AccuracyJobs
    from benchmarks.accuracy.matrix import read_matrix
    from benchmarks.accuracy.rows import Rows

    entries = [entry for entry in yaml.safe_load(PAPERS_FIGURES.read_text()) if entry["table"] != 4]
    matrix = with_ablations(read_matrix(MATRIX), entries)
    jobs = AccuracyJobs(Rows(tmp_path / "rows.csv"), tmp_path, tmp_path).generate_jobs(matrix)
    files: dict[str, set[tuple[str, str]]] = {}
    for job in jobs:
        places = files.setdefault(job.model["init_args"]["pretraining"]["checkpoint"], set())
        places.add((job.key["category"], job.key["seed"]))
    assert len(jobs) == 4 * len({entry["config"] for entry in entries})
    shared = sorted(place for places in files.values() for place in places)
    assert shared == [(data, seed) for data in ("bottle", "connector_board") for seed in ("1", "2")]
    assert {job.key["schedule"] for job in jobs} == {
        "128 px, 3 epochs + 450, procedural textures",
        "128 px, 3 epochs + 450",
    }


def test_options_that_all_rows_have_in_common_are_named() -> None:
    from benchmarks.ablations.report import in_common

    base = {"backbone": "resnet18", "network": {"decoder_channels": [8, 4]}, "simulation": {"minimum_change": 0.05}}
    other = {**base, "network": {"decoder_channels": [4, 2], "graph": False}, "loss": {"l1_weight": 0}}
    assert in_common(base, [base, other]) == ["`backbone` resnet18", "`simulation.minimum_change` 0.05"]


def _row(model: str, seed: int, value: float) -> dict[str, str]:
    row = dict.fromkeys(("image_AUROC", "image_AUROC_structural", "image_AUROC_logical"), "")
    return {**row, "model": model, "seed": str(seed), "image_AUROC": str(value)}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.70, 0.72), ["-0.190", "-0.042", "agrees", "yes"]),
        ((0.95, 0.97), ["+0.060", "-0.042", "differs", "yes"]),
        ((0.85, 0.91), ["-0.020", "-0.042", "agrees", "no"]),
        ((0.85,), ["-0.040", "-0.042", "agrees", "one seed"]),  # of the full method, the same seed,
    ],
)
def test_direction_and_spread(values: tuple[float, ...], said: list[str]) -> None:
    from benchmarks.ablations.report import compare

    def entry(config: str, value: float) -> dict[str, Any]:
        paper = {"image_AUROC": value, "image_AUROC_structural": value, "image_AUROC_logical": value}
        return {"config": config, "table": 5, "experiment": config, "paper": paper}

    rows = [_row("full", seed, value) for seed, value in enumerate((0.89, 0.91))]
    rows += [_row("without", seed, value) for seed, value in enumerate(values)]
    lines = compare(rows, [entry("full", 0.903), entry("without", 0.861)])
    assert len(lines) == 3
    assert [cell.strip() for cell in lines[-1].split("|")][6:10] == said


@pytest.mark.parametrize(
    ("difference", "papers", "said"),
    [(0.01, 0.896 - 0.896, "none in the paper"), (-0.01, 0.915 - 0.914, "differs"), (0.0, -0.042, "none here")],
)
def test_direction_needs_one_in_the_paper(difference: float, papers: float, said: str) -> None:
    from benchmarks.ablations.report import direction

    assert direction(difference, papers) == said


def test_rows_of_other_schedules_are_left_out() -> None:
    from benchmarks.ablations.report import of_matrix
    from benchmarks.ablations.run import MATRIX, PAPERS_FIGURES, with_ablations

    entries = yaml.safe_load(PAPERS_FIGURES.read_text())
    matrix = with_ablations(yaml.safe_load(MATRIX.read_text()), entries)
    rows = [
        {"model": "full", "schedule": "128 px, 3 epochs + 450, procedural textures"},
        {"model": "table4_imagenet", "schedule": "128 px, 0 epochs + 450, procedural textures"},
        {"model": "full", "schedule": "128 px, 3 epochs + 20"},
        {"model": "gone", "schedule": "128 px, 3 epochs + 450, procedural textures"},
    ]
    assert of_matrix(rows, matrix) == rows[:2]


def _measured(config: str, category: str, values: dict[str, float]) -> list[dict[str, str]]:
    """Two seeds around each figure."""
    key = {"model": config, "data": "D", "category": category}
    return [{**key, "seed": str(s), **{n: str(v + 0.01 * s) for n, v in values.items()}} for s in (-1, 1)]


def test_tables_are_printed_as_the_paper_has_them_over_complete_data_sets() -> None:
    from benchmarks.ablations.printed import printed
    from benchmarks.ablations.run import MATRIX, PAPERS_FIGURES, with_ablations

    entries = yaml.safe_load(PAPERS_FIGURES.read_text())
    matrix = with_ablations(yaml.safe_load(MATRIX.read_text()), entries)
    options = {model["name"]: model["init_args"] for model in matrix["models"]}
    rows: list[dict[str, str]] = []
    for place, config in enumerate(options):
        for category, value in (("a", 0.5), ("b", 0.7)):
            found = {"image_AUROC": value + place / 100, "image_AUROC_logical": value}
            structural = {"image_AUROC_structural": value} if category == "a" else {}
            rows += _measured(config, category, found | structural)
    rows += _measured("full", "unfinished", dict.fromkeys(("image_AUROC", "image_AUROC_logical"), 0.0))
    for row in rows:
        row.setdefault("image_AUROC_structural", "")
    lines = printed(5, entries, rows, options)
    assert "(Structural: D a; Logical: D a, D b; Mean: D a, D b); in brackets the paper's" in lines[2]
    place = list(options).index("table5_no_structural")
    assert lines[4] == "| | w/o Structural | w/o Logical | w/o Foreground | Rect. Noise | SLSG |"
    expected = ["0.500 (0.850)", "0.600 (0.876)", f"{0.6 + place / 100:.3f} (0.861)"]
    assert [line.split(" | ")[1] for line in lines[6:9]] == expected
    lines = printed(6, entries, rows, options)
    assert lines[4].startswith("| Experiment | Bottleneck Skip | Self-Attention | GCN | Eliminate PS | TopK | Struct")
    assert [[cell.strip() for cell in line.split("|")[1:7]] for line in lines[6:14]] == [
        ["1", "", "", "", "", ""],
        ["2", "✓", "", "", "", ""],
        ["3", "✓", "✓", "", "", ""],
        ["4", "✓", "", "✓", "✓", "9"],
        ["5", "✓", "✓", "✓", "", "9"],
        ["SLSG_{k=7}", "✓", "✓", "✓", "✓", "7"],
        ["SLSG_{k=9}", "✓", "✓", "✓", "✓", "9"],
        ["SLSG_{k=11}", "✓", "✓", "✓", "✓", "11"],
    ]
    everywhere = [{**row, "image_AUROC_structural": row["image_AUROC"]} for row in rows if row["category"] != "a"]
    assert printed(7, entries, everywhere, options)[2].startswith("Means over D b; in brackets")
    lines = printed(7, entries, rows, options)
    ticks = [[cell.strip() for cell in line.split("|")[1:4]] for line in lines[6:10]]
    assert ticks == [["", "✓", "✓"], ["✓", "", "✓"], ["✓", "✓", ""], ["✓", "✓", "✓"]]
    unfinished = [row for row in rows if row["model"] != "full"]
    assert "no data set of which all experiments" in printed(4, entries, unfinished, options)[2]
