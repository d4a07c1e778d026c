"""Commands in processes of their own."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 300
METRIC_ROW = re.compile(r"│\s*((?:image|pixel)_\w+)\s*│\s*([-+.\deinfa]+)\s*│")
# wide enough that no message is broken over two lines; on the processor, as the models in this process
ENVIRONMENT = {"COLUMNS": "1000", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class CommandOutput:
    """What a command left."""

    code: int
    output: str
    errors: str
    root: Path

    @property
    def text(self) -> str:
        """All that it said."""
        return self.output + self.errors

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the printed table."""
        return metrics_in(self.text)

    @property
    def sentence(self) -> str:
        """The text without line breaks and repeated spaces, for searching."""
        return " ".join(self.text.split())


def metrics_in(text: str) -> dict[str, float]:
    """Metrics of a table that was printed."""
    return {name: float(value) for name, value in METRIC_ROW.findall(text)}


def run(root: Path, *command: str, expect: int | None = 0, **environment: str) -> CommandOutput:
    """Run a command in a folder.

    Args:
        root: The folder.
        command: The program and its arguments.
        expect: Its exit code; ``None`` leaves that to the caller.
        environment: Variables beside this process's own.
    """
    finished = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    result = CommandOutput(finished.returncode, finished.stdout, finished.stderr, root)
    assert expect is None or result.code == expect, result.text
    return result


def run_python(root: Path, *arguments: str, expect: int | None = 0, **environment: str) -> CommandOutput:
    """Run this interpreter, as :func:`run` does."""
    return run(root, sys.executable, *arguments, expect=expect, **environment)


def run_anomalib(root: Path, *arguments: str, expect: int | None = 0, **environment: str) -> CommandOutput:
    """Run ``anomalib`` as users do, as :func:`run` does."""
    return run(root, str(Path(sys.executable).parent / "anomalib"), *arguments, expect=expect, **environment)
