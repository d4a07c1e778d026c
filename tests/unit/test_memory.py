"""Memory that stays with the process, and that goes back."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from anomalib_slsg.memory import keep_freed_memory, return_freed_memory

MIB = 2**20
FEW, MANY = 256 * MIB, 4096 * MIB


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_large_blocks_are_kept_or_returned(returned_blocks: Callable[[int, int], int]) -> None:
    """By itself the C library never keeps blocks of 64 MiB, and comes to keep those of 16 MiB."""
    try:
        assert keep_freed_memory()
        assert returned_blocks(64 * MIB, FEW) == 0
        assert return_freed_memory(4 * MIB)
        assert returned_blocks(16 * MIB, MANY) > 0
    finally:
        return_freed_memory()
    assert returned_blocks(16 * MIB, FEW) == 0
    assert returned_blocks(64 * MIB, MANY) > 0


@pytest.mark.usefixtures("returned_blocks")
def test_what_was_kept_goes_back() -> None:
    try:
        keep_freed_memory()
        blocks = [torch.zeros(MIB, dtype=torch.uint8) for _ in range(512)]
        del blocks
        before = _resident()
    finally:
        return_freed_memory()
    assert before - _resident() > 400 * MIB


def test_the_users_own_allocator_settings_stay() -> None:
    program = "from anomalib_slsg.memory import *; print(keep_freed_memory(), return_freed_memory())"
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["False", "False"]
