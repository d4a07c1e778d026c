"""Files that are either whole or absent."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name beside its place and rename it.

    Args:
        path: The file; its folder is made if it does not exist.
        write: Writes the content to the path that it is given.

    Raises:
        OSError: If the file cannot be written, naming it. Nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # as of a full disk
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as :func:`write_atomically` does."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def check_writable(folder: Path) -> None:
    """Find out before the work whether its results can be written.

    Args:
        folder: Where they go, which need not exist.

    Raises:
        OSError: If nothing can be written there, naming the folder or the first that exists above it.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    with TemporaryFile(dir=existing):
        pass
