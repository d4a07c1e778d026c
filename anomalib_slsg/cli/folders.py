"""Folders of results, none of which is overwritten."""

from itertools import count
from pathlib import Path

from anomalib_slsg.utils.files import check_writable


def new_folder(wanted: Path) -> Path:
    """Make a folder for results: the wanted one, or the next free number where it has something in it.

    Args:
        wanted: The folder.

    Returns:
        The empty folder. A line says so where it is another one.

    Raises:
        OSError: If nothing can be written there.
    """
    folders = (wanted.with_name(f"{wanted.name}_{number}") if number > 1 else wanted for number in count(1))
    folder = next(each for each in folders if not each.exists() or (each.is_dir() and not any(each.iterdir())))
    try:
        check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"nothing can be written to '{folder}' ({error}); give another --output") from error
    if folder != wanted:
        print(f"'{wanted}' exists already, so the results go to '{folder}'.")
    return folder
