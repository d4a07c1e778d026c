"""The look of all progress bars, and what stands for them in a file."""

from typing import Any

from rich import get_console
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 60.0


def progress_bar(shown: bool = True, transient: bool = False, console: Console | None = None) -> Progress:
    """Make a bar that tells what is done, how much of it, and the time left.

    Args:
        shown: Whether to show it at all.
        transient: Remove it when it is full.
        console: Where to show it; rich's own if left out.

    Returns:
        The bar, a context. Where nobody would see a bar move, in a file or a pipe, it says a line a minute instead.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = console or get_console()
    moves = console.is_terminal or console.is_jupyter
    kind = _Bar if moves or not shown else _Lines
    return kind(*columns, disable=not (shown and moves), transient=transient, console=console)


class _Bar(Progress):
    """Moves also within the trainer's bar, which draws only when it is asked to."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self.refresh()


class _Lines(Progress):
    """Says now and then how far each task is."""

    def __init__(self, *columns: Any, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._said: dict[TaskID, float] = {}

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._say(task_id)

    def update(self, task_id: TaskID, *changes: Any, **named_changes: Any) -> None:
        super().update(task_id, *changes, **named_changes)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        now = self.get_time()
        said = self._said.setdefault(task_id, now if task.start_time is None else task.start_time)
        if now - said < SECONDS_BETWEEN_LINES or not task.total:
            return
        self._said[task_id] = now
        line = f"{task.description}: {task.completed:.0f} of {task.total:.0f}"
        if (left := task.time_remaining) is not None:
            minutes = f"about {left / 60:.0f} minutes" if left >= 90 else "about a minute"
            line += f", {minutes if left >= 30 else 'less than a minute'} left"
        self.console.print(line, soft_wrap=True)
