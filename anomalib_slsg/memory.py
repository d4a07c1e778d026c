"""Memory that training steps give back and ask for again, kept instead of returned to the system."""

import ctypes
import os
import platform

# glibc's numbers for mallopt
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
LARGEST = 2**31 - 1  # mallopt takes C integers

# what users set who choose their own; glibc reads them when the process starts
ENVIRONMENT = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next request, for the rest of the process.

    By itself it returns blocks of 32 MiB or more, such as SegNet's widest maps, to the system as soon as they are
    freed. Every step then touches gigabytes of fresh pages again, each of which the system has to clear: a quarter of a
    SegNet step on two cores. The price is a peak about a tenth higher, and memory that stays with the process.

    Does nothing where the C library is not glibc or the user's environment configures the allocator.

    Returns:
        True if the allocator has been set.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in ENVIRONMENT):
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(MMAP_THRESHOLD, LARGEST)) and bool(library.mallopt(TRIM_THRESHOLD, LARGEST))
