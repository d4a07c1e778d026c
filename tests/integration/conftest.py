"""Tiny models, engines and runs of the real command line."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from anomalib.cli import AnomalibCLI
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.engine import Engine
from anomalib.visualization.image import item_visualizer, visualizer

from anomalib_slsg import Slsg
from anomalib_slsg.data.reading import ANOMALIB_READERS, read_deep_images
from tests.support.commands import CommandOutput, run_anomalib
from tests.support.models import tiny_slsg
from tests.support.training import checkpoints_of, drawn_parts, quiet_engine

MakeModel = Callable[..., Slsg]
MakeEngine = Callable[..., Engine]
MakeFolder = Callable[..., Folder]


RunCommand = Callable[..., CommandOutput]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks run faster on one thread, and always in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def plain_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """anomalib's own readers, whatever an earlier test has replaced; they come back as they were."""
    for name in ANOMALIB_READERS:
        monkeypatch.setattr(importlib.import_module(name), "read_image", read_image)
    monkeypatch.setattr(visualizer, "visualize_image_item", item_visualizer.visualize_image_item)


@pytest.fixture
def deep_reading(plain_reading: None) -> None:
    """What a user gets who calls ``read_deep_images``, for one test."""
    del plain_reading  # which is undone afterwards, and this with it
    read_deep_images()


@pytest.fixture(scope="session")
def run_command() -> RunCommand:
    """Run ``anomalib`` as users do, in a process of its own."""
    return run_anomalib


@pytest.fixture(scope="session")
def model_arguments() -> list[str]:
    """Command line of a tiny model, some of whose options are not the defaults."""
    return [
        *("--model", "anomalib_slsg.Slsg"),
        *("--model.backbone", "test_resnet"),
        *("--model.encoder_weights", "null"),
        *("--model.image_size", "[32,32]"),
        *("--model.normality", "{backbone: test_resnet, encoder_weights: null}"),
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
    return tiny_slsg


@pytest.fixture(scope="session")
def make_engine() -> MakeEngine:
    """Make an engine that is quiet and runs on the CPU; the arguments are those of the trainer."""
    return quiet_engine


@pytest.fixture(scope="session")
def make_folder(folder_tree: Path) -> MakeFolder:
    """Make the data module of the drawn folder; arguments replace those of ``Folder``."""
    return lambda **arguments: drawn_parts(**{"root": folder_tree, **arguments})


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
        return checkpoints_of(self.engine) / "model.ckpt"


@pytest.fixture(scope="session")
def fitted(
    make_model: MakeModel, make_engine: MakeEngine, make_folder: MakeFolder, tmp_path_factory: pytest.TempPathFactory
) -> Fitted:
    """Two steps of pre-training and two of segmentation."""
    model, datamodule = make_model(), make_folder()
    engine = make_engine(tmp_path_factory.mktemp("fitted"), max_steps=2)
    engine.fit(model, datamodule)
    return Fitted(model, engine, datamodule)
