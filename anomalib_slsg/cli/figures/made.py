"""A figure, and what is written beside it."""

from typing import NamedTuple

from matplotlib.figure import Figure


class Made(NamedTuple):
    """A figure.

    Attributes:
        figure: Itself.
        markdown: The same as text, if it is a table.
    """

    figure: Figure
    markdown: str | None = None
