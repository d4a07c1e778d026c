"""Files of checkpoints: whole or absent, and named where they are missing; the link to the latest run."""

import os
import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from anomalib_slsg.training.checkpoint_io import AtomicCheckpointIO
from anomalib_slsg.training.run_folder import update_latest
from tests.support.models import NO_NORMALITY, NO_PRETRAINING
from tests.support.training import checkpoints_of

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

SHORT: dict[str, Any] = {"pretraining": NO_PRETRAINING, "normality": NO_NORMALITY}


def test_the_temporary_folder_is_not_needed(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lightning writes there first, and has to copy where it lies on another disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no room"))
    engine = make_engine(tmp_path, max_steps=1, logger=False)
    engine.fit(make_model(**SHORT), datamodule=make_folder())
    assert [path.name for path in checkpoints_of(engine).glob("*.ckpt")] == ["model.ckpt"]


def test_a_full_disk_leaves_the_older_checkpoint(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, max_steps=1, logger=False)
    engine.fit(make_model(**SHORT), datamodule=make_folder())
    file = checkpoints_of(engine) / "model.ckpt"
    before, files = file.read_bytes(), sorted(file.parent.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"'{file}' cannot be written"):
            engine.trainer.save_checkpoint(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert sorted(file.parent.iterdir()) == files


def test_a_users_own_way_of_writing_is_kept(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    class Own(TorchCheckpointIO):
        pass

    engine = make_engine(tmp_path, max_steps=1, logger=False, plugins=[Own()])
    engine.fit(make_model(**SHORT), datamodule=make_folder())
    assert type(engine.trainer.strategy.checkpoint_io) is Own
    assert torch.load(engine.best_model_path, weights_only=False)["global_step"] == 1


def test_a_missing_checkpoint_is_answered_with_the_newest(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    runs = tmp_path / "Slsg" / "parts"
    missing = runs / "v1" / "weights" / "lightning" / "pretraining.ckpt"
    for message in ("there is no other near it", f"the newest near it is '{runs / 'v1' / 'weights' / 'lightning'}"):
        with pytest.raises(FileNotFoundError, match=f"--ckpt_path: there is no '{missing}'; .*{message}"):
            make_engine(tmp_path, max_steps=1, logger=False).fit(
                make_model(), datamodule=make_folder(), ckpt_path=missing
            )
        make_engine(tmp_path, max_steps=1, logger=False).fit(make_model(**SHORT), datamodule=make_folder())


def test_latest_points_at_runs_with_a_checkpoint_only(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    latest = tmp_path / "Slsg" / "parts" / "latest"

    def fit(folder: Any, **arguments: Any) -> None:
        make_engine(tmp_path, max_steps=1, logger=False, **arguments).fit(make_model(**SHORT), datamodule=folder)

    with pytest.raises(ValueError, match="precision"):
        fit(make_folder(), precision="64-true")
    assert not os.path.lexists(latest)
    fit(make_folder())
    assert latest.resolve().name == "v1"
    with pytest.raises(ValueError, match="precision"):
        fit(make_folder(), precision="64-true")
    assert latest.resolve().name == "v1"
    with pytest.raises(FileNotFoundError, match="mistyped"):  # before any hook of a fit
        fit(make_folder(normal_dir="mistyped"))
    assert latest.resolve().name == "v1"
    fit(make_folder())
    assert latest.resolve().name == "v4"


def test_nothing_is_removed_that_the_training_has_not_written(tmp_path: Path) -> None:
    """A checkpoint may call anything its best model, which Lightning removes when there is a better one."""
    files = AtomicCheckpointIO(TorchCheckpointIO(), tmp_path)
    for name in ("own/model.ckpt", "other/model.ckpt"):
        (tmp_path / name).parent.mkdir()
    files.save_checkpoint({}, tmp_path / "own" / "model.ckpt")
    torch.save({}, tmp_path / "other" / "model.ckpt")
    for path in (tmp_path / "other" / "model.ckpt", tmp_path / "other", f"local://{tmp_path / 'other'}"):
        files.remove_checkpoint(path)
    assert (tmp_path / "other" / "model.ckpt").exists()
    files.remove_checkpoint(tmp_path / "own" / "model.ckpt")
    assert list((tmp_path / "own").iterdir()) == []


def test_half_written_files_and_other_folders_are_no_runs(tmp_path: Path) -> None:
    for name in ("v0", "v1", "v1-2", "v0_old2"):
        (tmp_path / name / "weights" / "lightning").mkdir(parents=True)
    (tmp_path / "v0" / "weights" / "lightning" / "model.ckpt").touch()
    (tmp_path / "v1" / "weights" / "lightning" / ".pretraining.99.ckpt").touch()
    update_latest(tmp_path / "v1")
    assert (tmp_path / "latest").resolve() == tmp_path / "v0"
    missing = tmp_path / "v1" / "weights" / "lightning" / "pretraining.ckpt"
    with pytest.raises(FileNotFoundError, match=f"the newest near it is '{tmp_path / 'v0'}"):
        AtomicCheckpointIO(TorchCheckpointIO(), tmp_path / "v1").load_checkpoint(missing)
