"""The report in a real browser: Debian's chromium, driven by selenium."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalib_slsg.report.html import write_report
from tests.support.reports import write_judged_folder

pytestmark = pytest.mark.slow

SECTIONS = ["scores", "folders", "curves", "gallery", "calibration", "photographs", "run"]
SWITCHES = (
    "headless",
    "no-sandbox",  # with it, chromium does not run as root
    "disable-gpu",
    "disable-dev-shm-usage",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)
SET_THRESHOLD = """
const slider = document.getElementById("threshold");
slider.value = arguments[0];
slider.dispatchEvent(new Event("input"));
slider.dispatchEvent(new Event("change"));
"""
SHOWN = "return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility()).length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with an empty profile."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra dev")
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for switch in (*SWITCHES, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 12 good images with scores from 0.1 to 0.6, 6 bad ones from 0.4 to 0.95, and 2 unknown ones."""
    folder = tmp_path_factory.mktemp("judged")
    write_judged_folder(folder)
    return write_report(folder)


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report, freshly opened, at 1280 pixels; no error may be left in the console."""
    _set_width(browser, 1280)
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def test_the_threshold_moves_counts_rates_and_verdicts(page: Any) -> None:
    assert _text(page, "count-anomalous") == "8"
    assert _text(page, "false-alarms") == "25.0 % (8.9 % to 53.2 %): 3 of 12"  # Wilson's, by hand
    mark = page.find_element("css selector", "#histogram .mark").get_attribute("x1")
    page.execute_script(SET_THRESHOLD, 0.61)
    assert _text(page, "chosen") == "0.610"
    assert _text(page, "count-anomalous") == "4"
    assert _text(page, "count-normal") == "16"
    assert _text(page, "false-alarms").startswith("0.0 % (0.0 % to 24.2 %)")
    assert _text(page, "found").endswith("4 of 6")
    assert page.find_element("css selector", "#folders tbody tr td:nth-child(4)").text.endswith("4 of 6")
    assert len(page.find_elements("css selector", ".card.alarm")) == 4
    assert [each.text for each in page.find_elements("css selector", ".verdict")].count("anomalous") == 4
    assert page.find_element("css selector", "#histogram .mark").get_attribute("x1") != mark
    page.find_element("id", "back").click()
    assert _text(page, "count-anomalous") == "8"


def test_the_slider_is_moved_by_keys(page: Any) -> None:
    page.find_element("id", "threshold").send_keys("\ue010")  # End
    assert _text(page, "chosen") == "1.000"
    assert _text(page, "count-anomalous") == "0"


def test_cards_are_sorted(page: Any) -> None:
    doubts = [abs(score - 0.5) for score in _scores(page)]
    assert doubts == pytest.approx(sorted(doubts))  # from 0.1 to 0.95, log odds order as distances from 0.5 do
    assert _order(page, "down") == sorted(_scores(page), reverse=True)
    assert _order(page, "up") == sorted(_scores(page))
    _order(page, "name")
    names = [each.text for each in page.find_elements("css selector", ".card h3")]
    assert names == sorted(names)
    _order(page, "borderline")
    page.execute_script(SET_THRESHOLD, 0.9)
    assert max(_scores(page)[:2]) == 0.95  # those nearest to the chosen threshold


def test_pictures_are_enlarged_and_outlines_hidden(page: Any) -> None:
    picture = page.find_element("css selector", ".picture")
    width = picture.size["width"]
    picture.click()
    assert picture.size["width"] > 2 * width
    outlines = page.execute_script(SHOWN, ".outline")
    page.find_element("id", "outlines").click()
    assert outlines == 20
    assert page.execute_script(SHOWN, ".outline") == 0


def test_curves_and_areas_are_right(page: Any) -> None:
    scikit = pytest.importorskip("sklearn.metrics")
    known, scores = [], []
    for card in page.find_elements("css selector", ".card"):
        if card.get_attribute("data-known") != "unknown":
            known.append(card.get_attribute("data-known") == "anomalous")
            scores.append(float(card.get_attribute("data-score")))
    area = scikit.roc_auc_score(known, scores)
    assert _text(page, "roc-area") == f"ROC curve: area {area:.4f}"
    assert _text(page, "precision-area").endswith(f"{scikit.average_precision_score(known, scores):.4f}")
    assert page.find_element("css selector", "#folders tbody tr td:nth-child(5)").text == f"{area:.4f}"


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    _set_width(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.execute_script(SHOWN, "section") == len(SECTIONS)
    assert page.execute_script("return [...document.images].every((each) => each.complete && each.naturalWidth > 0)")


def test_print_has_all_sections_and_no_controls(page: Any) -> None:
    assert page.execute_script(SHOWN, ".controls") > 0
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        sections = page.find_elements("css selector", "section")
        assert [each.get_attribute("id") for each in sections] == SECTIONS
        assert all(each.is_displayed() and each.size["height"] > 50 for each in sections)
        assert page.execute_script(SHOWN, ".card") == 20
        assert page.execute_script(SHOWN, ".controls, input, select, button") == 0
        assert base64.b64decode(page.print_page()).startswith(b"%PDF")
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def _set_width(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def _text(page: Any, name: str) -> str:
    return page.find_element("id", name).text


def _scores(page: Any) -> list[float]:
    return [float(each.get_attribute("data-score")) for each in page.find_elements("css selector", ".card")]


def _order(page: Any, order: str) -> list[float]:
    page.find_element("css selector", f"#order option[value={order}]").click()
    return _scores(page)
