"""Checkpoints that are either whole or absent, whichever disk they lie on."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from anomalib.engine.plugins import AnomalibCheckpointIO
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import CheckpointIO

from anomalib_slsg.training.loading import read_checkpoint
from anomalib_slsg.training.run_folder import CHECKPOINTS, update_latest
from anomalib_slsg.utils.files import write_atomically

logger = logging.getLogger(__name__)


class AtomicCheckpointIO(AnomalibCheckpointIO):
    """Writes a checkpoint beside its place and renames it.

    Lightning writes into the temporary folder and moves the file from there. Where that lies on another disk, moving
    empties the old checkpoint and copies over it.

    Args:
        given: What the trainer has written with.
        run: The run's folder, at which ``latest`` points once it has a checkpoint.
    """

    def __init__(self, given: CheckpointIO, run: Path) -> None:
        super().__init__(getattr(given, "extra_safe_globals", ()))
        self._run: Path | None = run
        self._folders: set[Path] = set()  # that this training has written into

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: Its content.
            path: The file. Addresses of other file systems are left to Lightning.
            storage_options: None are known.

        Raises:
            OSError: If it cannot be written; an older file of this name is as it was then.
        """
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            write_atomically(Path(path), partial(torch.save, checkpoint))
            self._folders.add(Path(path).resolve().parent)
        except RuntimeError as error:  # by which PyTorch reports a full disk
            raise OSError(f"'{path}' cannot be written: is there room for it? ({error})") from error
        if self._run is not None:
            update_latest(self._run)
            self._run = None  # another run may have begun since

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint of this training.

        Lightning removes whatever the checkpoint that it goes on with calls its best model, folders, too.

        Args:
            path: The file. What is no file, or lies elsewhere than checkpoints of this training, is left alone.
        """
        file = Path(path)
        if file.is_file() and file.resolve().parent in self._folders:
            file.unlink()
        else:
            logger.warning("'%s' is no checkpoint of this training, and is left alone.", path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load a checkpoint without running code that it may hold, or say which others there are.

        Args:
            path: The file. Addresses of other file systems are left to Lightning.
            map_location: Where its tensors go.
            weights_only: Whether to refuse everything but tensors and plain data, as anomalib does by default.

        Returns:
            Its content.

        Raises:
            FileNotFoundError: If there is none. The message names the newest one of this run and its neighbours.
            ValueError: If the file is damaged, or no checkpoint.
        """
        file = Path(path)
        safe = weights_only is not False  # Lightning gives None where the user has not said anything
        if file.exists() and safe:
            return read_checkpoint(file, map_location)
        if "://" in str(path) or file.exists():
            return super().load_checkpoint(path, map_location, safe)
        near = [*file.parent.glob("[!.]*.ckpt"), *file.parent.parent.parent.parent.glob(f"v*/{CHECKPOINTS}")]
        newest = max(near, key=lambda each: each.stat().st_mtime, default=None)
        hint = "and there is no other near it" if newest is None else f"the newest near it is '{newest}'"
        raise FileNotFoundError(f"--ckpt_path: there is no '{file}'; {hint}")


def keep_checkpoints_whole(trainer: Trainer) -> None:
    """Replace how a trainer writes and reads checkpoints, unless the user has chosen it.

    Args:
        trainer: The trainer.
    """
    given = trainer.strategy.checkpoint_io
    if type(given) in {TorchCheckpointIO, AnomalibCheckpointIO, AtomicCheckpointIO}:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO(given, Path(trainer.default_root_dir))
