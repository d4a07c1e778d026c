"""Whole data sets: the paper's figures of them, and ours beside."""

import statistics
from pathlib import Path
from typing import Any

import pytest

MATRIX = {
    "image_size": [256, 256],
    "models": [{"name": name, "class_path": "anomalib.models.Padim", "init_args": {}} for name in ("one", "other")],
}


@pytest.mark.parametrize(
    ("name", "group", "method", "means"),
    [
        ("btad", "", "PatchCore", (90.0, 96.5)),
        ("btad", "", "SLSG", (94.9, 97.3)),
        ("mvtec_ad", "Texture", "DRAEM", (99.1, 97.9)),
        ("mvtec_ad", "Texture", "SLSG", (99.7, 97.9)),
        ("mvtec_ad", "Object", "CutPaste", (90.8, 96.7)),
        ("mvtec_ad", "Object", "SLSG", (97.8, 97.3)),
        ("mvtec_loco", "", "GCAD", (83.3, 70.1)),
        ("mvtec_loco", "", "S-T", (77.3, 62.6)),
        ("mvtec_loco", "", "SLSG", (90.3, 67.3)),
    ],
)
def test_means_of_the_copied_tables_are_those_printed_in_the_paper(
    name: str, group: str, method: str, means: tuple[float, float]
) -> None:
    from benchmarks.accuracy.suite import read_suite

    suite = read_suite(name)
    lines = [suite.paper[method][category] for category in suite.groups[group]]
    assert [statistics.mean(each) for each in zip(*lines)] == pytest.approx(means, abs=0.07)
    assert all(set(table) == set(suite.categories) for table in suite.paper.values())


def test_a_data_set_that_anomalib_fetches_is_wanted_whole(tmp_path: Path) -> None:
    from benchmarks.accuracy.suite import data_of, read_suite

    entries, missing = data_of(read_suite("btad"), tmp_path)
    assert [entry["init_args"]["category"] for entry in entries] == ["01", "02", "03"]
    assert missing == []
    (tmp_path / "BTech" / "02" / "ground_truth").mkdir(parents=True)
    entries, missing = data_of(read_suite("btad"), tmp_path)
    assert ([entry["category"] for entry in entries], missing) == (["02"], ["01", "03"])


def _row(model: str, category: str, seed: int, image: float, pixel: str = "", **types: str) -> dict[str, str]:
    names = [f"{metric}_{kind}" for metric in ("image_AUROC", "pixel_AUSPRO") for kind in ("structural", "logical")]
    metrics = {"image_AUROC": str(image), "pixel_AUROC": pixel, "pixel_AUSPRO_mean": pixel}
    key = {"model": model, "category": category, "seed": str(seed), "schedule": "256 px"}
    return {**dict.fromkeys(names, ""), **metrics, **types, **key}


def _lines(suite: str, rows: list[dict[str, str]], path: Path) -> dict[str, list[str]]:
    """Cells of the measured models, by the first cell of the line."""
    from benchmarks.accuracy.suite import read_suite
    from benchmarks.accuracy.suite_report import suite_report

    read = read_suite(suite)
    suite_report(read, MATRIX, [{**row, "data": read.name} for row in rows], path)
    cells = [line.strip("|").split("|") for line in path.read_text().splitlines() if line.startswith("|")]
    return {line[0].strip(" *"): [cell.strip() for cell in line[1 + len(read.paper) :]] for line in cells}


def test_means_are_over_seeds_then_categories_of_each_group_and_of_what_is_there(tmp_path: Path) -> None:
    rows = [_row("one", "tile", 1, 0.9, "0.5"), _row("one", "tile", 2, 0.8, "0.7"), _row("one", "bottle", 1, 0.75)]
    rows += [_row("other", "tile", 1, 0.3, "0.4"), _row("third", "tile", 1, 0.1, "0.1")]
    lines = _lines("mvtec_ad", rows, tmp_path / "suite.md")
    assert lines[""] == ["one, 256 px", "other, 256 px"]  # the third is not of this matrix
    assert lines["tile"] == ["85.0, 60.0", "30.0, 40.0"]
    assert lines["bottle"] == ["75.0, -", ""]
    assert lines["Texture, mean"] == lines["mean of all 15"] == ["", ""]
    assert lines["mean of those measured (2)"] == ["80.0, 60.0 (of 1)", ""]
    assert list(tmp_path.iterdir()) == [tmp_path / "suite.md"]  # no types, no bars


def test_types_of_anomaly_stand_apart_and_the_paper_beside_them_where_all_is_measured(tmp_path: Path) -> None:
    from benchmarks.accuracy.suite import read_suite
    from benchmarks.accuracy.suite_report import bars

    suite = read_suite("mvtec_loco")
    types = {"image_AUROC_logical": "0.6", "image_AUROC_structural": "0.8", "pixel_AUSPRO_logical": "0.2"}
    rows = [_row("one", category, 1, 0.7, **types) for category in suite.categories[:2]]
    rows[0]["image_AUROC_logical"] = "0.7"
    _lines("mvtec_loco", rows, tmp_path / "suite.md")
    text = (tmp_path / "suite.md").read_text()
    assert "| breakfast_box | one, 256 px | 80.0 | 70.0 | - | 20.0 |" in text
    assert "| **mean** | one, 256 px | 80.0 | 65.0 | - | 20.0 |" in text
    assert {path.suffix for path in tmp_path.iterdir()} == {".md", ".png", ".svg"}
    expected: dict[str, Any] = {"one": {"structural": 0.8, "logical": 0.65}}
    assert bars(suite, {"one": rows}) == {"one": pytest.approx(expected["one"])}
    whole = [{**rows[0], "category": category} for category in suite.categories]
    assert bars(suite, {"one": whole})["SLSG in the paper"] == pytest.approx({"structural": 0.914, "logical": 0.896})
    assert bars(suite, {"one": whole, "other": [_row("other", "pushpins", 1, 0.5)]}) == {}


@pytest.mark.parametrize(
    ("simulation", "said"),
    [
        ({}, True),
        ({"dtd_dir": "dtd"}, False),
        ({"download_dtd": True}, False),
        ({"structural_probability": 0.0}, False),
        ({"texture_probability": 0.0}, False),
    ],
)
def test_a_schedule_says_that_textures_are_not_the_papers(simulation: dict[str, Any], said: bool) -> None:
    from benchmarks.accuracy.matrix import schedule

    entry = {"class_path": "anomalib_slsg.Slsg", "init_args": {"simulation": simulation}}
    assert schedule(entry, (64, 64)).endswith("procedural textures") == said
    entry["init_args"]["optimizer"] = {"iterations": 0}
    assert schedule(entry, (64, 64)) == "64 px, nothing trained"


def test_the_papers_model_does_without_dtd_if_asked_to() -> None:
    from benchmarks.accuracy.matrix import schedule
    from benchmarks.accuracy.run import SUITE_MODELS, read_matrix

    for asked, schedules in (
        (False, "256 px, 40 epochs + 3500"),
        (True, "256 px, 40 epochs + 3500, procedural textures"),
    ):
        model = read_matrix(SUITE_MODELS, procedural_textures=asked)["models"][0]
        assert (model["name"], schedule(model, (256, 256))) == ("SLSG paper", schedules)
        assert model["init_args"]["backbone"] == "resnet18"
