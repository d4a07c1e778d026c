"""Memory that training steps give back and ask for again, kept instead of returned to the system."""

import ctypes
import os
import platform

# glibc's numbers for mallopt
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
LARGEST = 2**31 - 1  # mallopt takes C integers
ADAPTED = 32 * 2**20  # bytes: what glibc's own thresholds adapt to at most, trimming to twice as much

# what users set who choose their own; glibc reads them when the process starts
ENVIRONMENT = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next request.

    By itself it returns blocks of 32 MiB or more, such as SegNet's widest maps, to the system as soon as they are
    freed. Every step then touches gigabytes of fresh pages again, each of which the system has to clear: a quarter of a
    SegNet step on two cores. The price is a peak about a tenth higher, and memory that stays with the process until
    ``return_freed_memory``.

    Does nothing where the C library is not glibc or the user's environment configures the allocator.

    Returns:
        True if the allocator has been set.
    """
    library = _library()
    return library is not None and _set(library, LARGEST, LARGEST)


def return_freed_memory(at_least: int = ADAPTED) -> bool:
    """Give freed memory back to the system, and from now on large blocks as soon as they are freed.

    Does nothing where ``keep_freed_memory`` does nothing.

    Args:
        at_least: Size of the smallest such blocks, in bytes; by default that of the C library itself.

    Returns:
        True if the allocator has been set.
    """
    library = _library()
    if library is None or not _set(library, at_least, 2 * ADAPTED):
        return False
    library.malloc_trim(0)
    return True


def _library() -> ctypes.CDLL | None:
    """The C library, if its allocator may be set."""
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in ENVIRONMENT):
        return None
    return ctypes.CDLL(None)


def _set(library: ctypes.CDLL, mmap_threshold: int, trim_threshold: int) -> bool:
    return bool(library.mallopt(MMAP_THRESHOLD, mmap_threshold)) and bool(
        library.mallopt(TRIM_THRESHOLD, trim_threshold)
    )
