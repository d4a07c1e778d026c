"""Rewrites the marked tables of documents from ``benchmarks/results``.

``make results``, or ``python -m benchmarks.common.tables``. A new table is a function in ``accuracy/tables.py`` or
``speed/tables.py``, and its mark in a document.
"""

from anomalib_slsg.utils.files import write_text
from benchmarks.accuracy.tables import TABLES as ACCURACY_TABLES
from benchmarks.common.documents import fill
from benchmarks.common.paths import ROOT
from benchmarks.speed.tables import TABLES as SPEED_TABLES

DOCUMENTS = (ROOT / "README.md", ROOT / "anomalib_slsg" / "README.md", ROOT / "docs" / "results.md")
TABLES = {**ACCURACY_TABLES, **SPEED_TABLES}


def main() -> None:
    """Rewrite the documents whose tables have changed, and name them."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        filled = fill(text, TABLES)
        if filled != text:
            write_text(document, filled)
        print(f"{document.relative_to(ROOT)}: {'as it was' if filled == text else 'rewritten'}")


if __name__ == "__main__":
    main()
