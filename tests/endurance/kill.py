"""Kills work at random moments, and looks at what is left: ``python -m tests.endurance.kill --times 20``.

A killed training goes on from the newest state until it ends; its weights have to be those of an uninterrupted one. A
killed drawing of a data set ends when it is repeated, and the files have to be the same. Of a killed export
there may be nothing, but no file that is loadable and another one than a whole export's.
"""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jsonargparse import auto_cli

from tests.endurance.tasks import TASKS
from tests.support.commands import ENVIRONMENT
from tests.support.models import assert_same_weights

STARTING_SECONDS = 6.0  # of the interpreter with its libraries, before which there is nothing to lose


def run(task: str, folder: Path, seconds: float | None = None) -> float | None:
    """Do some work in a process of its own.

    Args:
        task: Which.
        folder: Where.
        seconds: After which it is killed; never if left out.

    Returns:
        How long it took; ``None`` if it was killed.
    """
    command = [sys.executable, "-m", "tests.endurance.tasks", task, str(folder)]
    began = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    assert process.returncode == 0, errors
    return time.monotonic() - began


def contents(folder: Path) -> dict[str, str]:
    """What the files below a folder hold, but for weights, whose files hold dates, too."""
    files = [each for each in folder.rglob("*") if each.is_file() and each.suffix not in {".ckpt", ".pt"}]
    return {str(each.relative_to(folder)): hashlib.sha256(each.read_bytes()).hexdigest() for each in files}


def left_by(task: str, folder: Path) -> dict[str, str]:
    """What counts of the result of some work."""
    if task == "draw":
        return contents(folder)
    # a killed export leaves a hidden folder, which nobody takes for an export
    return {} if task == "train" else {name: each for name, each in contents(folder).items() if ".export." not in name}


def kill_once(task: str, start: Path, whole: Path, seconds: float) -> int:
    """Do some work that is killed, and go on with it until it ends.

    Args:
        task: Which.
        start: What there is before.
        whole: What there is after uninterrupted work.
        seconds: After which it is killed each time, at most three times.

    Returns:
        How often it was killed.
    """
    with TemporaryDirectory() as root:
        folder = Path(root) / "work"
        shutil.copytree(start, folder)
        kills = 0
        while run(task, folder, seconds if kills < 3 else None) is None:
            kills += 1
            if task == "export":  # what is there is whole
                expected = left_by(task, whole)
                for name, content in left_by(task, folder).items():
                    assert content == expected[name], f"{name} is there, and is not what a whole export has"
        assert left_by(task, folder) == left_by(task, whole)
        if task == "train":
            assert_same_weights(*(torch.load(each / "weights.pt", weights_only=True) for each in (folder, whole)))
        hidden = [str(each) for each in folder.rglob(".*") if each.is_file() and each.suffix != ".lock"]
        assert not hidden, f"temporary files are left: {hidden}"
    return kills


def main(times: int = 20, seed: int = 0, tasks: tuple[str, ...] = tuple(TASKS)) -> None:
    """Kill work.

    Args:
        times: How often in all.
        seed: Of the moments.
        tasks: Which work.
    """
    moments = random.Random(seed)
    with TemporaryDirectory() as root:
        starts, wholes = (Path(root) / name for name in ("start", "whole"))
        durations = {}
        for task in ("train", *(each for each in tasks if each != "train")):
            (starts / task).mkdir(parents=True)
            if task == "export":
                (trained,) = (wholes / "train").glob("results/**/model.ckpt")
                shutil.copy(trained, starts / task / "model.ckpt")
                shutil.copytree(wholes / "train" / "tree", starts / task / "tree")
            shutil.copytree(starts / task, wholes / task)
            durations[task] = run(task, wholes / task)
            print(f"{task}: {durations[task]:.0f} s uninterrupted", flush=True)
        killed = dict.fromkeys(tasks, 0)
        while sum(killed.values()) < times:
            task = min(killed, key=killed.__getitem__)
            seconds = moments.uniform(STARTING_SECONDS, durations[task] or STARTING_SECONDS)
            kills = kill_once(task, starts / task, wholes / task, seconds)
            killed[task] += kills
            print(f"{task} killed {kills} times after {seconds:.1f} s: whole", flush=True)
        print(f"all as without interruption: {killed}")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
