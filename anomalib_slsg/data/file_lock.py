"""A lock between processes that the operating system takes back from a process that dies."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:  # held; whatever else fails would fail for ever
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock while the body runs; wait for it if another process has it.

    The lock belongs to the open file, so the system frees it however its holder ends. The empty file stays: removing
    it would let two processes hold locks on two files of one name.

    Args:
        path: The lock file; it is created in an existing folder.

    Raises:
        OSError: The file cannot be created, or the file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _wait_for_lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: Path) -> None:
    try:
        if not _try_lock(descriptor):
            logger.info("Another process holds %s; waiting for it.", path)
            while not _try_lock(descriptor):
                time.sleep(_POLL_SECONDS)
    except OSError as error:
        msg = f"'{path}' cannot be locked ({error.strerror}); choose a folder on another file system"
        raise OSError(error.errno, msg) from error
