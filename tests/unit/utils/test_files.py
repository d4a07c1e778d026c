"""Files that are either whole or absent."""

import errno
import os
from pathlib import Path

import pytest

from anomalib_slsg.utils.files import check_writable, write_atomically


def test_writes_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "state.ckpt"
    write_atomically(path, lambda temporary: temporary.write_text("whole"))
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["state.ckpt"]


def test_temporary_file_lies_beside_and_keeps_the_suffix(tmp_path: Path) -> None:
    """A rename works within one file system only, and OpenCV chooses the format by the suffix."""
    seen: list[Path] = []

    def write(temporary: Path) -> None:
        seen.append(temporary)
        temporary.write_text("x")

    write_atomically(tmp_path / "picture.png", write)
    assert seen[0].parent == tmp_path
    assert seen[0].suffix == ".png"
    assert seen[0].name != "picture.png"


def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("ha")
        msg = "disk full"
        raise OSError(msg)

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    """Python's own message of it has no name."""

    def fail(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: '.*/state\.ckpt'"):
        write_atomically(tmp_path / "state.ckpt", fail)


def test_a_folder_is_found_writable_without_being_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=f"'{tmp_path}/file/"):
        check_writable(tmp_path / "file" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
