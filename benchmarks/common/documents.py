"""Tables in documents that are made from files of results.

Such a table stands between the lines ``<!-- table: NAME -->`` and ``<!-- end -->``; whatever is there is replaced.
"""

from collections.abc import Callable, Mapping

BEGIN, CLOSE, END = "<!-- table: ", " -->", "<!-- end -->"

Tables = Mapping[str, Callable[[], list[str]]]


def fill(text: str, tables: Tables) -> str:
    """Replace the marked tables of a document.

    Args:
        text: The document.
        tables: What gives the lines of each table, by name.

    Returns:
        The document with the tables as they are now.

    Raises:
        ValueError: If there is no table of a name, or a mark without its other half.
    """
    lines: list[str] = []
    name = None
    for line in text.split("\n"):
        if line.startswith(BEGIN):
            _expect(name is None, f"'{line}' comes before the {END} of the table '{name}'")
            name = line.removeprefix(BEGIN).removesuffix(CLOSE)
            _expect(name in tables, f"there is no table '{name}', only {sorted(tables)}")
            # without the empty lines, some programs do not see a table here
            lines += [line, "", *tables[name](), "", END]
        elif line == END:
            _expect(name is not None, f"an {END} has no table before it")
            name = None
        elif name is None:
            lines.append(line)
    _expect(name is None, f"the table '{name}' has no {END}")
    return "\n".join(lines)


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
