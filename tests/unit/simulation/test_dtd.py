"""Fetching of DTD, from a server on this machine."""

import hashlib
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from anomalib.data.utils import DownloadInfo

from anomalib_slsg.simulation import AnomalySimulator, SimulationOptions, dtd


class Quiet(SimpleHTTPRequestHandler):
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    (folder / "dtd" / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "dtd" / "images" / "stripes.png"), np.full((64, 64, 3), (0, 0, 255), np.uint8))
    path = folder / "textures.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "dtd", "dtd")
    return path


@pytest.fixture
def address(archive: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{archive.name}"
    server.shutdown()


def _serve(monkeypatch: pytest.MonkeyPatch, url: str, archive: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(dtd, "DOWNLOAD_INFO", DownloadInfo(name="textures", url=url, hashsum=digest))


def test_textures_are_fetched_once_and_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: Path, address: str
) -> None:
    _serve(monkeypatch, address, archive)
    folder = tmp_path / "textures"
    options = SimulationOptions(dtd_dir=str(folder), download_dtd=True, photometric_operations=0, foreground="whole")
    images = torch.zeros(2, 3, 64, 64)
    for _ in range(2):  # the second simulator finds the folder; the server is not asked again
        simulator = AnomalySimulator(options)
        result = simulator(images, images, torch.Generator().manual_seed(0), kind="texture")
        archive.unlink(missing_ok=True)
    assert list(folder.rglob("*.png")) == [folder / "dtd" / "images" / "stripes.png"]
    red, green, blue = result.image[:, 0], result.image[:, 1], result.image[:, 2]
    assert red.max() > 0.1
    assert green.max() == blue.max() == 0


def test_failed_download_leaves_nothing_and_names_the_alternatives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: Path, address: str
) -> None:
    _serve(monkeypatch, address + ".missing", archive)
    folder = tmp_path / "textures"
    with pytest.raises(ConnectionError, match=r"download_dtd.*dtd_dir.*procedural"):
        AnomalySimulator(SimulationOptions(dtd_dir=str(folder), download_dtd=True)).prepare((64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".textures.lock", "served"]  # the lock is empty


def test_download_that_was_ended_begins_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: Path, address: str
) -> None:
    """anomalib's downloader takes an archive that is there for whole."""
    _serve(monkeypatch, address, archive)
    folder, left = tmp_path / "textures", tmp_path / ".textures.part"
    left.mkdir()
    (left / archive.name).write_bytes(archive.read_bytes()[:100])
    dtd.fetch_dtd(folder)
    assert list(folder.rglob("*.png")) == [folder / "dtd" / "images" / "stripes.png"]
    assert not left.exists()


def test_several_at_once_fetch_it_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: Path, address: str
) -> None:
    """Ranks, or trainings that are started together."""
    _serve(monkeypatch, address, archive)
    monkeypatch.setattr(Quiet, "requests", 0)
    folder = tmp_path / "textures"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(dtd.fetch_dtd, [folder] * 3))
    assert list(folder.rglob("*.png")) == [folder / "dtd" / "images" / "stripes.png"]
    assert Quiet.requests == 1


def test_another_file_than_expected_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: Path, address: str
) -> None:
    for content in (None, b"a page of a proxy"):  # of another hash; of the hash, but no archive
        if content is not None:
            archive.write_bytes(content)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest() if content else "0" * 64
        monkeypatch.setattr(dtd, "DOWNLOAD_INFO", DownloadInfo(name="textures", url=address, hashsum=digest))
        with pytest.raises(ConnectionError, match=r"(?s)download_dtd.*dtd_dir.*procedural"):
            dtd.fetch_dtd(tmp_path / "textures")
        assert not (tmp_path / "textures").exists()
