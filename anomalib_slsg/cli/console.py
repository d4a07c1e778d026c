"""What the command says: each message once, and nothing of the libraries' own."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from anomalib_slsg.utils.progress import progress_bar

NOISY = (
    "anomalib",
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "lightning_fabric",
    "timm",
    "nncf",
    "torch.onnx",
    "onnxscript",
)


class _Once(logging.Filter):
    """Lets each message pass once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new


@contextmanager
def quiet() -> Iterator[None]:
    """Show warnings of this package, on standard error, and errors only of the libraries below it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anomalib.engine  # noqa: F401  # the libraries set their loggers up when they are imported

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Once())
    own = logging.getLogger("anomalib_slsg")
    before = {name: logging.getLogger(name).level for name in NOISY}
    level, propagates, handlers = own.level, own.propagate, own.handlers
    own.handlers = [handler]  # in place of that of a command which calls another
    own.setLevel(logging.WARNING)
    own.propagate = False  # anomalib's root handler would say everything again
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        own.setLevel(level)
        own.propagate, own.handlers = propagates, handlers
        for name, earlier in before.items():
            logging.getLogger(name).setLevel(earlier)


def is_terminal() -> bool:
    """Tell whether somebody is looking, so that bars may move."""
    return sys.stderr.isatty()


def bar() -> Progress:
    """Make a progress bar on standard error, where it is a terminal."""
    return progress_bar(is_terminal(), transient=True, console=Console(stderr=True))
