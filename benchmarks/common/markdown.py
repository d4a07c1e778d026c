"""Tables in Markdown, and the numbers in them."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal

ALIGNMENT = {"l": "---", "r": "---:"}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]], alignment: str = "l") -> list[str]:
    """Give the lines of a table.

    Args:
        header: Titles of the columns.
        rows: Cells of each row.
        alignment: ``l`` or ``r`` for each column, from the left; further columns are aligned to the right, as numbers
            are.

    Returns:
        The lines, the first two of which are the header.
    """
    letters = alignment.ljust(len(header), "r")
    return [_line(cells) for cells in (header, [ALIGNMENT[letter] for letter in letters], *rows)]


def _line(cells: Sequence[object]) -> str:
    return "|" + "".join(f" {text} |" if (text := str(cell)) else " |" for cell in cells)


def fixed(value: float | Decimal, digits: int) -> str:
    """Write a number with so many digits after the point, halves rounded up, thousands apart."""
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    return f"{exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):,}"
