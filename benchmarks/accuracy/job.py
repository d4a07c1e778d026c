"""One training and test of a model on one data set."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from anomalib.pipelines.components.base import Job
from lightning.pytorch import Callback, seed_everything

from anomalib_slsg.metrics import AnomalyMapWriter
from anomalib_slsg.utils.files import write_text
from benchmarks.accuracy.data import check_test_images, digest_of_images, make_datamodule
from benchmarks.accuracy.matrix import is_slsg
from benchmarks.accuracy.metrics import RawMetrics
from benchmarks.accuracy.models import make_model
from benchmarks.accuracy.rows import METRICS, Rows
from benchmarks.common.slsg import left_out


@dataclass
class AccuracyJob(Job):
    """Trains, tests and notes the result.

    Args:
        key: The row's key.
        model: The model's entry of the matrix.
        data: The data's entry.
        image_size: Height and width.
        rows: Where the result goes.
        work: Folder for logs and maps.
        data_root: Folder above the data sets.
        accelerator: Lightning's accelerator.
        keep_maps: Write raw anomaly maps.
    """

    name = "accuracy"

    key: dict[str, str]
    model: dict[str, Any]
    data: dict[str, Any]
    image_size: tuple[int, int]
    rows: Rows
    work: Path
    data_root: Path
    accelerator: str
    keep_maps: bool

    @property
    def label(self) -> str:
        """The key in one line."""
        return ", ".join(self.key.values())

    @property
    def labels(self) -> list[str]:
        """The keys of all its rows."""
        names = [*self.model.get("left_out", {}), self.key["model"]]
        return [", ".join(self._key_of(name).values()) for name in names]

    def _key_of(self, name: str) -> dict[str, str]:
        return {**self.key, "model": name}

    @property
    def maps_folder(self) -> Path:
        """Where raw anomaly maps are kept, below a folder for the category."""
        return self._folder(self.key) / "maps"

    def run(self, task_id: int | None = None) -> dict[str, str]:
        """Do the job. If the same one was interrupted, Slsg goes on from its last checkpoint; the row has no ``fit_s``.

        Args:
            task_id: The device, when several work at a time.

        Returns:
            The row that it appended. Before it come others if SLSG's entry has ``left_out``, a dictionary from their
            names to the measures of normality that they go without; training sees none of these.

        Raises:
            RuntimeError: If anything fails; names the job.
        """
        # the processor is one device, which jobs share
        on_processor = self.accelerator == "cpu" or (
            self.accelerator == "auto" and not torch.accelerator.is_available()
        )
        # never "auto", which would have all GPUs share one training
        devices: int | list[int] = 1 if task_id is None or on_processor else [task_id]
        try:
            rows = self._measure(devices)
        except Exception as error:
            msg = f"the job '{self.label}' failed: {error}"
            raise RuntimeError(msg) from error
        for row in rows:
            self.rows.add(row)
        self._under_way.unlink(missing_ok=True)  # another process may have done the same job
        return rows[-1]

    def _measure(self, devices: int | list[int]) -> list[dict[str, str]]:
        seed_everything(int(self.key["seed"]))
        model = make_model(self.model, self.image_size, int(self.key["seed"]))
        datamodule = make_datamodule(self.data, self.data_root)
        check_test_images(datamodule, self.work / "data.lock")
        checkpoint = self._begin(digest_of_images(datamodule))
        start = time.perf_counter()
        self._engine(self.key, devices).fit(model, datamodule=datamodule, ckpt_path=checkpoint)
        seconds = time.perf_counter() - start if checkpoint is None else None  # before an interruption: not known
        rows = []
        for name, parts in self.model.get("left_out", {}).items():
            key = self._key_of(name)
            if self.rows.has(key):
                continue
            with left_out(model, parts):
                rows.append(self._test(key, model, datamodule, devices, seconds))
        return [*rows, self._test(self.key, model, datamodule, devices, seconds)]

    def _engine(self, key: dict[str, str], devices: int | list[int], *callbacks: Callback) -> Engine:
        return Engine(
            callbacks=list(callbacks),
            accelerator=self.accelerator,
            devices=devices,
            default_root_dir=self._folder(key),
            logger=False,
            # a second bar on the same terminal would overwrite that of the jobs
            **{"enable_progress_bar": False, **self.model.get("trainer", {})},
        )

    def _begin(self, images: str) -> Path | None:
        """Note that a job is under way. Where the same one was: its last checkpoint, if it is one of Slsg's.

        Args:
            images: Tells those that it trains and tests with from others.
        """
        # a data root is where users of own_images.yaml keep one product or another
        root = str(self.data_root.resolve())
        job = json.dumps([self.model, self.data, self.image_size, root, images], sort_keys=True)
        if not self._under_way.exists() or self._under_way.read_text(encoding="utf-8") != job:
            write_text(self._under_way, job)
        if not is_slsg(self.model):
            return None
        files = self._folder(self.key).glob("**/v*/weights/lightning/*.ckpt")  # of every attempt
        return max((file for file in files if _time(file) > _time(self._under_way)), key=_time, default=None)

    @property
    def _under_way(self) -> Path:
        return self._folder(self.key) / "under_way.json"

    def _folder(self, key: dict[str, str]) -> Path:
        return self.work / "-".join(key.values()).replace(" ", "_")

    def _test(
        self,
        key: dict[str, str],
        model: AnomalibModule,
        datamodule: AnomalibDataModule,
        devices: int | list[int],
        fit_seconds: float | None,
    ) -> dict[str, str]:
        """Test a trained model under a key: the row."""
        metrics = RawMetrics()
        callbacks: list[Callback] = [metrics]
        if self.keep_maps:
            callbacks.append(AnomalyMapWriter(str(self._folder(key) / "maps"), category=key["category"]))
        start = time.perf_counter()
        (tested,) = self._engine(key, devices, *callbacks).test(model, datamodule=datamodule)
        seconds = {"fit_s": fit_seconds, "test_s": time.perf_counter() - start}
        values = {**{name: float(tested[name]) for name in METRICS if name in tested}, **metrics.compute()}
        counts = metrics.counts() if is_slsg(self.model) else {}
        return {
            **key,
            **{name: f"{value:.4f}" for name, value in values.items()},
            **{name: str(number) for name, number in counts.items()},
            **{k: "" if s is None else f"{s:.3f}" for k, s in seconds.items()},
        }

    @staticmethod
    def collect(results: list[dict[str, str]]) -> list[dict[str, str]]:
        """Rows are in the file already."""
        return results

    @staticmethod
    def save(results: list[dict[str, str]]) -> None:
        """Rows are in the file already."""


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns
