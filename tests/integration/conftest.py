"""Tiny models, engines and runs of the real command line."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.cli import AnomalibCLI
from anomalib.data import Folder
from anomalib.engine import Engine
from lightning.pytorch import seed_everything

from anomalib_slsg import Slsg
from anomalib_slsg.pretraining.options import PretrainingOptions

TIMEOUT_SECONDS = 300
METRIC_ROW = re.compile(r"│\s*((?:image|pixel)_\w+)\s*│\s*([-+.\deinfa]+)\s*│")
TINY_MODEL = {
    "backbone": "test_efficientnet",
    "encoder_weights": None,
    "image_size": (32, 32),
    "visualizer": False,
}

MakeModel = Callable[..., Slsg]
MakeEngine = Callable[..., Engine]
MakeFolder = Callable[..., Folder]


@dataclass(frozen=True)
class CommandOutput:
    """What a run of the command line left."""

    code: int
    text: str
    root: Path

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the printed table."""
        return {name: float(value) for name, value in METRIC_ROW.findall(self.text)}

    @property
    def sentence(self) -> str:
        """The text without line breaks and repeated spaces, for searching."""
        return " ".join(self.text.split())


RunCommand = Callable[..., CommandOutput]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks run faster on one thread, and always in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def run_command() -> RunCommand:
    """Run ``anomalib`` as users do, in a process of its own."""
    executable = Path(sys.executable).parent / "anomalib"

    def run(root: Path, *arguments: str, expect: int | None = 0, **environment: str) -> CommandOutput:
        # wide enough that no message is broken over two lines; on the processor, as the models in this process
        settings = {"COLUMNS": "1000", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        finished = subprocess.run(
            [str(executable), *arguments],
            cwd=root,
            env={**os.environ, **settings, **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        text = finished.stdout + finished.stderr
        assert expect is None or finished.returncode == expect, text
        return CommandOutput(finished.returncode, text, root)

    return run


@pytest.fixture(scope="session")
def model_arguments() -> list[str]:
    """Command line of a tiny model, some of whose options are not the defaults."""
    return [
        *("--model", "anomalib_slsg.Slsg"),
        *("--model.backbone", "test_resnet"),
        *("--model.encoder_weights", "null"),
        *("--model.image_size", "[32,32]"),
        *("--model.pretraining.epochs", "1"),
        *("--model.pretraining.mask_ratio", "0.6"),
        *("--model.simulation.grid_cells", "4"),
    ]


@pytest.fixture(scope="session")
def folder_arguments(folder_tree: Path) -> list[str]:
    """Command line of the drawn folder."""
    return [
        *("--data", "anomalib.data.Folder"),
        *("--data.name", "parts"),
        *("--data.root", str(folder_tree)),
        *("--data.normal_dir", "good"),
        *("--data.normal_test_dir", "good_test"),
        *("--data.abnormal_dir", "bad"),
        *("--data.mask_dir", "mask"),
        *("--data.val_split_mode", "same_as_test"),
        *("--data.num_workers", "0"),
    ]


@pytest.fixture(scope="session")
def trained(
    run_command: RunCommand,
    model_arguments: list[str],
    folder_arguments: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> CommandOutput:
    """One ``anomalib train`` with a TensorBoard and a CSV logger, whose files serve many tests."""
    root = tmp_path_factory.mktemp("trained")
    loggers = [
        *("--trainer.logger+=lightning.pytorch.loggers.TensorBoardLogger", "--trainer.logger.save_dir=tensorboard"),
        *("--trainer.logger+=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=csv"),
    ]
    limits = ["--trainer.max_steps", "2", "--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu"]
    return run_command(root, "train", *model_arguments, *folder_arguments, *limits, *loggers)


@pytest.fixture(scope="session")
def trained_folder(trained: CommandOutput) -> Path:
    """Folder of the trained run's results."""
    return trained.root / "results" / "Slsg" / "parts" / "v0"


@pytest.fixture(scope="session")
def trained_checkpoint(trained_folder: Path) -> Path:
    """Checkpoint of the trained run."""
    return trained_folder / "weights" / "lightning" / "model.ckpt"


@pytest.fixture
def parse_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., AnomalibCLI]:
    """Run the command line inside this process, where starting another one would show nothing more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    return lambda *arguments: AnomalibCLI(args=list(arguments))


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Make a tiny model; the arguments are those of ``Slsg``, and ``seed`` for its random weights."""

    def make(seed: int = 1, **options: Any) -> Slsg:
        seed_everything(seed, verbose=False)
        defaults = {**TINY_MODEL, "pretraining": PretrainingOptions(epochs=1)}
        if "pre_processor" in options:
            defaults.pop("image_size")
        return Slsg(**{**defaults, **options})

    return make


@pytest.fixture(scope="session")
def make_engine() -> MakeEngine:
    """Make an engine that is quiet and runs on the CPU; the arguments are those of the trainer."""

    def make(root: Path, **arguments: Any) -> Engine:
        quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
        return Engine(default_root_dir=root, **{**quiet, **arguments})

    return make


@pytest.fixture(scope="session")
def make_folder(folder_tree: Path) -> MakeFolder:
    """Make the data module of the drawn folder; arguments replace those of ``Folder``."""

    def make(**arguments: Any) -> Folder:
        defaults: dict[str, Any] = {
            "name": "parts",
            "root": folder_tree,
            "normal_dir": "good",
            "normal_test_dir": "good_test",
            "abnormal_dir": "bad",
            "mask_dir": "mask",
            "val_split_mode": "same_as_test",
            "num_workers": 0,
        }
        return Folder(**{**defaults, **arguments})

    return make


@dataclass(frozen=True)
class Fitted:
    """A model fitted from Python on the drawn folder, without a logger."""

    model: Slsg
    engine: Engine
    datamodule: Folder

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return Path(self.engine.trainer.default_root_dir)

    @property
    def checkpoint(self) -> Path:
        """The model's checkpoint."""
        return self.folder / "weights" / "lightning" / "model.ckpt"


@pytest.fixture(scope="session")
def fitted(
    make_model: MakeModel, make_engine: MakeEngine, make_folder: MakeFolder, tmp_path_factory: pytest.TempPathFactory
) -> Fitted:
    """Two steps of pre-training and two of segmentation; with distances, whatever they may tell of tiny images."""
    model, datamodule = make_model(feature_distance=True), make_folder()
    engine = make_engine(tmp_path_factory.mktemp("fitted"), max_steps=2)
    engine.fit(model, datamodule)
    return Fitted(model, engine, datamodule)
