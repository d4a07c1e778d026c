"""Files, classes, functions and options that documents name are there."""

import dataclasses
import re
from pathlib import Path

import pytest

from anomalib_slsg.options import TrainingOptions
from anomalib_slsg.utils.options import Options
from tests.support.paths import REPOSITORY

PACKAGE = REPOSITORY / "anomalib_slsg"
NAMED_ALONE = (PACKAGE, REPOSITORY / "configs", REPOSITORY / "tests")  # whose files may stand without their folder
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FILE = re.compile(r"[\w/.*]+\.(?:py|yaml|md|csv)")
OPTION = re.compile(r"(\w+)\.(\w+)(?:: .*)?")
NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)?")
GROUPS = {each.name: each.default for each in dataclasses.fields(TrainingOptions) if isinstance(each.default, Options)}


def spans(document: Path) -> list[str]:
    """Pieces of code in a document's sentences and tables, but for those with a placeholder, NAME."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [span for span in SPAN.findall(prose) if "NAME" not in span]


@pytest.mark.parametrize("name", ["method.md", "contributing.md"])
def test_files_and_options_are_there(name: str) -> None:
    for span in spans(REPOSITORY / "docs" / name):
        if FILE.fullmatch(span):
            found = [
                *REPOSITORY.glob(span),
                *PACKAGE.glob(span),
                *(each for room in NAMED_ALONE for each in room.rglob(span)),
            ]
            assert found, f"there is no {span}"
        elif (option := OPTION.fullmatch(span)) and option[1] in GROUPS:
            fields = {each.name for each in dataclasses.fields(GROUPS[option[1]])}
            assert option[2] in fields, f"there is no option {span}"


def test_the_method_names_code_that_is_there() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    found = 0
    for span in spans(REPOSITORY / "docs" / "method.md"):
        option = OPTION.fullmatch(span)
        if NAME.fullmatch(span) and not FILE.fullmatch(span) and not (option and option[1] in GROUPS):
            for part in span.split("."):
                defined = rf"(?:class|def) {part}\b|self\.{part} =|^    {part}: |\"{part}\""
                assert re.search(defined, source, re.MULTILINE), f"nothing is called {span}"
            found += 1
    assert found > 30
