"""Tables in documents are those that the files of results make."""

from pathlib import Path
from typing import Any

import pytest

NAMES = ("image_AUROC", "pixel_AUROC", "pixel_AUPRO", "pixel_AUSPRO_logical", "pixel_AUSPRO_mean")


def test_documents_hold_the_present_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If this fails, ``make results`` rewrites them. It runs on copies here, which stay as they are."""
    from benchmarks.common import tables

    copies = [tmp_path / document.relative_to(tables.ROOT) for document in tables.DOCUMENTS]
    before = [document.read_text(encoding="utf-8") for document in tables.DOCUMENTS]
    for copy, text in zip(copies, before, strict=True):
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(text, encoding="utf-8")
    monkeypatch.setattr(tables, "DOCUMENTS", copies)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    tables.main()
    for copy, text in zip(copies, before, strict=True):
        assert copy.read_text(encoding="utf-8") == text, f"make results would change {copy.name}"


def test_reports_are_those_of_the_present_rows(tmp_path: Path) -> None:
    """If this fails, ``make results`` rewrites them."""
    from benchmarks.common.paths import RESULTS
    from benchmarks.common.reports import write_reports

    write_reports(tmp_path)
    written = list(tmp_path.glob("*.md"))
    assert {"accuracy.md", "accuracy_mvtec_ad.md", "ablations.md"} <= {path.name for path in written}
    for path in written:
        assert path.read_text() == (RESULTS / path.name).read_text(), f"make results would change {path.name}"


def test_every_table_is_in_a_document() -> None:
    from benchmarks.common.tables import DOCUMENTS, TABLES

    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [name for name in TABLES if f"<!-- table: {name} -->" not in text] == []


def test_only_marked_tables_are_replaced() -> None:
    from benchmarks.common.documents import fill

    text = "before\n<!-- table: one -->\n| old |\n<!-- end -->\n| other |\n"
    filled = fill(text, {"one": lambda: ["| new |"]})
    assert filled == "before\n<!-- table: one -->\n\n| new |\n\n<!-- end -->\n| other |\n"
    assert fill(filled, {"one": lambda: ["| new |"]}) == filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- table: none -->\n<!-- end -->", "there is no table 'none'"),
        ("<!-- table: one -->\n| old |", "'one' has no <!-- end -->"),
        ("<!-- table: one -->\n<!-- table: one -->\n<!-- end -->", "comes before the <!-- end --> of the table 'one'"),
        ("<!-- end -->", "no table before it"),
    ],
)
def test_wrong_marks_are_refused(text: str, said: str) -> None:
    from benchmarks.common.documents import fill

    with pytest.raises(ValueError, match=said):
        fill(text, {"one": list})


def _row(seed: int, **figures: str) -> dict[str, str]:
    key = {"model": "SLSG", "data": "MVTecAD", "category": "bottle", "seed": str(seed)}
    return {**dict.fromkeys(NAMES, ""), **key, "schedule": "128 px, 6 epochs + 1000, procedural textures", **figures}


def test_figures_are_means_over_the_seeds_that_count() -> None:
    from benchmarks.accuracy.table_layout import LOCALISATION, SEEDS, Column, Line, Training, cells
    from benchmarks.accuracy.tables import BOTTLE, SHORT

    rows = [_row(1, image_AUROC="0.9000", pixel_AUPRO="0.5"), _row(2, image_AUROC="0.9035", pixel_AUPRO="0.7")]
    columns = [Column("", (SEEDS,)), Column("", ("image_AUROC", LOCALISATION)), Column("", ("pixel_AUROC",))]
    both, second = (Line(("",), "SLSG", Training(SHORT, seed=seed), BOTTLE) for seed in (None, 2))
    assert cells(rows, columns, both) == ["2", "0.902 / 0.600", ""]
    assert cells(rows, columns, second) == ["1", "0.904 / 0.700", ""]
    with pytest.raises(LookupError, match=r"accuracy\.csv has no row of .*'256 px, 6 epochs"):
        cells(rows, columns, Line(("",), "SLSG", Training(SHORT, 256), BOTTLE))


def test_maps_are_judged_by_the_metric_that_the_data_have() -> None:
    from benchmarks.accuracy.table_layout import LOCALISATION, value

    figures: dict[str, Any] = {"pixel_AUPRO": "0.1", "pixel_AUSPRO_logical": "0.2", "pixel_AUSPRO_mean": "0.3"}
    found = []
    while figures:
        found.append(value([_row(1, **figures)], LOCALISATION))
        figures.popitem()
    assert found == ["0.300", "0.200", "0.100"]
    assert value([_row(1)], LOCALISATION) == ""


def test_false_alarms_and_misses_are_summed_over_seeds() -> None:
    from benchmarks.accuracy.table_layout import value

    counts = ({"good_images": "20", "false_alarms": "1"}, {"good_images": "20", "false_alarms": "2"})
    rows = [{**_row(seed), "anomalous_images": "", "misses": "", **some} for seed, some in enumerate(counts)]
    assert value(rows, "false alarms") == "3 of 40"
    assert value(rows, "misses") == ""  # scores without a threshold


def test_the_highest_figures_are_bold() -> None:
    from benchmarks.accuracy.table_layout import in_bold

    assert in_bold([["0.9 / 0.8", "0.7"], ["0.9 / 0.5", "0.8"]]) == [
        ["**0.9** / **0.8**", "0.7"],
        ["**0.9** / 0.5", "**0.8**"],
    ]


def test_a_table_of_speed_needs_exactly_one_row_for_each_cell() -> None:
    from benchmarks.speed.tables import Rows

    rows = Rows("speed.csv")
    assert rows.one(what="inference 256", model="SLSG", backend="torch", precision="fp32", batch=1).median_ms
    with pytest.raises(LookupError, match="0 rows, not one"):
        rows.one(model="SLSG", batch=3)
