"""The stack that signal handlers run on."""

import ctypes
import sys
from collections.abc import Callable


class _Stack(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def keep_signal_stack() -> Callable[[], None]:
    """Remember this thread's stack for signal handlers.

    OpenVINO 2026.4 leaves one behind that is freed where two models are compiled at a time. The next signal that is
    handled, such as that of a process's end once a loader had workers, would crash all of the tests.

    Returns:
        What gives the thread its stack back.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    library, stack = ctypes.CDLL(None), _Stack()
    library.sigaltstack(None, ctypes.byref(stack))
    return lambda: library.sigaltstack(ctypes.byref(stack), None)
