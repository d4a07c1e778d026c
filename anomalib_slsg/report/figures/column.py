"""Figures as wide as a column of a printed page: their style, captions, grids of pictures and files."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from anomalib_slsg.utils.files import write_atomically

INCH = 25.4  # millimetres
WIDTH = 85.0  # of a column, in millimetres
CAPTION_LINE, CAPTION_CHARACTERS = 2.7, 73  # height in millimetres, and how many fit into the column
ROW_LABEL = 4.0  # millimetres beside a grid of pictures
LETTER = 0.21  # width of a letter in millimetres for a point of its size
MANY = 5  # columns, of which more have smaller titles
RESOLUTION = 300  # dots per inch
STYLE: Any = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "axes.linewidth": 0.5,
    "lines.linewidth": 1,
    "lines.markersize": 3,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "figure.constrained_layout.w_pad": 0.015,
    "figure.constrained_layout.h_pad": 0.015,
    "figure.constrained_layout.wspace": 0.0,
    "figure.constrained_layout.hspace": 0.0,
    "svg.hashsalt": "slsg",  # the same figure is the same file
}

Arguments = ParamSpec("Arguments")


def for_print(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Let a function draw in letters that can be read in print."""

    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def column_figure(height: float, caption: str) -> Figure:
    """Make a figure of a column's width with its caption below.

    Args:
        height: Without the caption, in millimetres.
        caption: Says what is seen.

    Returns:
        The figure, without axes.
    """
    lines = fill(caption, CAPTION_CHARACTERS)
    height += CAPTION_LINE * (lines.count("\n") + 1)
    figure = Figure(figsize=(WIDTH / INCH, height / INCH), layout="constrained")
    FigureCanvasAgg(figure)
    _write_caption(figure, lines)
    return figure


def add_to_caption(figure: Figure, sentence: str) -> None:
    """Say something more below a figure, which becomes as much higher.

    Args:
        figure: One of :func:`column_figure`.
        sentence: What to say.
    """
    before = figure.get_supxlabel()
    after = fill(f"{before} {sentence}", CAPTION_CHARACTERS)  # which takes the ends of lines for spaces
    height = figure.get_figheight() + CAPTION_LINE / INCH * (after.count("\n") - before.count("\n"))
    figure.set_figheight(height)
    _write_caption(figure, after)


def _write_caption(figure: Figure, lines: str) -> None:
    figure.supxlabel(lines, x=0.01, ha="left", fontsize=6, linespacing=1.1)


def picture_grid(
    columns: Sequence[str], rows: Sequence[str], caption: str, extra: float = 0.0, shape: tuple[int, int] = (1, 1)
) -> tuple[Figure, np.ndarray]:
    """Make a grid for pictures.

    Args:
        columns: Titles above the first row.
        rows: Labels beside the first column; empty ones for none.
        caption: Says what is seen.
        extra: Further height of each row, in millimetres, for what stands below its pictures.
        shape: Height and width of the pictures, for their aspect.

    Returns:
        The figure and its axes, of shape (rows, columns).
    """
    aspect = shape[0] / shape[1]
    side = (WIDTH - ROW_LABEL) / len(columns) * aspect
    title = 3.2 * max(len(name.split("\n")) if name else 0 for name in columns)
    figure = column_figure((side + 0.4 + extra) * len(rows) + title, caption)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for each in axes.flat:
        each.set_xticks([])
        each.set_yticks([])
    for each, name in zip(axes[0], columns, strict=True):
        each.set_title(name, pad=2, fontsize=7 if len(columns) <= MANY else 6)
    most = max(1, int(side / (7 * LETTER)))  # letters along a row
    labels = ["\n".join(fill(line, most, break_long_words=False) for line in name.split("\n")) for name in rows]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    for each, label in zip(axes[:, 0], labels, strict=True):
        each.set_ylabel(label, labelpad=2, fontsize=min(7.0, side / (LETTER * max(1, longest))))
    return figure, axes


def show(axes: Axes, picture: Tensor | np.ndarray, low: float = 0.0, high: float = 1.0, colours: str = "gray") -> Any:
    """Show a picture.

    Args:
        axes: Where.
        picture: Colours in [0, 1] of shape (3, H, W), or values of shape (H, W).
        low: Value that is drawn as the first of the colours.
        high: Value that is drawn as the last.
        colours: matplotlib's name of the colours of values.

    Returns:
        What a colour bar is made of.
    """
    values = np.asarray(picture.detach().float().cpu() if isinstance(picture, Tensor) else picture)
    values = values.transpose(1, 2, 0).clip(0, 1) if values.ndim == 3 else values
    return axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG.

    Args:
        figure: The figure.
        folder: Where the files go.
        name: Theirs, without an ending.

    Returns:
        The files.
    """
    files = [folder / f"{name}.png", folder / f"{name}.svg"]
    with rc_context(STYLE):
        for file in files:
            kind = file.suffix[1:]
            details = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": RESOLUTION}
            write_atomically(file, lambda path: figure.savefig(path, format=kind, **details))  # noqa: B023
    return files
