"""Training that stops in either phase and goes on; pre-trained weights that are shared between runs."""

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from anomalib_slsg import Slsg
from anomalib_slsg.pretraining.options import PretrainingOptions
from tests.support.models import NO_PRETRAINING, assert_same_weights, parameters_of, weights_of
from tests.support.training import checkpoints_of
from tests.support.watching import PretrainingSteps

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

pytestmark = pytest.mark.slow

FOUR_STEPS = PretrainingOptions(epochs=2)  # eight images, six a step


class Rates(Callback):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        self.noted: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.noted.append(trainer.optimizers[0].param_groups[0]["lr"])


def press_control_c() -> None:
    """Send what the terminal sends."""
    signal.raise_signal(signal.SIGINT)


def break_down() -> None:
    """Fail, as a full disk or a lost driver would."""
    msg = "power cut"
    raise OSError(msg)


def encoder_of(model: Slsg) -> dict[str, Tensor]:
    """The encoder's weights."""
    return weights_of(model.model.seg_net.encoder)


def trainable_encoder_of(model: Slsg) -> dict[str, Tensor]:
    """The encoder's weights without the statistics of batch norm."""
    return parameters_of(model.model.seg_net.encoder)


@pytest.fixture(scope="module")
def uninterrupted(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path_factory: Any
) -> dict[str, Tensor]:
    """The encoder of a run of four steps of pre-training that nothing interrupted."""
    model = make_model(pretraining=FOUR_STEPS)
    make_engine(tmp_path_factory.mktemp("whole"), max_steps=1).fit(model, make_folder())
    return encoder_of(model)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(
    ("action", "error", "saved_step"),
    [(press_control_c, SystemExit, 3), (break_down, OSError, 2)],
    ids=["Ctrl-C", "breakdown"],
)
def test_pre_training_goes_on_where_it_stopped(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    uninterrupted: dict[str, Tensor],
    tmp_path: Path,
    action: Callable[[], object],
    error: type[BaseException],
    saved_step: int,
) -> None:
    stopper = PretrainingSteps(3, action)
    engine = make_engine(tmp_path, max_steps=1, logger=stopper, log_every_n_steps=1)
    with pytest.raises(error):
        engine.fit(make_model(pretraining=FOUR_STEPS), make_folder())
    assert stopper.steps == [1, 2, 3]
    file = checkpoints_of(engine) / "pretraining.ckpt"
    assert [path.name for path in file.parent.iterdir()] == ["pretraining.ckpt"]

    # another seed, as in a new process: the checkpoint brings its own
    model = make_model(seed=9, pretraining=FOUR_STEPS)
    watcher = PretrainingSteps()
    resumed = make_engine(tmp_path, max_steps=1, logger=watcher, log_every_n_steps=1)
    resumed.fit(model, make_folder(), ckpt_path=file)
    assert watcher.steps == list(range(saved_step + 1, 5))
    assert_same_weights(encoder_of(model), uninterrupted)
    assert [path.name for path in checkpoints_of(resumed).iterdir()] == ["model.ckpt"]


def test_segmentation_goes_on_where_it_stopped(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    # one step is half an epoch: the run stops in the middle of one
    model, first = make_model(), make_engine(tmp_path, max_steps=1)
    first.fit(model, make_folder())
    encoder = encoder_of(model)

    rates, watcher = Rates(), PretrainingSteps()
    resumed = make_model(seed=9)
    second = make_engine(tmp_path, max_steps=4, callbacks=[rates], logger=watcher, log_every_n_steps=1)
    second.fit(resumed, make_folder(), ckpt_path=first.best_model_path)
    assert watcher.steps == []
    assert second.trainer.global_step == 4
    assert len(rates.noted) == 3
    assert_same_weights(encoder_of(resumed), encoder)


def test_rate_follows_one_cosine_when_training_is_prolonged(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    first = make_engine(tmp_path, max_steps=2)
    first.fit(make_model(pretraining=NO_PRETRAINING), make_folder())
    rates = Rates()
    second = make_engine(tmp_path, max_steps=4, callbacks=[rates])
    second.fit(make_model(pretraining=NO_PRETRAINING), make_folder(), ckpt_path=first.best_model_path)
    assert rates.noted[-1] == pytest.approx(0.04 * (1 + math.cos(math.pi * 3 / 4)) / 2)
    assert second.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_finished_pre_training_is_shared(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "shared" / "gpt_net.pt"
    options = PretrainingOptions(epochs=1, checkpoint=str(file))
    first, second = make_model(pretraining=options), make_model(seed=9, pretraining=options)
    before = trainable_encoder_of(first)
    make_engine(tmp_path, max_steps=1).fit(first, make_folder())
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    content = torch.load(file, weights_only=True)
    assert content["options"]["model.backbone"] == "test_efficientnet"
    written = file.stat().st_mtime_ns

    watcher = PretrainingSteps()
    with caplog.at_level("INFO", logger="anomalib_slsg"):
        make_engine(tmp_path, max_steps=1, logger=watcher, log_every_n_steps=1).fit(second, make_folder())
    assert f"Pre-training skipped: encoder loaded from {file}" in caplog.text
    assert watcher.steps == []
    assert file.stat().st_mtime_ns == written
    assert_same_weights(encoder_of(second), encoder_of(first))
    assert any(not torch.equal(tensor, before[name]) for name, tensor in trainable_encoder_of(first).items())


def test_no_epochs_turn_pre_training_off(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    model, watcher = make_model(pretraining=NO_PRETRAINING), PretrainingSteps()
    before = trainable_encoder_of(model)
    engine = make_engine(tmp_path, max_steps=1, logger=watcher, log_every_n_steps=1)
    engine.fit(model, make_folder())
    assert watcher.steps == []
    assert not (Path(engine.trainer.default_root_dir) / "images").exists()
    for name, tensor in trainable_encoder_of(model).items():
        assert torch.equal(tensor, before[name]), name
