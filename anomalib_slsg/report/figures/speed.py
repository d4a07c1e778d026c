"""Section 4.8: what a model costs, beside the paper's figures."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from anomalib_slsg.report.figures.column import column_figure, for_print

PAPER_NAME = "paper, GTX\n1080 Ti"
PAPER = {
    "image side, pixels": "256",
    "one at a time, ms an image": "54.2",
    "16 at a time, ms an image": "18.5",
    "parameters, million": "20.46",
    "multiply-accumulates, 10⁹": "23",
}
CAPTION = (
    "Section 4.8. Inference of {name} in PyTorch on {device}, median times, beside the paper's figures. The "
    "auxiliary head, which only training needs, counts among the parameters. The paper "
    "calls its parameters MB and its multiply-accumulates GFlops."
)
LINE = 5.0  # millimetres
NAMES = 0.42  # share of the width that the names of rows take


@for_print
def draw_speed(columns: Mapping[str, Mapping[str, str]], device: str) -> Figure:
    """Draw the table.

    Args:
        columns: For each column's name, values by the names of :data:`PAPER`.
        device: What computed.

    Returns:
        The figure.
    """
    caption = CAPTION.format(name=" and ".join(columns), device=device)
    figure = column_figure(LINE * (len(PAPER) + 2.2), caption)
    axes = figure.subplots()
    axes.set_axis_off()
    together = {**columns, PAPER_NAME: PAPER}
    cells = [[name, *(each.get(name, "") for each in together.values())] for name in PAPER]
    widths = [NAMES, *[(1 - NAMES) / len(together)] * len(together)]
    table = axes.table(
        cells, colLabels=["", *together], colWidths=widths, loc="center", cellLoc="center", edges="horizontal"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(6.5)
    table.scale(1, 1.1)
    for (row, column), cell in table.get_celld().items():
        cell.set_linewidth(0.5)
        if column == 0:
            cell.get_text().set_horizontalalignment("left")
        if row == 0:
            cell.set_height(2 * cell.get_height())
    return figure


def speed_table(columns: Mapping[str, Mapping[str, str]], device: str) -> str:
    """Write the table in Markdown.

    Args:
        columns: As for :func:`draw_speed`.
        device: What computed.

    Returns:
        The text.
    """
    together = {**columns, PAPER_NAME: PAPER}
    names = [name.replace("\n", " ") for name in together]
    rows = [["", *names], ["---", *["---:"] * len(names)]]
    rows += [[name, *(each.get(name, "") for each in together.values())] for name in PAPER]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{table}\n\n{CAPTION.format(name=' and '.join(columns), device=device)}\n"
