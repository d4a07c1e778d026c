"""Training steps in a process of its own, started by ``training.py``."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from lightning.pytorch.profilers import SimpleProfiler

from benchmarks.common.own_process import answer_task, peak_mebibytes
from benchmarks.common.slsg import slsg_without_pretraining
from benchmarks.speed.timing import RATE, matrix_products, multiply_accumulates
from benchmarks.speed.training_steps import idle_gradients, pretraining_step, segmentation_step

VARIANTS = 50  # different training images; the files of all others are links to these
WARM_UP = 2
PRODUCTS = 3
GET_BATCH, RUN_BATCH = "[_TrainingEpochLoop].train_dataloader_next", "run_training_batch"


def seconds_of(call: Callable[[], object], repeats: int) -> list[float]:
    """Time calls after a few that warm up."""
    durations = []
    for _ in range(WARM_UP + repeats):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return durations[WARM_UP:]


def step(net: str, size: int, backbone: str, precision: str, repeats: int) -> dict[str, Any]:
    """Time a step of one of the trainings.

    Args:
        net: ``SegNet`` (4 normal and 4 simulated images) or ``GPT-Net`` (6 images).
        size: Side of the images.
        backbone: Encoder.
        precision: ``bf16`` or ``fp32``.
        repeats: Timed steps.

    Returns:
        Seconds of the steps, of the simulation in them and of matrix products; multiply-accumulates that are needed;
        peak memory of the process.
    """
    bfloat16 = precision == "bf16"
    answer: dict[str, Any] = {"simulation": []}
    if net == "SegNet":
        seg_net, call, simulate = segmentation_step(4, size, backbone, bfloat16)
        answer["seconds"], answer["simulation"] = seconds_of(call, repeats), seconds_of(simulate, repeats)
        answer["macs"] = multiply_accumulates(call) - idle_gradients(seg_net, call)
        answer["parameters"] = sum(parameter.numel() for parameter in seg_net.parameters())
    else:
        call, trained = pretraining_step(6, size, backbone, bfloat16)
        answer["seconds"], answer["macs"] = seconds_of(call, repeats), multiply_accumulates(call)
        answer["parameters"] = sum(parameter.numel() for parameter in trained)
    answer["peak_mib"] = round(peak_mebibytes())
    products = {key[1]: call for key, call in matrix_products().items() if key[0] == RATE}
    return {**answer, "products": {name: seconds_of(call, PRODUCTS) for name, call in products.items()}}


def fit(number: int, size: int, steps: int) -> dict[str, Any]:
    """Train from files by anomalib's engine.

    Args:
        number: Training images.
        size: Their side.
        steps: SegNet's steps; no pre-training.

    Returns:
        Seconds of the steps and of everything before them, seconds in which each step waited for its images, peak
        memory of the process, and how many images were trained with.
    """
    with TemporaryDirectory() as folder:
        write_images(Path(folder) / "good", number, size)
        every = {"test_split_mode": "none", "val_split_mode": "none"}  # anomalib would keep a fifth for testing
        datamodule = Folder("growth", "good", folder, train_batch_size=4, num_workers=1, **every)
        profiler = SimpleProfiler()
        options = {"accelerator": "cpu", "profiler": profiler, "logger": False, "enable_progress_bar": False}
        engine = Engine(max_steps=steps, default_root_dir=folder, barebones=False, **options)
        model = slsg_without_pretraining(size)
        start = time.perf_counter()
        engine.fit(model, datamodule=datamodule)
        whole = time.perf_counter() - start
    training = profiler.recorded_durations[RUN_BATCH]
    waiting = profiler.recorded_durations[GET_BATCH]
    answer = {"seconds": training[1:], "waiting": waiting[1:], "start_up": whole - sum(training) - sum(waiting)}
    return {**answer, "peak_mib": round(peak_mebibytes()), "images": len(datamodule.train_data)}


def write_images(folder: Path, number: int, size: int) -> None:
    """Write noisy images, most of them as links."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(number):
        path = folder / f"{index:05d}.png"
        if index < VARIANTS:
            cv2.imwrite(str(path), generator.integers(0, 255, (size, size, 3), np.uint8))
        else:
            os.link(folder / f"{index % VARIANTS:05d}.png", path)


def measure(kind: str, **options: Any) -> dict[str, Any]:
    """Measure a ``step`` or a ``fit``, with the options of the function of that name."""
    torch.manual_seed(0)
    kinds: dict[str, Callable[..., dict[str, Any]]] = {"step": step, "fit": fit}
    return kinds[kind](**options)


if __name__ == "__main__":
    answer_task(measure)
