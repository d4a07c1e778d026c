"""What stops a training, what it leaves then, and how it goes on."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.cli import AnomalibCLI
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.training import run_watch
from anomalib_slsg.training.optimizer import OptimizerOptions
from tests.support.commands import ENVIRONMENT, TIMEOUT_SECONDS
from tests.support.models import NO_NORMALITY, NO_PRETRAINING, weights_of
from tests.support.training import checkpoints_of, quiet_trainer

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

SHORT: dict[str, Any] = {"pretraining": NO_PRETRAINING, "normality": NO_NORMALITY}


class Signals(Callback):
    """Sends a signal within a step, and notes the files that lie beside the checkpoints after each."""

    def __init__(self, number: int | None = None, step: int = 2, times: int = 1) -> None:
        self.number, self.step, self.times = number, step, times
        self.files: list[set[str]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self.number is not None and trainer.global_step == self.step:
            for _ in range(self.times):
                signal.raise_signal(self.number)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.files.append({path.name for path in Path(trainer.checkpoint_callback.dirpath).glob("*")})


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("step", [1, 3, 4], ids=["within an epoch", "at its end", "at the end of the training"])
@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGINT, SystemExit, 1), (signal.SIGTERM, SIGTERMException, 143)]
)
def test_a_signal_stops_after_the_step_and_nothing_is_lost(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    number: int,
    error: type[BaseException],
    code: int,
    step: int,
) -> None:
    """Epochs of two steps, and five steps in all; the step with the signal is trained."""

    def fit(seed: int, checkpoint: Path | None = None, *callbacks: Callback) -> tuple[dict[str, Tensor], Path]:
        model = make_model(seed=seed, **SHORT)
        limits = {"max_steps": 5, "limit_train_batches": 2}
        engine = make_engine(tmp_path, logger=False, callbacks=list(callbacks), **limits)
        try:
            engine.fit(model, datamodule=make_folder(train_batch_size=3), ckpt_path=checkpoint)
        finally:
            folders.append(checkpoints_of(engine))
        return weights_of(model.model), folders[-1]

    folders: list[Path] = []
    expected, _ = fit(1)
    with pytest.raises(error) as stopped:
        fit(1, None, Signals(number, step))
    assert stopped.value.code == code  # type: ignore[attr-defined]
    (file,) = (path for path in folders[-1].iterdir() if path.suffix == ".ckpt" and (step == 4 or path.stem != "model"))
    assert file.name == ("model.ckpt" if step == 4 else "training.ckpt")
    assert f"It goes on with: engine.fit(model, datamodule=datamodule, ckpt_path={str(file)!r})" in caplog.text
    assert torch.load(file, weights_only=True)["global_step"] == step + 1
    if step < 4:
        (file.parent / ".training.123.ckpt").touch()  # what a process leaves that is killed while it writes
        weights, folder = fit(9, file)
        assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
        assert [path.name for path in folder.glob("*.ckpt")] == ["model.ckpt"]
        assert {path.name for path in file.parent.iterdir()} <= {"model.ckpt"}


@pytest.mark.usefixtures("_interruptible")
def test_a_second_control_c_stops_at_once(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, logger=False, max_steps=5, callbacks=[Signals(signal.SIGINT, times=2)])
    with pytest.raises(SystemExit):
        engine.fit(make_model(**SHORT), datamodule=make_folder())
    assert engine.trainer.global_step == 2
    assert list(checkpoints_of(engine).glob("*.ckpt")) == []


def test_the_state_is_saved_now_and_then_until_the_model_is(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_watch, "SAVE_SECONDS", -1)
    watcher = Signals()
    engine = make_engine(tmp_path, logger=False, max_steps=3, callbacks=[watcher])
    engine.fit(make_model(normality=NO_NORMALITY), datamodule=make_folder())
    assert watcher.files == [{"pretraining.ckpt"}, {"training.ckpt"}, {"training.ckpt"}]
    assert [path.name for path in checkpoints_of(engine).glob("*.ckpt")] == ["model.ckpt"]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_diverged_training_ends(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, accumulated: int
) -> None:
    model = make_model(optimizer=OptimizerOptions(learning_rate=1e9), **SHORT)
    limits = {"max_steps": 40, "limit_train_batches": 1, "accumulate_grad_batches": accumulated}
    engine = make_engine(tmp_path, logger=False, **limits)
    with pytest.raises(FloatingPointError, match=r"the training has diverged.* lower model\.optimizer\.learning_rate"):
        engine.fit(model, datamodule=make_folder())
    for file in checkpoints_of(engine).glob("*.ckpt"):
        weights = torch.load(file, weights_only=True)["state_dict"]
        assert all(bool(weights[name].isfinite().all()) for name in weights if name.startswith("model.")), file


def test_a_diverged_pre_training_ends(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    options = PretrainingOptions(generator_learning_rate=1e30, epochs=20)
    engine = make_engine(tmp_path, logger=False, max_steps=1)
    with pytest.raises(FloatingPointError, match=r"model\.pretraining\.generator_learning_rate"):
        engine.fit(make_model(pretraining=options, normality=NO_NORMALITY), datamodule=make_folder())


def test_a_monitor_that_nothing_logs_is_refused_before_anything_is_trained(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, logger=False, max_steps=1, callbacks=[EarlyStopping("image_AUROC")])
    with pytest.raises(ValueError, match=r"EarlyStopping: nothing logs monitor='image_AUROC'.* train_loss, "):
        engine.fit(make_model(), datamodule=make_folder())
    assert engine.trainer.global_step == 0


@pytest.mark.slow
def test_the_command_line_stops_with_143_and_says_how_to_go_on(
    model_arguments: list[str], folder_arguments: list[str], parse_command: Callable[..., AnomalibCLI], tmp_path: Path
) -> None:
    limits = ["--trainer.max_steps", "2000", "--trainer.accelerator", "cpu"]
    program = str(Path(sys.executable).parent / "anomalib")
    process = subprocess.Popen(
        [program, "train", *model_arguments, *folder_arguments, *limits],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    weights, deadline = tmp_path / "results" / "Slsg" / "parts" / "v0" / "weights" / "lightning", time.time() + 120
    while not list(weights.glob("model*.ckpt")) and process.poll() is None and time.time() < deadline:
        time.sleep(0.2)
    process.terminate()
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 143, output
    command = next(line for line in output.splitlines() if "It goes on with: " in line).split("It goes on with: ")[1]
    program, *arguments = shlex.split(command)
    assert program == "anomalib"
    file = Path(arguments[-1])
    assert file == weights / "training.ckpt"
    step = torch.load(file, weights_only=True)["global_step"]
    parse_command(*arguments, "--trainer.max_steps", str(step + 2))
    assert (tmp_path / "results" / "Slsg" / "parts" / "latest" / "weights" / "lightning" / "model.ckpt").exists()
    assert not file.exists()


def test_the_state_stays_where_nothing_else_was_written(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_watch, "SAVE_SECONDS", -1)
    seldom = ModelCheckpoint(dirpath=tmp_path / "weights", every_n_epochs=100)
    engine = make_engine(tmp_path, max_steps=3, logger=False, callbacks=[seldom])
    engine.fit(make_model(**SHORT), datamodule=make_folder(train_batch_size=2))
    assert [path.name for path in (tmp_path / "weights").glob("*.ckpt")] == ["training.ckpt"]


def test_handlers_of_a_program_around_python_are_left_alone(
    make_model: "MakeModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "getsignal", {}.get)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        run_watch.RunWatch().on_train_start(quiet_trainer(), make_model(**SHORT))
        assert signal.signal(signal.SIGTERM, before) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
