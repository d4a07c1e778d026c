"""Trains and predicts for long in one process, and prints its memory, threads and open files (Linux).

``python -m tests.endurance.soak``: 300 steps of training, 1,000 predictions with each of anomalib's inferencers.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from anomalib.deploy import OpenVINOInferencer, TorchInferencer
from jsonargparse import auto_cli
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.support.models import NO_PRETRAINING, tiny_slsg
from tests.support.training import drawn_parts, quiet_engine
from tests.support.trees import write_folder_tree


def footprint() -> tuple[int, int, int]:
    """Memory in MiB, threads and open files of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory = int(status["VmRSS"].split()[0]) // 1024
    return memory, int(status["Threads"]), len(list(Path("/proc/self/fd").iterdir()))


class Footprints(Callback):
    """Prints the footprint now and then.

    Args:
        every: Steps between.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        """Print it."""
        if trainer.global_step % self.every == 0:
            tell("training", trainer.global_step)


def tell(what: str, number: int) -> None:
    """Print the footprint after a number of steps or predictions."""
    memory, threads, files = footprint()
    print(f"| {what} | {number} | {memory} MiB | {threads} | {files} |", flush=True)


def repeat(what: str, predict: Callable[[str], object], images: list[Path], times: int) -> None:
    """Predict, and print five footprints on the way."""
    for number in range(1, times + 1):
        predict(str(images[number % len(images)]))
        if number % (times // 5) == 0:
            tell(what, number)


def main(steps: int = 300, predictions: int = 1000) -> None:
    """Train and predict.

    Args:
        steps: Of training.
        predictions: Of each inferencer.
    """
    os.environ["TRUST_REMOTE_CODE"] = "1"
    with TemporaryDirectory() as root:
        tree = write_folder_tree(Path(root) / "tree")
        model = tiny_slsg(pretraining=NO_PRETRAINING)
        engine = quiet_engine(Path(root), max_steps=steps, logger=False, callbacks=[Footprints(max(1, steps // 5))])
        print("| | number | memory | threads | open files |\n| --- | ---: | ---: | ---: | ---: |")
        engine.fit(model, datamodule=drawn_parts(tree, train_batch_size=2))
        images = sorted((tree / "bad").iterdir())
        repeat("TorchInferencer", TorchInferencer(model.to_torch(root), device="cpu").predict, images, predictions)
        openvino = OpenVINOInferencer(model.to_openvino(root), device="CPU")
        repeat("OpenVINOInferencer", openvino.predict, images, predictions)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
