"""Work that ``kill.py`` kills: ``python -m tests.endurance.tasks <task> <folder>`` does it, or goes on with it."""

import sys
from pathlib import Path

import torch
from anomalib.deploy import CompressionType
from lightning.pytorch.callbacks import ModelCheckpoint

from anomalib_slsg import Slsg
from anomalib_slsg.data import SyntheticLOCO
from anomalib_slsg.pretraining.options import PretrainingOptions
from tests.support.models import seeded_slsg, weights_of
from tests.support.training import drawn_parts, quiet_engine
from tests.support.trees import write_folder_tree


def train(folder: Path) -> None:
    """Train from the newest state that there is; write the weights into ``weights.pt`` at the end."""
    if not (folder / "tree").exists():
        write_folder_tree(folder / "drawing").rename(folder / "tree")
    states = sorted(folder.glob("results/**/lightning/[!.]*.ckpt"), key=lambda each: each.stat().st_mtime)
    model = seeded_slsg(1, pretraining=PretrainingOptions(epochs=6, batch_size=2))
    often = ModelCheckpoint(
        dirpath=None, filename="often", every_n_train_steps=7, save_top_k=1, enable_version_counter=False
    )
    engine = quiet_engine(folder / "results", callbacks=[often], max_steps=60, logger=False)
    data = drawn_parts(folder / "tree", train_batch_size=2)
    engine.fit(model, datamodule=data, ckpt_path=states[-1] if states else None)
    torch.save(weights_of(model.model), folder / "weights.pt")


def draw(folder: Path) -> None:
    """Write a data set, or what is missing of it."""
    SyntheticLOCO(folder / "data", "tray").prepare_data()


def export(folder: Path) -> None:
    """Export a trained model in 32 and in 8 bits."""
    (checkpoint,) = folder.glob("*.ckpt")
    model = Slsg.load_from_checkpoint(checkpoint, visualizer=False)
    data = drawn_parts(folder / "tree")
    data.setup()
    model.to_onnx(folder)
    model.to_openvino(folder, input_size=(32, 32))
    model.to_openvino(folder / "int8", input_size=(32, 32), compression_type=CompressionType.INT8_PTQ, datamodule=data)


TASKS = {each.__name__: each for each in (train, draw, export)}

if __name__ == "__main__":
    TASKS[sys.argv[1]](Path(sys.argv[2]))
