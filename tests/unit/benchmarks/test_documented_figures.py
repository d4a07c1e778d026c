"""The accuracy that tables of the README and the benchmarks' documents state is that of the committed results."""

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
BEYOND = ROOT / "benchmarks" / "BEYOND_THE_PAPER.md"
ROUNDING = 0.00051  # of three decimals, of means of four
SHORT, PAPERS = "6 epochs + 1000", "40 epochs + 3500"
MODELS = {
    "SLSG": "SLSG Lite0 default",
    "without composition": "SLSG Lite0 + distance",
    "paper's": "SLSG Lite0",
    "the paper's network alone (`--config configs/model/paper.yaml`)": "SLSG Lite0",
    "default": "SLSG Lite0 default",
    "initial": "SLSG Lite0 initial",
    "PatchCore": "PatchCore Lite0",
    "PaDiM": "PaDiM Lite0",
}
RANDOM_WEIGHTS = {"SLSG": "SLSG default", "without composition": "SLSG + distance", "paper's": "SLSG"}
DATA = {
    "MVTec bottle": ("MVTecAD", "bottle"),
    "juice_bottle": ("MVTecLOCO", "juice_bottle"),
    "SyntheticLOCO tray": ("SyntheticLOCO", "tray"),
    "SyntheticLOCO connector_board": ("SyntheticLOCO", "connector_board"),
    "SyntheticLOCO bottle": ("SyntheticLOCO", "bottle"),
    "turned tray": ("SyntheticLOCO turned", "tray"),
    "turned connector_board": ("SyntheticLOCO turned", "connector_board"),
    "ELPV, monocrystalline": ("ELPV", "mono"),
    "ELPV, polycrystalline": ("ELPV", "poly"),
}
IMAGE = ["image_AUROC", "image_AUROC_logical", "image_AUROC_structural", "image_F1Score", "image_F1Max"]


@cache
def all_results() -> list[dict[str, str]]:
    """Rows of accuracy.csv."""
    with (ROOT / "benchmarks" / "results" / "accuracy.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def results(
    model: str, data: str, training: str, size: int, seed: str | None = None, models: Mapping[str, str] = MODELS
) -> list[dict[str, str]]:
    """Rows of a model on some data, of all seeds or one; the baselines have no training to be named."""
    name, (data_name, category) = models[model], DATA[data]
    schedule = f"{size} px" if name in {"PatchCore Lite0", "PaDiM Lite0"} else f"{size} px, {training}"
    key = {"model": name, "data": data_name, "category": category, "schedule": schedule}
    if seed is not None:
        key["seed"] = seed
    found = [row for row in all_results() if key.items() <= row.items()]
    assert found, f"accuracy.csv has no row of {key}"
    return found


def localisation(data: str) -> str:
    """The metric of a column whose metric depends on the data."""
    return {"juice_bottle": "pixel_AUSPRO_logical", "MVTec bottle": "pixel_AUPRO"}.get(data, "pixel_AUSPRO_mean")


def table(document: Path, header: str) -> Iterator[list[str]]:
    """Cells of each line of the table whose header starts so; the first one is given again where it is empty."""
    lines = document.read_text(encoding="utf-8").split("\n")
    (start,) = (number for number, line in enumerate(lines) if line.startswith(header))
    name = ""
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        cells = [cell.strip().replace("*", "") for cell in line.strip("|").split("|")]
        cells[0] = name = cells[0] or name
        yield cells


def table_of_seeds(
    header: str, training: str, models: Mapping[str, str] = MODELS
) -> Iterator[tuple[str, str, list[str], list[dict[str, str]]]]:
    """Data, model, cells and rows of each line of a table at 128 px whose third column counts seeds."""
    for data, name, seeds, *cells in table(RESULTS, header):
        rows = results(name, data, training, 128, models=models)
        assert len(rows) == int(seeds), f"{data}, {name}: number of seeds"
        yield data, name, cells, rows


