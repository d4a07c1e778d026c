"""Links between the project's documents lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = ("anomalib_slsg", "benchmarks", "configs", "docs", "examples")
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")),
]
MADE = ROOT / "docs" / "options.md"  # when the site is built, which checks links to it; see test_site.py


def anchors(document: Path) -> set[str]:
    """Names that GitHub gives to headings: lower case, hyphens for spaces, no other punctuation."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    for link in links:
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if target == MADE and document.is_relative_to(MADE.parent):
            continue
        assert target.exists(), f"{document.name} links to {link}, which is not there"
        assert not anchor or anchor in anchors(target), f"{document.name} links to {link}, which has no such heading"


def test_there_are_links() -> None:
    found = sum(len(LINK.findall(document.read_text(encoding="utf-8"))) for document in DOCUMENTS)
    assert len(DOCUMENTS) >= 4
    assert found >= 20
