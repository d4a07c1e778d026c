"""The command ``slsg``, inside this process where possible."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from signal import SIGINT, raise_signal
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from anomalib.deploy import OpenVINOInferencer
from anomalib.engine import Engine

from anomalib_slsg import Slsg
from anomalib_slsg.cli.main import main
from anomalib_slsg.cli.run_progress import RunProgress
from anomalib_slsg.cli.train import SCHEDULES
from anomalib_slsg.data.training_images import kept_for_calibration
from anomalib_slsg.report.judged import read_scores
from anomalib_slsg.report.training_images import read_training_images
from tests.support.reports import write_judged_folder
from tests.support.trees import copy_images

# the command replaces anomalib's readers for its whole process, which later tests are to have again
pytestmark = pytest.mark.usefixtures("plain_reading")

TINY = [
    *("--image_size", "32", "--model.backbone", "test_efficientnet", "--model.encoder_weights", "null"),
    *("--model.normality.backbone", "test_efficientnet", "--model.normality.encoder_weights", "null"),
]

DIVERGING = [
    *("--model.pretraining.epochs", "0", "--model.optimizer.iterations", "9"),
    *("--model.optimizer.learning_rate", "1e30"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_are_those_of_the_engine(
    fitted: object, folder_tree: Path, folder: Path, make_engine: Callable[..., Engine]
) -> None:
    checkpoint = fitted.checkpoint
    assert run("predict", checkpoint, folder_tree / "bad", folder_tree / "good_test", "--output", "out") == 0
    judged = {image.file: image for image in read_scores(folder / "out")}
    model = Slsg.load_from_checkpoint(checkpoint, visualizer=False)
    for name in ("bad", "good_test"):
        for batch in make_engine(folder / "engine").predict(model, data_path=folder_tree / name):
            for path, score, anomaly_map in zip(batch.image_path, batch.pred_score, batch.anomaly_map):
                image = judged.pop(str(path))
                assert image.score == pytest.approx(score.item(), abs=1e-4)
                assert image.folder == name
                assert {"places", "whole", "composition", "SegNet"} == set(image.opinions)
                written = cv2.imread(str(folder / "out" / image.heat_map), cv2.IMREAD_GRAYSCALE)
                assert np.abs(written / 255 - anomaly_map.squeeze().numpy()).max() < 1 / 255
                assert (folder / "out" / "heat_maps" / name / Path(path).name).is_file()
    assert not judged


def test_a_broken_image_is_told_and_the_others_are_judged(
    fitted: object, folder_tree: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder / "new" / "line A"
    images.mkdir(parents=True)
    photograph = cv2.imread(str(folder_tree / "bad" / "000.png"))
    cv2.imwrite(str(images / "odd.jpg"), cv2.resize(photograph, (91, 57)))
    (images / "cut.png").write_bytes((folder_tree / "bad" / "000.png").read_bytes()[:99])
    new = f"../{folder.name}/new"  # which must not lead results out of their folder
    assert run("predict", fitted.checkpoint, new) == 2
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 2
    assert "cut.png" in output
    assert [row["file"] for row in rows_of(folder / "results" / "new")] == [f"{new}/line A/odd.jpg"]
    assert cv2.imread(str(folder / "results" / "new" / "heat_maps" / "line A" / "odd.jpg.png")).shape == (57, 91, 3)


def test_anomalies_fail_where_that_is_asked_for_and_nothing_is_overwritten(
    fitted: object, folder_tree: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = folder_tree / "bad" / "000.png"
    codes = [run("predict", fitted.checkpoint, image, "--fail_on_anomaly", "--output", "out") for _ in range(2)]
    anomalous = rows_of(folder / "out")[0]["verdict"] == "anomalous"
    assert codes == [3 if anomalous else 0] * 2
    assert "'out' exists already, so the results go to 'out_2'" in capsys.readouterr().out
    assert len(rows_of(folder / "out_2")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "the folder 'nowhere' does not exist"),
        (["train", "empty"], "'empty' has no images"),
        (["train", "single"], "'single' has a single image ('000.png')"),
        (["train", "pair"], "'pair' has two images ('000.png' and '001.png'), at least two are needed and a third to"),
        (["train", "untested"], "'untested/test' has no images"),
        (["train", "unnamed"], "none is called 'good'"),
        (["train", "broken", "--minutes", "0", *TINY], "broken/good/cut.png"),
        (["train", "single", "--false_alarm_rate", "0.7"], "--false_alarm_rate must lie in (0, 0.5]"),
        (["train", "unnamed/line A", *DIVERGING, *TINY], "the training has diverged"),
        (["train", "broken", "--minutes", "-1"], "--minutes must lie in [0, inf)"),
        (["train", "broken", "--minutes", "9", "--schedule", "short"], "--minutes and --schedule contradict"),
        (["train", "broken", "--minutes", "9", "--model.optimizer.iterations", "3500"], "contradict each other"),
        (["train", "broken", "--image_size", "33"], "multiple"),
        (["train", "unnamed/line A", "--ckpt_path", "text.ckpt"], "'text.ckpt' is not what a stopped 'slsg train' has"),
        (["export", "{image}", "--format", "onnx"], "is no checkpoint"),
        (["export", "{model}", "--format", "onnx", "--int8"], "--int8 is for --format openvino only"),
        (["export", "{model}", "--format", "openvino", "--int8"], "--int8 and --calibrate belong together"),
        (["predict", "{model}", "empty"], "no images in 'empty'"),
        (["predict", "{model}", "nowhere"], "'nowhere' does not exist"),
        (["predict", "nowhere.ckpt", "{image}"], "the model 'nowhere.ckpt' does not exist"),
        (["predict", "{image}", "{image}"], "is no model; give a checkpoint"),
        (["predict", "text.ckpt", "{image}"], "text.ckpt"),
        (["predict", "text.onnx", "{image}"], "text.onnx"),
        (["predict", "text.xml", "{image}"], "'text.xml' is broken, or no model"),
        (["predict", "text.pt", "{image}"], "TRUST_REMOTE_CODE=1"),
        (["predict", "{model}", "{image}", "--output", "text.pt/out"], "nothing can be written to 'text.pt/out'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    fitted: object,
    folder_tree: Path,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (folder / "empty").mkdir()
    for name in ("text.ckpt", "text.onnx", "text.xml", "text.pt"):
        (folder / name).write_text("no model")
    image = folder_tree / "bad" / "000.png"
    copy_images(folder_tree / "bad", folder / "single", ["000.png"])
    copy_images(folder_tree / "bad", folder / "pair", ["000.png", "001.png"])
    copy_images(folder_tree / "bad", folder / "untested" / "train" / "good")
    (folder / "untested" / "test").mkdir()
    copy_images(folder_tree / "bad", folder / "unnamed" / "line A")
    copy_images(folder_tree / "good", folder / "broken" / "good")
    (folder / "broken" / "good" / "cut.png").write_bytes(image.read_bytes()[:999])
    capfd.readouterr()
    assert run(*(each.format(model=fitted.checkpoint, image=image) for each in arguments)) == 2
    errors = capfd.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not any(folder.glob("results/*"))


def test_normality_alone_is_trained_from_good_and_bad_folders(
    folder_tree: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind in ("good", "bad"):
        copy_images(folder_tree / kind, folder / "parts" / kind)
    for index, image in enumerate(sorted((folder_tree / "good_test").iterdir())):
        shutil.copy(image, folder / "parts" / "good" / f"more_{index}.png")
    (folder / "results" / "parts").mkdir(parents=True)
    (folder / "results" / "parts" / "own.txt").touch()
    assert run("train", "parts", "--minutes", "0", *TINY) == 0
    output, errors = capfd.readouterr()
    assert errors == ""
    assert len(output.splitlines()) <= 40
    results = folder / "results" / "parts_2"
    assert "the results go to 'results/parts_2'" in output
    assert "Next: slsg predict results/parts_2/model.ckpt" in output
    assert {each.name for each in results.iterdir()} == {
        *("model.ckpt", "scores.csv", "scores.jsonl", "run.json", "report.html", "maps", "heat_maps"),
        *("calibration.json", "training_images.jsonl", "normal_images.npz"),
    }
    images = read_scores(results)
    bad = [image for image in images if image.anomalous]
    assert sorted(Path(image.file).name for image in bad) == [f"{number:03d}.png" for number in range(4)]
    assert len(images) - len(bad) == 2  # a fifth of twelve
    assert f"{sum(image.verdict == 'anomalous' for image in bad)} of 4 bad images found" in output
    training = {Path(photograph.file): photograph.score for photograph in read_training_images(results)}
    tested = {Path(image.file).absolute() for image in images}
    assert training.keys() == set((folder / "parts" / "good").iterdir()) - tested
    assert all(score is not None and 0 < score < 1 for score in training.values())
    assert max(training.values()) == pytest.approx(0.5, abs=1e-6)  # the threshold
    (kept,) = [list(training)[index] for index in kept_for_calibration(10)]
    assert "the 10 training images" in (results / "report.html").read_text()
    nearest = {Path(image.file).name: image.nearest for image in images if image.nearest is not None}
    assert len(nearest) == sum(image.verdict == "anomalous" for image in images) > 0
    assert set(map(Path, nearest.values())) <= training.keys()
    assert all("SegNet" not in image.opinions for image in images)
    assert run("predict", results / "model.ckpt", *{image.file for image in images}, kept, "--output", "again") == 0
    again = {image.file: image.score for image in read_scores(folder / "again")}
    assert again.pop(str(kept)) == pytest.approx(training[kept], abs=1e-3)
    assert again == pytest.approx({image.file: image.score for image in images}, abs=1e-4)
    alarms = [image for image in read_scores(folder / "again") if image.nearest is not None and image.file != str(kept)]
    assert {Path(image.file).name: image.nearest for image in alarms} == nearest
    assert run("report", "again") == 0
    assert "The report is 'again/report.html'." in capfd.readouterr().out
    assert json.loads((results / "run.json").read_text())["options"]["optimizer"]["iterations"] == 0


@pytest.mark.slow
def test_training_ends_in_time(
    mvtec_ad_tree: Path, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalib_slsg.cli.budget.LEAST_ITERATIONS", 10)  # the machine may be busy
    start = time.monotonic()
    assert run("train", mvtec_ad_tree / "part", "--minutes", "0.5", "--output", "out", *TINY) == 0
    assert time.monotonic() - start < 30 * 1.1
    output = capfd.readouterr().out
    assert "MVTec AD" in output
    assert int(re.search(r"trained for (\d+) iterations", output)[1]) >= 10
    images = read_scores(folder / "out")
    assert sum(not image.anomalous for image in images) == 3
    assert all("SegNet" in image.opinions for image in images)


def test_where_there_is_no_time_normality_judges_alone(
    folder_tree: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("train", folder_tree / "good", "--minutes", "0.01", "--output", "out", *TINY) == 0
    assert "no time for SegNet" in capfd.readouterr().out
    (image,) = read_scores(folder / "out")
    assert "SegNet" not in image.opinions
    assert "places" in image.opinions


def test_where_nothing_else_judges_segnet_gets_the_least_of_time(
    folder_tree: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalib_slsg.cli.budget.LEAST_ITERATIONS", 7)
    alone = ("--model.normality.measures", "[]")
    assert run("train", folder_tree / "good", "--minutes", "0.01", "--output", "out", *alone, *TINY) == 0
    (image,) = read_scores(folder / "out")
    assert image.opinions.keys() == {"SegNet"}


def test_three_images_are_enough_and_promise_nothing(
    folder_tree: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy_images(folder_tree / "good", folder / "few", ["000.png", "001.png", "002.png"])
    assert run("train", "few", "--minutes", "0", *TINY) == 0
    output = capfd.readouterr().out
    assert "2 good images to learn from, 1 good and 0 bad ones to test with" in output
    assert "so no rate of false alarms is promised: 5.0% takes 19 training images." in output
    assert len(read_scores(folder / "results" / "few")) == 1


def test_the_users_own_options_win(mvtec_loco_tree: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = ("--model.pretraining.epochs", "1", "--model.optimizer.iterations", "2")
    own += ("--model.calibration.false_alarm_rate", "0.05", "--false_alarm_rate", "0.2")  # which 0.05 is by default
    assert run("train", mvtec_loco_tree / "part", "--schedule", "paper", "--output", "out", *own, *TINY) == 0
    output = capfd.readouterr().out
    assert "MVTec LOCO" in output
    assert "for 1 epochs of pre-training and then 2 iterations" in output
    images = read_scores(folder / "out")
    assert sum(not image.anomalous for image in images) == 3
    assert all("SegNet" in image.opinions for image in images)
    hyper_parameters = torch.load(folder / "out" / "model.ckpt", weights_only=True)["hyper_parameters"]
    assert hyper_parameters["seed"] == 0
    assert hyper_parameters["calibration"]["false_alarm_rate"] == 0.05


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("by_time", [False, True])
def test_a_stopped_training_goes_on_with_the_command_that_it_says(
    by_time: bool, folder_tree: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEDULES, "paper", (0, 8))
    monkeypatch.setattr("anomalib_slsg.cli.budget.LEAST_ITERATIONS", 1)
    length = ("--minutes", "10") if by_time else ("--schedule", "paper")
    arguments = ["train", str(folder_tree / "good"), *TINY, *length]
    assert run(*arguments, "--output", "whole") == 0
    arguments += ["--output", "out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/usr/bin/slsg", *arguments])
        iterations = count(1)
        patch.setattr(
            RunProgress, "on_train_batch_end", lambda *_: raise_signal(SIGINT) if next(iterations) == 6 else None
        )
        with pytest.raises(SystemExit):
            run(*arguments)
    stopping, going_on = capsys.readouterr().err.splitlines()
    assert stopping == "Stopping after this step."
    program, *command = shlex.split(going_on.removeprefix("Stopped. It goes on with: "))
    assert program == "slsg"
    assert run(*command) == 0
    assert not by_time or "SegNet was trained for 8 iterations." in capsys.readouterr().out
    assert {each.name for each in (folder / "out").iterdir()} == {each.name for each in (folder / "whole").iterdir()}
    weights = [torch.load(folder / name / "model.ckpt", weights_only=True)["state_dict"] for name in ("out", "whole")]
    torch.testing.assert_close(*weights, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("_interruptible")
def test_a_training_that_is_stopped_at_once_leaves_nothing(
    folder_tree: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunProgress, "setup", lambda *_, **__: raise_signal(SIGINT))
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run("train", folder_tree / "good", "--output", "out", *TINY)
    assert capsys.readouterr().err == "Stopped before there was anything to save.\n"
    assert not (folder / "out").exists()


def test_the_machine_is_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    output = capsys.readouterr().out
    for word in ("Python 3.", "anomalib 2.", "Devices: ", "bfloat16: ", "GB", "tf_efficientnet_lite0: found"):
        assert word in output
    assert "Self test: a tiny model was fitted" in output
    assert not any(folder.iterdir())


def test_other_commands_are_passed_on(folder_tree: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("preview", "--images", folder_tree / "good", "--output", "sheet.png", "--size", "32", "--count", "1") == 0
    )
    assert (folder / "sheet.png").is_file()
    with pytest.raises(SystemExit) as ended:
        run("evaluate", "--dataset", "nowhere", "--category", "part", "--anomaly_maps", "nowhere")
    assert ended.value.code == 2
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--help")
    output = capsys.readouterr().out
    assert all(name in output for name in ("train", "predict", "export", "evaluate", "preview", "doctor"))


@pytest.mark.slow
def test_exports_judge_as_the_checkpoint_does(
    fitted: object, folder_tree: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUST_REMOTE_CODE", "1")

    def judged(model: Path, output: str) -> dict[str, Any]:
        assert run("predict", model, folder_tree / "bad", "--output", output) == 0
        return {Path(image.file).name: image for image in read_scores(folder / output)}

    one = judged(fitted.checkpoint, "one")
    for kind, suffix in (("onnx", "onnx"), ("torch", "pt"), ("openvino", "xml")):
        assert run("export", fitted.checkpoint, "--format", kind, "--output", kind) == 0
        (exported,) = (file for file in (folder / kind).iterdir() if file.suffix in {".xml", ".onnx", ".pt"})
        assert exported.suffix == f".{suffix}"
        other = judged(exported, f"other_{kind}")
        assert one.keys() == other.keys()
        for name, image in one.items():
            assert other[name].score == pytest.approx(image.score, abs=2e-2), kind  # bfloat16 may round SegNet
            assert other[name].verdict == image.verdict, kind
            assert other[name].model != image.model
    inferencer = OpenVINOInferencer(exported, device="CPU")  # the last one
    for image in other.values():
        assert image.score == pytest.approx(inferencer.predict(image.file).pred_score.item(), abs=1e-4)


@pytest.mark.slow
def test_exports_of_8_bits_judge_nearly_as_the_checkpoint_does(
    fitted: object, folder_tree: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = folder_tree / "good"
    capfd.readouterr()
    assert (
        run("export", fitted.checkpoint, "--format", "openvino", "--int8", "--calibrate", images, "--output", "x") == 0
    )
    said = capfd.readouterr()
    assert len(said.out.splitlines()) == 2  # where the model is, and what to type next
    assert all("100%" in line for line in said.err.splitlines())  # nncf's two bars
    for model, output in ((fitted.checkpoint, "one"), ("x/model.xml", "other")):
        assert run("predict", model, images, "--output", output) == 0
    for one, other in zip(read_scores(folder / "one"), read_scores(folder / "other"), strict=True):
        assert other.score == pytest.approx(one.score, abs=3e-2)


def test_the_command_says_where_the_report_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_judged_folder(tmp_path, good=1, bad=0, unknown=0)
    assert main(["report", str(tmp_path)]) == 0
    assert re.search(r"report\.html'\.$", capsys.readouterr().out.strip())
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "has no scores.jsonl" in capsys.readouterr().err


def test_threads_that_wait_leave_the_processor_to_others() -> None:
    """OpenMP reads its variables when torch is imported, so the command's own modules must not do that."""
    program = (
        "import os, sys, anomalib_slsg.cli.main as command\n"
        "assert 'torch' not in sys.modules\n"
        "command.quiet = lambda: sys.exit(os.environ['OMP_WAIT_POLICY'])\n"
        "command.main(['doctor'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stderr.strip() == "PASSIVE"
