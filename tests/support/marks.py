"""What checkpoints must not be able to build or call: classes and a function that leave a mark in a file.

They stand for ``os.system`` and the like.
"""

from pathlib import Path
from typing import Any

from anomalib.metrics import Evaluator
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import Visualizer


def leave_mark(file: str = "mark", *_: Any) -> None:
    """Write a file, in the working folder if it is not told where."""
    Path(file if isinstance(file, str) else "mark").touch()


class MarkingPreProcessor(PreProcessor):
    """Leaves a mark when it is built."""

    def __init__(self, file: str) -> None:
        super().__init__()
        leave_mark(file)


class MarkingPostProcessor(PostProcessor):
    """Leaves a mark when it is built."""

    def __init__(self, file: str) -> None:
        super().__init__()
        leave_mark(file)


class MarkingEvaluator(Evaluator):
    """Leaves a mark when it is built."""

    def __init__(self, file: str) -> None:
        super().__init__()
        leave_mark(file)


class MarkingVisualizer(Visualizer):
    """Leaves a mark when it is built."""

    def __init__(self, file: str) -> None:
        super().__init__()
        leave_mark(file)
