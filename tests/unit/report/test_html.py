"""The report's page: what it shows, how large it is, and what it makes of odd names and missing files."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalib_slsg.report.html import write_report
from anomalib_slsg.report.judged import Judged, write_scores
from anomalib_slsg.report.training_images import Photograph, write_training_images
from tests.support.reports import write_judged_folder
from tests.support.trees import draw_part, write_image

MAX_BYTES = 15_000_000


class Page(HTMLParser):
    """Text of a page, its tags, and what it would load."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.source = file.read_text(encoding="utf-8")
        self.text, self.tags, self.loaded, self.data = "", [], [], ""
        self.cards: list[dict[str, str | None]] = []
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.text += " " if tag in ("td", "li") else ""
        self.loaded += [value for name, value in attrs if name in ("src", "href")]
        if "card" in (attributes.get("class") or "").split():
            self.cards.append(attributes)

    def handle_data(self, data):
        if self.lasttag == "script" and data.startswith("{"):
            self.data = data
        elif self.lasttag not in ("script", "style"):
            self.text += data


def test_what_was_found_is_shown(tmp_path: Path) -> None:
    images = write_judged_folder(tmp_path)
    file = write_report(tmp_path)
    page = Page(file)
    assert file == tmp_path / "report.html"
    assert "20 images" in page.text
    assert f"{sum(image.score > 0.5 for image in images)} judged anomalous" in page.text
    assert "3 of 12 good ones rejected" in page.text
    assert "5 of 6 anomalies found" in page.text
    assert "39 normal images were judged as if they were new" in page.text
    assert "about 5.0 % at 0.500" in page.text
    assert "versions torch 2.99" in page.text
    assert "network dropout 0.5" in page.text
    assert "0a1b2c" in page.text
    assert "Raised by places" in page.text
    assert page.text.count("nearest normal image: 000.png") == 8  # of alarms only
    assert f"the training image in {tmp_path / 'images' / 'good'}/ that is most alike" in page.text
    assert "the 20 images that were judged" in page.text


def test_photographs_are_those_of_the_training_where_they_are_known(tmp_path: Path) -> None:
    write_judged_folder(tmp_path)
    generator = np.random.default_rng(0)
    pictures = [draw_part(generator, defect=False)[0] for _ in range(12)]
    pictures.append((pictures[3] * 0.9).astype(np.uint8))  # a copy in another light
    pictures[5] = cv2.GaussianBlur(pictures[5], (0, 0), 4)
    files = [write_image(tmp_path / "train" / f"{index:03d}.png", image) for index, image in enumerate(pictures)]
    scores = [*(index / 100 for index in range(12)), None]
    write_training_images([Photograph(str(file), score) for file, score in zip(files, scores, strict=True)], tmp_path)
    text = Page(write_report(tmp_path)).text.partition("Photographs")[2]
    assert f"This is about the 13 training images in {tmp_path / 'train'}/; 13 were looked at." in text
    for warned in (
        "Nearly the same (1) Photographs that are repeated count twice: remove one of each. 003.png and 012.png",
        "Blurred (1) Remove them, or focus the camera. 005.png",
        "The most unusual good ones (8) Look whether they are good",
        "teaches that it is normal. 011.png (0.110)",
    ):
        assert warned in " ".join(text.split())
    (tmp_path / "training_images.jsonl").write_text("[]")
    with pytest.raises(ValueError, match=r"training_images\.jsonl' is no list of training images"):
        write_report(tmp_path)


def test_nearest_images_that_are_gone_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = write_judged_folder(tmp_path)
    write_scores([replace(image, nearest=str(tmp_path / "gone.png")) for image in images], tmp_path)
    text = Page(write_report(tmp_path)).text
    assert "nearest normal image" not in text
    assert "gone.png" not in text + caplog.text


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    write_judged_folder(tmp_path)
    page = Page(write_report(tmp_path))
    assert page.loaded
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.loaded)
    assert "default-src 'none'" in page.source
    assert "link" not in page.tags


def test_borderline_images_come_first_and_wrong_ones_are_never_left_out(tmp_path: Path) -> None:
    write_judged_folder(tmp_path, good=220, bad=6)
    page = Page(write_report(tmp_path))
    scores = [float(card["data-score"] or 0) for card in page.cards]
    doubts = [abs(np.log(score / (1 - score))) for score in scores]
    assert doubts == sorted(doubts)
    assert len(scores) == 200
    assert "200 of 228 images" in page.text
    assert "28 are left out" in page.text
    shown = {(card["data-known"], card["data-score"]) for card in page.cards}
    assert ("anomalous", "0.4") in shown  # a missed one
    assert ("normal", "0.6") in shown  # a false alarm


