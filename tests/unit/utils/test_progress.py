"""What users see of long work."""

import io

import pytest
from rich.console import Console

from anomalib_slsg.utils import progress
from anomalib_slsg.utils.progress import progress_bar


def test_a_file_gets_a_line_a_minute() -> None:
    file, now = io.StringIO(), [0.0]
    console = Console(file=file, get_time=lambda: now[0])
    with progress_bar(console=console) as bar:
        task = bar.add_task("Reading", total=100)
        for _ in range(100):
            now[0] += 2.5
            bar.advance(task)
    lines = file.getvalue().splitlines()
    assert lines[0] == "Reading: 24 of 100, about 3 minutes left"
    assert lines[-2].endswith("of 100, about a minute left")
    assert lines[-1].endswith("of 100, less than a minute left")
    assert len(lines) == 4


def test_work_of_seconds_leaves_nothing_in_a_file() -> None:
    file = io.StringIO()
    with progress_bar(console=Console(file=file)) as bar:
        list(bar.track(range(50), description="Reading"))
    assert file.getvalue() == ""


def test_a_bar_that_is_not_wanted_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    for terminal in (True, False):
        file = io.StringIO()
        with progress_bar(False, console=Console(file=file, force_terminal=terminal)) as bar:
            list(bar.track(range(50), description="Reading"))
        assert file.getvalue() == ""


def test_a_bar_within_another_moves() -> None:
    """The trainer's own bar draws only when it is asked to."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with progress.Progress(console=console, auto_refresh=False), progress_bar(console=console) as bar:
        task = bar.add_task("Pre-training", total=10)
        for _ in range(7):
            bar.advance(task)
        assert "7/10" in file.getvalue()
