"""The example in C++, built as its README says, against ``slsg predict``."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

from anomalib_slsg.cli.main import main
from anomalib_slsg.deployment.openvino import keep_unrounded
from anomalib_slsg.report.judged import read_scores
from tests.support.commands import CommandOutput, run
from tests.support.paths import REPOSITORY

if TYPE_CHECKING:
    from tests.integration.conftest import Fitted

# the command replaces anomalib's readers for its whole process, which later tests are to have again
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_reading")]

Judge = Callable[..., CommandOutput]

LINE = re.compile(r"(.*): score ([01]\.\d{6}), (normal|anomalous), \d+\.\d ms")
ORIENTATION, QUARTER_TURN = 274, 6  # EXIF's tag, and how the camera was held


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """The program, compiled once, by the README's commands."""
    pytest.importorskip("openvino", reason="needs the extra openvino")
    if shutil.which("g++") is None or shutil.which("cmake") is None:
        pytest.skip("needs a compiler: apt-get install g++ cmake")
    folder = tmp_path_factory.mktemp("build")
    document = (REPOSITORY / "examples" / "cpp" / "README.md").read_text(encoding="utf-8")
    for command in re.findall(r"^    (cmake .*)$", document, flags=re.MULTILINE):
        here = command.replace(".venv/bin/python", sys.executable).replace("build/cpp", str(folder))
        said = run(REPOSITORY, "sh", "-c", here, expect=None)
        if "OPENCV" in said.errors:
            pytest.skip("needs OpenCV for C++: apt-get install libopencv-imgcodecs-dev")
        assert said.code == 0, said.text
    program = str(folder / "judge")
    return lambda root, *arguments, expect=0: run(root, program, *map(str, arguments), expect=expect)


@pytest.fixture(scope="module")
def exports(fitted: "Fitted", tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model in both formats. That of OpenVINO is made of the other, as its export does, which saves half the time."""
    import openvino

    folder = tmp_path_factory.mktemp("exports") / "model"
    assert main(["export", str(fitted.checkpoint), "--format", "onnx", "--output", str(folder)]) == 0
    files = {"onnx": folder / "model.onnx", "openvino": folder / "model.xml"}
    openvino.save_model(openvino.convert_model(files["onnx"]), files["openvino"], compress_to_fp16=False)
    keep_unrounded(files["openvino"])
    return files


@pytest.fixture(scope="module")
def images(folder_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of several sizes and modes."""
    folder = tmp_path_factory.mktemp("judged") / "images"
    folder.mkdir()
    good, bad = (cv2.imread(str(folder_tree / name)) for name in ("good_test/000.png", "bad/000.png"))
    deep = cv2.resize(bad, (120, 77)).astype(np.uint16) * 250 + np.arange(120, dtype=np.uint16)[:, None]
    pictures = {"good.png": good, "deep_grey.png": deep[..., 1], "deep.png": deep, "deep.tif": deep}
    for name, picture in pictures.items():
        assert cv2.imwrite(str(folder / name), picture)
    tags = Image.Exif()
    tags[ORIENTATION] = QUARTER_TURN
    Image.fromarray(cv2.resize(bad, (91, 57))[..., ::-1]).save(folder / "turned.jpg", exif=tags)
    return folder


@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_scores_and_verdicts_are_those_of_the_command(
    kind: str, judge: Judge, exports: dict[str, Path], images: Path, tmp_path: Path
) -> None:
    assert main(["predict", str(exports[kind]), str(images), "--output", str(tmp_path / "out")]) == 0
    expected = {image.file: image for image in read_scores(tmp_path / "out")}
    assert len(expected) == 5
    said = judge(tmp_path, exports[kind], *expected)
    assert said.errors == ""
    found = [LINE.fullmatch(line).groups() for line in said.output.splitlines()]
    assert [file for file, _, _ in found] == list(expected)
    for file, score, verdict in found:
        assert float(score) == pytest.approx(expected[file].score, abs=1e-4)
        assert verdict == expected[file].verdict
    assert {verdict for _, _, verdict in found} == {"normal", "anomalous"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text.xml"], "usage: judge MODEL IMAGE..."),
        (["nowhere.xml", "{image}"], "the model 'nowhere.xml' does not exist"),
        (["text.xml", "{image}"], "'text.xml' is broken or no model"),
        (["text.onnx", "{image}"], "'text.onnx' is broken or no model"),
        (["{image}", "{image}"], "good.png' is broken or no model"),
        (["{model}", "nowhere.png", "{image}"], "the image 'nowhere.png' does not exist"),
        (["{model}", "text.onnx", "{image}"], "'text.onnx' is truncated or not a readable image"),
    ],
)
def test_what_is_missing_or_broken_is_one_line(
    arguments: list[str], message: str, judge: Judge, exports: dict[str, Path], images: Path, tmp_path: Path
) -> None:
    for name in ("text.xml", "text.onnx"):
        (tmp_path / name).write_text("no model")
    given = [each.format(model=exports["openvino"], image=images / "good.png") for each in arguments]
    said = judge(tmp_path, *given, expect=2)
    assert said.errors.startswith("error: ")
    assert message in said.errors
    assert len(said.errors.splitlines()) == 1
    assert len(said.output.splitlines()) == (1 if "{model}" in arguments else 0)  # the other image is judged
