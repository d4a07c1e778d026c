"""Measuring in a process of its own, whose memory nothing else shares. Imports nothing large itself."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def in_own_process(script: Path, task: Mapping[str, object]) -> dict[str, Any]:
    """Run a script for a task.

    Args:
        script: Takes the task as JSON, its only argument, and prints a line of JSON.
        task: What to measure.

    Returns:
        What it printed last.

    Raises:
        RuntimeError: If it failed; with its last words.
    """
    command = [sys.executable, str(script), json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{' '.join(command)} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(msg)
    return json.loads(done.stdout.splitlines()[-1])