def compare(where: list[str], cells: list[str], metrics: list[str], rows: list[dict[str, str]]) -> int:
    """Compare cells with the means of rows, and count them."""
    for cell, metric in zip(cells, metrics, strict=True):
        if not cell:
            continue
        figures = [float(row[metric]) for row in rows if row[metric]]
        assert figures, f"{where}: accuracy.csv has no {metric}"
        assert float(cell) == pytest.approx(sum(figures) / len(figures), abs=ROUNDING), f"{where}: {metric}"
    return sum(map(bool, cells))


def test_the_papers_schedule() -> None:
    compared = 0
    for name, *cells in table(RESULTS, "| model | bottle: image AUROC |"):
        bottle, juice = (results(name, data, PAPERS, 128) for data in ("MVTec bottle", "juice_bottle"))
        compared += compare([name, "bottle"], cells[:3], ["image_AUROC", "pixel_AUROC", "pixel_AUPRO"], bottle)
        metrics = ["image_AUROC_logical", "pixel_AUROC", "pixel_AUPRO", "pixel_AUSPRO_logical"]
        compared += compare([name, "juice_bottle"], cells[3:], metrics, juice)
    assert compared >= 35


def test_the_readme() -> None:
    compared = 0
    for name, *cells in table(README, "| | MVTec AD bottle"):
        bottle, juice = (results(name, data, PAPERS, 128) for data in ("MVTec bottle", "juice_bottle"))
        compared += compare([name], cells[0].split(" / "), ["image_AUROC", "pixel_AUROC"], bottle)
        compared += compare([name], cells[1].split(" / "), ["image_AUROC_logical", "pixel_AUSPRO_logical"], juice)
    assert compared >= 16


def test_larger_images() -> None:
    compared = 0
    for data, name, *cells in table(RESULTS, "| data | model | image (juice_bottle: logical) |"):
        rows = results(name, data, SHORT, 256, "1")
        metrics = ["image_AUROC", "image_F1Score", "image_F1Max", "pixel_AUROC", "pixel_AUPRO", localisation(data)]
        compared += compare([data, name], cells, metrics, rows)
    assert compared >= 56


def test_larger_images_by_the_papers_schedule() -> None:
    compared = 0
    for name, *cells in table(RESULTS, "| juice_bottle, 256 px | logical |"):
        model = {"with `initial_features`": "initial"}.get(name, name)
        rows = results(model, "juice_bottle", PAPERS, 256, "1")
        metrics = ["image_AUROC_logical", *IMAGE[3:], "pixel_AUROC", "pixel_AUPRO", "pixel_AUSPRO_logical"]
        compared += compare([name], cells, metrics, rows)
    assert compared >= 24


def test_random_weights() -> None:
    compared = 0
    for data, name, cells, rows in table_of_seeds("| random weights | model | seeds |", PAPERS, RANDOM_WEIGHTS):
        metrics = [*IMAGE[:4], "pixel_AUROC", localisation(data)]
        compared += compare([data, name], cells, metrics, rows)
    assert compared >= 66


def test_the_papers_schedule_on_other_data() -> None:
    compared = 0
    for data, name, cells, rows in table_of_seeds("| by the paper's schedule | model | seeds |", PAPERS):
        compared += compare([data, name], cells, [*IMAGE, "pixel_AUROC", "pixel_AUSPRO_mean"], rows)
    assert compared >= 78


def test_the_short_schedule() -> None:
    compared = 0
    for data, name, cells, rows in table_of_seeds("| data | model | seeds |", SHORT):
        compared += compare([data, name], cells, [*IMAGE, "pixel_AUROC", "pixel_AUSPRO_mean"], rows)
    assert compared >= 171


def test_initial_features() -> None:
    compared, training = 0, ""
    for images, named, name, *cells in table(BEYOND, "| data | training | | image (juice_bottle: logical) |"):
        training = named or training
        data, larger, _ = images.partition(", 256 px")
        schedule = PAPERS if "paper's" in training else SHORT
        rows = results(name, data, schedule, 256 if larger else 128, "2" if "seed 2" in training else "1")
        metrics = ["image_AUROC", "image_F1Score", "pixel_AUROC", localisation(data)]
        compared += compare([data, training, name], cells, metrics, rows)
    assert compared >= 108
