"""Trainers, engines and data modules that are quiet and use one core."""

from pathlib import Path
from typing import Any

from anomalib.data import Folder, MVTecLOCO
from anomalib.engine import Engine
from lightning.pytorch import Trainer


def quiet_trainer(**arguments: Any) -> Trainer:
    """Make a trainer that shows, logs and saves nothing; the arguments are those of ``Trainer``, and win."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(**{"accelerator": "cpu", **quiet, **arguments})


def quiet_engine(root: Path, **arguments: Any) -> Engine:
    """Make an engine that is quiet and runs on the CPU; the arguments are those of the trainer, and win."""
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    return Engine(default_root_dir=root, **{**quiet, **arguments})


def drawn_parts(root: Path, **arguments: Any) -> Folder:
    """Make the data module of a drawn folder; the arguments are those of ``Folder``, and win."""
    defaults: dict[str, Any] = {
        "name": "parts",
        "root": root,
        "normal_dir": "good",
        "normal_test_dir": "good_test",
        "abnormal_dir": "bad",
        "mask_dir": "mask",
        "val_split_mode": "same_as_test",
        "num_workers": 0,
    }
    return Folder(**{**defaults, **arguments})


def drawn_loco(root: Path) -> MVTecLOCO:
    """Make the data module of a drawn tree of MVTec LOCO's format."""
    return MVTecLOCO(root=root, category="part", num_workers=0)


def checkpoints_of(engine: Engine) -> Path:
    """Folder of an engine's checkpoints, after a fit."""
    return Path(engine.trainer.default_root_dir) / "weights" / "lightning"
