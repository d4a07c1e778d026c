"""The folder of a run, and anomalib's link ``latest`` beside it."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

CHECKPOINTS = "weights/lightning/[!.]*.ckpt"  # in a run's folder, where anomalib's engine has them written


def update_latest(run: Path) -> None:
    """Point ``latest`` at a run if it has a checkpoint, and away from it if it has none.

    anomalib points it at every run that begins. Without a run that has a checkpoint there is no link.

    Args:
        run: The run's folder; nothing happens if anomalib's engine has not made it.
    """
    link = run.parent / "latest"
    if os.name == "nt" or not re.fullmatch(r"v\d+", run.name) or not run.is_dir():
        return  # on Windows it need not be a link
    numbered = [each for each in run.parent.iterdir() if re.fullmatch(r"v\d+", each.name)]
    runs = sorted(numbered, key=lambda each: int(each.name[1:]))
    trained = [each for each in runs if any(each.glob(CHECKPOINTS))]
    if link.is_symlink() and (run in trained or link.resolve() == run.resolve()):
        link.unlink(missing_ok=True)
    if trained and not os.path.lexists(link):
        with suppress(FileExistsError):  # another process of this fit has just made it
            link.symlink_to(run if run in trained else trained[-1], target_is_directory=True)


def share_run_folder(trainer: Trainer) -> None:
    """Have all processes of a fit write into the first one's folder: anomalib makes one for each.

    Args:
        trainer: The trainer; its own folder is removed if it is another one and empty.
    """
    own = Path(trainer.default_root_dir)
    update_latest(own)
    shared = Path(trainer.strategy.broadcast(trainer.default_root_dir))
    if shared == own:
        return
    # there is no public way, and each process writes its pictures there
    trainer_: Any = trainer
    trainer_._default_root_dir = str(shared)
    if re.fullmatch(r"v\d+", own.name) and own.is_dir() and not any(own.iterdir()):
        own.rmdir()
