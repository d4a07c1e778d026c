"""Memory that stays with the process, and that goes back."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from anomalib_slsg.memory import ENVIRONMENT, keep_freed_memory, return_freed_memory

GLIBC = platform.libc_ver()[0] == "glibc"  # others are left as they are
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
MIB = 2**20
BLOCK = 64 * MIB
FEW, MANY = 256 * MIB, 4096 * MIB
# the C library's own limit adapts to 32 MiB at most, so blocks of 64 MiB are always returned
PROGRAM = f"""
import ctypes, resource
import torch
from anomalib_slsg.memory import keep_freed_memory

print(keep_freed_memory())
for _ in range(30):  # small requests split the first blocks; after some, a whole one is always left
    torch.zeros({BLOCK}, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.zeros({BLOCK}, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**settings: str) -> tuple[bool, int]:
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True, check=True)
    set_, faults = done.stdout.split()
    return set_ == "True", int(faults)


def test_large_blocks_are_not_fetched_from_the_system_again() -> None:
    kept, faults = _run()
    assert kept == GLIBC
    assert not GLIBC or faults == pytest.approx(0, abs=BLOCK // PAGE // 2)


def test_the_users_own_allocator_settings_stay() -> None:
    kept, faults = _run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert not GLIBC or faults > 9 * BLOCK // PAGE


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


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


def test_the_users_own_allocator_settings_are_set_by_neither() -> None:
    program = "from anomalib_slsg.memory import *; print(keep_freed_memory(), return_freed_memory())"
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["False", "False"]
