"""Memory that stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

from anomalib_slsg.memory import ENVIRONMENT

GLIBC = platform.libc_ver()[0] == "glibc"  # others are left as they are
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
BLOCK = 64 * 2**20
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
