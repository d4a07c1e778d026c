"""Measuring in a process of its own, whose memory nothing else shares. Imports nothing large itself."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.paths import ROOT

KIBIBYTE = 2**10


def peak_mebibytes() -> float:
    """Tell the peak memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's rusage starts at the peak of the process that started this one
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / KIBIBYTE
    import resource  # which Windows has not

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (KIBIBYTE**2 if sys.platform == "darwin" else KIBIBYTE)


def in_own_process(
    module: str, task: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a module for a task.

    Args:
        module: Name of a module that calls :func:`answer_task`.
        task: What to measure.
        environment: Variables in place of, or beside, those of this process.

    Returns:
        What was measured.

    Raises:
        RuntimeError: If it failed; with its last words.
    """
    command = [sys.executable, "-m", module, json.dumps(task)]
    # the process finds this package from any working directory
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": search, **(environment or {})}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{' '.join(command)} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(msg)
    return json.loads(done.stdout.splitlines()[-1])


def answer_task(measure: Callable[..., dict[str, Any]]) -> None:
    """Do what :func:`in_own_process` asked this process for: the last line printed is the answer.

    Args:
        measure: Takes the task's entries by name.
    """
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
