"""Whole data sets: the paper's figures of them, and ours beside."""

import statistics
from pathlib import Path
from typing import Any

import pytest

MATRIX = {
    "image_size": [256, 256],
    "models": [{"name": name, "class_path": "anomalib.models.Padim", "init_args": {}} for name in ("one", "other")],
}


# means that the table's own figures do not give: two stand in each other's place, one is that of another publication
OTHERS = {("mvtec_ad", "all", method) for method in ("CutPaste", "P-SVDD", "SPADE")}


@pytest.mark.parametrize("name", ["btad", "mvtec_ad", "mvtec_loco"])
def test_the_copied_tables_have_the_means_that_the_paper_prints(name: str) -> None:
    """All figures of a group go into its mean, so that a slip of the pen would show."""
    from benchmarks.accuracy.suite import read_suite

    suite = read_suite(name)
    compared = 0
    for method, table in suite.paper.items():
        assert set(table) == {*suite.categories, *suite.groups}
        for group, categories in suite.groups.items():
            for metric, printed in table[group].items():
                values = [table[category][metric] for category in categories]
                if printed is not None and None not in values and (name, group, method) not in OTHERS:
                    assert statistics.mean(values) == pytest.approx(printed, abs=0.151), (method, group, metric)
                    compared += 1
    assert compared == {"btad": 10, "mvtec_ad": 23, "mvtec_loco": 16}[name]


def _images(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name / "0.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_what_is_there_of_a_data_set_is_measured(tmp_path: Path) -> None:
    from benchmarks.accuracy.suite import data_of, read_suite

    suite = read_suite("btad")
    entries, missing = data_of(suite, tmp_path)  # anomalib fetches it
    assert ([entry["init_args"]["category"] for entry in entries], missing) == (["01", "02", "03"], [])
    folder = tmp_path / "BTech"
    (folder / "03").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"'.*BTech' has no images of 01, 02, 03; the data set comes from anom"):
        data_of(suite, tmp_path)
    _images(folder, "01/train/ok", "01/test/ok", "02/train/ok", "02/test/ok", "02/test/ko", "02/ground_truth/ko")
    for odd in ("02/train/.DS_Store", "02/test/.DS_Store", "02/test/ok/.DS_Store"):
        (folder / odd).touch()
    (entry,), missing = data_of(suite, tmp_path)
    assert (entry["category"], entry["class_path"]) == ("02", "anomalib.data.BTech")
    assert missing == [f"'{folder}' lacks 01, 03: there will be no rows of them."]
    (folder / "02" / "ground_truth" / "ko" / "0.png").unlink()
    (entry,), missing = data_of(suite, tmp_path)
    assert missing[1:] == ["There are no masks of 02: only their image scores are measured."]
    assert entry["class_path"] == "anomalib.data.Folder"
    assert entry["init_args"]["abnormal_dir"] == ["test/ko"]
    assert entry["init_args"]["normal_dir"] == "train/ok"


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


def test_means_are_over_seeds_and_over_the_categories_that_all_columns_have(tmp_path: Path) -> None:
    rows = [_row("one", "tile", 1, 0.9, "0.5"), _row("one", "tile", 2, 0.8, "0.7"), _row("one", "bottle", 1, 0.75)]
    rows += [_row("other", "tile", 1, 0.3, "0.4"), _row("other", "bottle", 1, 0.4), _row("one", "wood", 1, 0.1, "0.1")]
    rows += [_row("third", "tile", 1, 0.1, "0.1")]
    lines = _lines("mvtec_ad", rows, tmp_path / "suite.md")
    assert lines[""] == ["one, 256 px, 2 seeds", "other, 256 px, 1 seed"]  # the third is not of this matrix
    assert lines["tile"] == ["85.0, 60.0", "30.0, 40.0"]
    assert lines["bottle"] == ["75.0, -", "40.0, -"]
    assert lines["wood"] == ["10.0, 10.0", ""]
    assert lines["Texture, mean"] == lines["mean of all 15"] == ["-", "-"]
    assert lines["image AUROC, mean of tile, bottle"] == ["80.0", "35.0"]
    assert not any(line.startswith("pixel AUROC") for line in lines)  # only of one category
    assert list(tmp_path.iterdir()) == [tmp_path / "suite.md"]  # no types, no bars


