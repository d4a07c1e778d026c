"""The preview command on folders of good, few and broken images."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalib_slsg.simulation.preview import main


def fill(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in names:
        cv2.imwrite(str(folder / name), generator.integers(0, 256, (40, 50, 3), dtype=np.uint8))


def test_sheet_is_a_png(tmp_path: Path) -> None:
    fill(tmp_path / "images" / "deep", ("a.png", "b.jpg", "c.bmp", "d.tif"))
    output = tmp_path / "new" / "folder" / "sheet.png"
    arguments = ["--images", str(tmp_path / "images"), "--output", str(output), "--count", "2", "--size", "32"]
    main([*arguments, "--simulation.noise", "rectangle", "--simulation.logical_opacity", "[1.0,1.0]"])
    sheet = cv2.imread(str(output))
    assert sheet is not None
    assert sheet.shape[0] > sheet.shape[1]  # six rows of five pictures
    assert [file.name for file in output.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("names", "message"), [((), "no images"), (("only.png",), r"single image \(only\.png\).*at least two")]
)
def test_too_few_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], message: str
) -> None:
    fill(tmp_path / "images", names)
    assert_refused(tmp_path, capsys, message)


def test_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(tmp_path, capsys, "images does not exist")


def test_broken_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "images", ("a.png", "b.png"))
    (tmp_path / "images" / "c.png").write_bytes(b"\x89PNG broken")
    assert_refused(tmp_path, capsys, r"c\.png")


def test_bad_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "images", ("a.png", "b.png"))
    assert_refused(tmp_path, capsys, r"simulation\.grid_cells", "--simulation.grid_cells", "1")
    assert_refused(tmp_path, capsys, "--count", "--count", "0")


def assert_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], message: str, *extra: str) -> None:
    """The command ends with one error line that says what is wrong, and writes nothing."""
    output = tmp_path / "sheet.png"
    with pytest.raises(SystemExit) as stopped:
        main(["--images", str(tmp_path / "images"), "--output", str(output), "--size", "32", *extra])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert not output.exists()
