"""The look of all progress bars."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(shown: bool = True, transient: bool = False, console: Console | None = None) -> Progress:
    """Make a bar that tells what is done, how much of it, and the time left.

    Args:
        shown: Whether to show it at all.
        transient: Remove it when it is full.
        console: Where to show it; standard output if left out.

    Returns:
        The bar, a context.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not shown, transient=transient, console=console)