def test_usual_backbones_and_other_textures_are_columns_of_their_own() -> None:
    from benchmarks.accuracy.run import SUITE_MODELS, read_matrix
    from benchmarks.accuracy.suite import read_suite
    from benchmarks.accuracy.suite_report import measured

    schedules = {"PatchCore WR50": "256 px", "SLSG paper": "256 px, 40 epochs + 3500"}
    rows = [{**_row(model, "bottle", 1, 0.9), "data": "MVTecAD", "schedule": s} for model, s in schedules.items()]
    rows.append({**rows[1], "schedule": "256 px, 40 epochs + 3500, procedural textures"})
    rows.append({**rows[1], "schedule": "256 px, 1 epochs + 3500"})
    assert list(measured(read_suite("mvtec_ad"), read_matrix(SUITE_MODELS), rows)) == [
        "SLSG paper, 256 px, 40 epochs + 3500, 1 seed",
        "SLSG paper, 256 px, 40 epochs + 3500, procedural textures, 1 seed",
        "PatchCore WR50, 256 px, 1 seed",
    ]


def test_types_of_anomaly_stand_apart_and_the_paper_beside_them_where_all_is_measured(tmp_path: Path) -> None:
    from benchmarks.accuracy.suite import read_suite
    from benchmarks.accuracy.suite_report import bars, measured

    suite = read_suite("mvtec_loco")
    types = {"image_AUROC_logical": "0.6", "image_AUROC_structural": "0.8", "pixel_AUSPRO_logical": "0.2"}
    rows = [_row("one", category, 1, 0.7, **types) for category in suite.categories[:2]]
    rows[0]["image_AUROC_logical"] = "0.7"
    rows.append(_row("one", "pushpins", 1, 0.9, image_AUROC_logical="0.9"))

    def drawn(rows: list[dict[str, str]]) -> tuple[dict[str, dict[str, float]], list[str]]:
        return bars(suite, measured(suite, MATRIX, [{**row, "data": suite.name} for row in rows]))

    _lines("mvtec_loco", rows, tmp_path / "suite.md")
    text = (tmp_path / "suite.md").read_text()
    assert "| 95.5, 74.4 | 90.0, - (logical alone) |" in text
    assert "| breakfast_box | one, 256 px, 1 seed | 80.0 | 70.0 | - | 20.0 |" in text
    assert "| **mean of breakfast_box, juice_bottle, pushpins** | one, 256 px, 1 seed | - | 73.3 | - | - |" in text
    assert {path.suffix for path in tmp_path.iterdir()} == {".md", ".png", ".svg"}
    two = [_row("other", "juice_bottle", 1, 0.5, **types), *rows[:2]]
    areas, categories = drawn(two)
    assert categories == ["juice_bottle"]  # the one that both have
    assert (
        areas["one, 256 px, 1 seed"]
        == areas["other, 256 px, 1 seed"]
        == pytest.approx({"structural": 0.8, "logical": 0.6})
    )
    areas, categories = drawn([{**rows[0], "category": category} for category in suite.categories])
    assert areas["SLSG in the paper"] == pytest.approx({"structural": 0.914, "logical": 0.896})
    assert drawn([rows[0], _row("other", "pushpins", 1, 0.5, **types)]) == ({}, [])


def test_a_row_of_results_is_that_of_one_entry_of_the_matrices() -> None:
    """A second entry of its name and schedule would be taken for measured already, or averaged as a seed."""
    from benchmarks.accuracy.matrix import read_matrix, schedule
    from benchmarks.accuracy.run import MATRIX as PAPERS

    found: dict[tuple[str, str], Any] = {}
    for path in PAPERS.parent.glob("*.yaml"):
        matrix = read_matrix(path)
        for model in matrix["models"]:
            entry = {name: value for name, value in model.items() if name not in {"name", "usual", "usual_name"}}
            for name in (model["name"], *entry.pop("left_out", {})):
                key = name, schedule(model, tuple(matrix["image_size"]))
                assert found.setdefault(key, (name == model["name"], entry)) == (name == model["name"], entry), key


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
