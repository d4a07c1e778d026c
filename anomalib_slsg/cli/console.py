"""What the command says: each message once, and nothing of the libraries' own."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich import reconfigure

NOISY = (
    "anomalib",
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "lightning_fabric",
    "timm",
    "torch",
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
    """Show warnings of this package, on standard error as all bars are, and only errors of the libraries below it."""
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
    logging.disable(logging.INFO)  # nncf says hundreds of lines, and sets its own level when it is imported
    reconfigure(stderr=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        reconfigure()
        logging.disable(logging.NOTSET)
        own.setLevel(level)
        own.propagate, own.handlers = propagates, handlers
        for name, earlier in before.items():
            logging.getLogger(name).setLevel(earlier)
