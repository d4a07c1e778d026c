"""Tables of what was found."""

import csv
from pathlib import Path

import pytest

from anomalib_slsg.report.judged import Judged, read_scores, write_scores

IMAGES = [
    Judged("new/lineA/0001.png", "lineA", 0.875, "abc", anomalous=True, box=(1, 2, 3, 4), area=0.25, milliseconds=12.5),
    Judged(
        'new/odd, "name" ä.png',
        "",
        0.5,
        "abc",
        opinions={"places": -1.25},
        heat_map="maps/odd.png",
        nearest="good/7.png",
    ),
]


def test_what_was_found_comes_back(tmp_path: Path) -> None:
    write_scores(IMAGES, tmp_path)
    assert read_scores(tmp_path) == IMAGES
    assert sorted(each.name for each in tmp_path.iterdir()) == ["scores.csv", "scores.jsonl"]


def test_spreadsheets_get_a_line_for_each_image(tmp_path: Path) -> None:
    write_scores(IMAGES, tmp_path)
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["anomalous", "normal"]  # a score at the threshold is not above it
    assert rows[0]["box"] == "1 2 3 4"
    assert rows[1]["file"] == 'new/odd, "name" ä.png'
    assert rows[1]["box"] == ""


def test_names_that_are_no_text_come_back(tmp_path: Path) -> None:
    """As Python gives those of other encodings."""
    images = [Judged("new/\udcff.png", "", 0.5, "abc")]
    write_scores(images, tmp_path)
    assert read_scores(tmp_path) == images


def test_folders_without_a_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no scores\.jsonl"):
        read_scores(tmp_path)
