"""The Describable Textures Dataset (reference 45 of the paper), fetched with anomalib's downloader."""

import shutil
from pathlib import Path
from tarfile import TarError

from anomalib.data.utils import DownloadInfo, download_and_extract
from filelock import FileLock

DEFAULT_FOLDER = Path("./datasets/dtd")
DOWNLOAD_INFO = DownloadInfo(
    name="dtd-r1.0.1.tar.gz",
    url="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
    hashsum="e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
)


def fetch_dtd(folder: Path) -> None:
    """Download and unpack DTD unless the folder exists; the folder appears only when it is whole.

    Args:
        folder: Where the textures shall be.

    Raises:
        ConnectionError: If the download fails.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # ranks, or several trainings, fetch it once
        if not folder.exists():
            _fetch(folder)


def _fetch(folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was ended; the downloader would go on with it
    try:
        download_and_extract(temporary, DOWNLOAD_INFO)
        temporary.replace(folder)
    except (OSError, ValueError, TarError) as error:  # the network; another file than this one; a broken archive
        raise ConnectionError(
            f"simulation.download_dtd: {DOWNLOAD_INFO.url} could not be fetched ({error}). Connect to the network, or "
            "set simulation.dtd_dir to a folder of texture images, or leave both out for procedural textures"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