def test_the_page_counts_every_image(tmp_path: Path) -> None:
    write_judged_folder(tmp_path, good=220, bad=6)
    data = json.loads(Page(write_report(tmp_path)).data)
    assert data["folders"] == ["bar", "good", "new"]
    assert sum(number for *_, number in data["rows"]) == 228
    assert [0.3, None, 2, 2] in data["rows"]  # equal ones together


@pytest.mark.slow
def test_files_stay_small_however_many_and_noisy_images_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noise = [write_image(tmp_path / f"{n}.png", generator.integers(0, 256, (400, 400, 3), np.uint8)) for n in range(3)]
    names = [str(path) for path in noise]
    scores = generator.random(60_000).tolist()
    images = [
        Judged(names[0], f"f{index % 300}", score, "0a", anomalous=score > 0.7, heat_map=names[1], nearest=names[2])
        for index, score in enumerate(scores)
    ]
    write_scores(images, tmp_path)
    file = write_report(tmp_path)
    data = json.loads(Page(file).data)
    assert file.stat().st_size < MAX_BYTES
    assert len(data["folders"]) == 101
    assert sum(number for *_, number in data["rows"]) == 60_000
    found = sum(number for score, *_, number in data["rows"] if score > 0.5)
    assert found == sum(score > 0.5 for score in scores)  # rounding changes no verdict


def test_odd_names_are_text(tmp_path: Path) -> None:
    (image, *_) = write_judged_folder(tmp_path, good=1, bad=0, unknown=0)
    name = "</script><script>alert(1)</script>\"' {{ 7 * 7 }} & ä"
    odd = replace(image, file=name, folder=name, nearest=name, opinions={name: 1.0}, model=name)
    write_scores([odd], tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({name: {name: [name]}}))
    page = Page(write_report(tmp_path))
    assert page.tags.count("script") == 2  # the page's own
    assert "alert(1)</script>" not in page.source
    assert "{{ 7 * 7 }}" in page.text
    assert json.loads(page.data)["folders"][0].startswith("</script>")


def test_images_that_are_gone_or_broken_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = write_judged_folder(tmp_path)
    Path(images[0].file).unlink()
    Path(images[1].file).write_text("no image")
    page = Page(write_report(tmp_path))
    assert f"'{images[0].file}' is missing" in page.text
    assert f"'{images[1].file}' is truncated or not a readable image" in page.text
    assert "Not readable (2)" in page.text
    assert "2 images are not in the report" in caplog.text


def test_folders_without_truth_calibration_and_run_have_a_report(tmp_path: Path) -> None:
    images = write_judged_folder(tmp_path, good=0, bad=0, unknown=3)
    write_scores([replace(image, heat_map=None, nearest=None, opinions={}) for image in images], tmp_path)
    (tmp_path / "run.json").unlink()
    page = Page(write_report(tmp_path, tmp_path / "elsewhere" / "page.html"))
    assert "Curves need images that are known to be normal" in page.text
    assert "no false-alarm rate is promised" in page.text
    assert "no run.json" in page.text
    assert "rejected" not in page.text


def test_images_are_found_beside_the_table(tmp_path: Path) -> None:
    (image, *_) = write_judged_folder(tmp_path, good=1, bad=0, unknown=0)
    write_scores([replace(image, file="images/good/000.png")], tmp_path)
    assert "Not readable" not in Page(write_report(tmp_path)).text


@pytest.mark.parametrize(("run", "message"), [("{", r"run\.json' is no JSON"), ("[]", r"run\.json' holds no sections")])
def test_broken_run_files_are_named(tmp_path: Path, run: str, message: str) -> None:
    write_judged_folder(tmp_path, good=1, bad=0, unknown=0)
    (tmp_path / "run.json").write_text(run)
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_tables_that_are_empty_or_of_several_thresholds_are_refused(tmp_path: Path) -> None:
    write_scores([], tmp_path)
    with pytest.raises(ValueError, match=r"scores\.jsonl' is empty"):
        write_report(tmp_path)
    write_scores([Judged("a.png", "", 0.5, "0a"), Judged("b.png", "", 0.5, "0a", threshold=0.4)], tmp_path)
    with pytest.raises(ValueError, match="2 thresholds"):
        write_report(tmp_path)
