"""One training and test of a model on one data set, and the list of those that are still to do."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accuracy_metrics import RawMetrics
from accuracy_models import check_test_images, digest, digest_of_images, is_slsg, make_datamodule, make_model, schedule
from accuracy_rows import METRICS, Rows
from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from anomalib.pipelines.components.base import Job, JobGenerator
from lightning.pytorch import Callback, seed_everything

from anomalib_slsg.memory import return_freed_memory
from anomalib_slsg.metrics import AnomalyMapWriter
from anomalib_slsg.utils.files import write_atomically

# In bytes. While PatchCore chooses its coreset, arrays just below 32 MiB, those of about 30,000 patches, fragment the
# heap where the C library keeps them there: 10 MB more at every step.
RETURNED_BLOCKS = 4 * 2**20
# Slsg's options that the generative pre-training sees, beside its own
PRETRAINING_DEPENDS_ON = ("backbone", "encoder_weights", "stem_pool", "decoder_channels", "auto_bfloat16")


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
            names to the parts of the network that they go without; training sees none of these.

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
        if not is_slsg(self.model):
            return_freed_memory(RETURNED_BLOCKS)
        start = time.perf_counter()
        self._engine(self.key, devices).fit(model, datamodule=datamodule, ckpt_path=checkpoint)
        seconds = time.perf_counter() - start if checkpoint is None else None  # before an interruption: not known
        rows = []
        for name, parts in self.model.get("left_out", {}).items():
            key = self._key_of(name)
            if self.rows.has(key):
                continue
            network = cast("Any", model).model.seg_net
            kept = {part: getattr(network, part) for part in parts}
            for part in parts:
                setattr(network, part, None)
            rows.append(self._test(key, model, datamodule, devices, seconds))
            for part, module in kept.items():
                setattr(network, part, module)
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
            write_atomically(self._under_way, lambda path: path.write_text(job, encoding="utf-8"))
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
        return {
            **key,
            **{name: f"{value:.4f}" for name, value in values.items()},
            **{k: "" if s is None else f"{s:.3f}" for k, s in seconds.items()},
        }

    @staticmethod
    def collect(results: list[dict[str, str]]) -> list[dict[str, str]]:
        """Rows are in the file already."""
        return results

    @staticmethod
    def save(results: list[dict[str, str]]) -> None:
        """Rows are in the file already."""


class AccuracyJobs(JobGenerator):
    """Lists the jobs of a matrix that have no row yet.

    Args:
        rows: Results so far.
        work: Folder for logs and maps.
        data_root: Folder above the data sets.
        accelerator: Lightning's accelerator.
        only: Names of models, data sets and categories, or of both as in ``ELPV/mono``. Without a model among them all
            models belong, without a data set or category all data.
        keep_maps: Write raw anomaly maps.
        usual_backbones: Give models the options under ``usual``, if they have any.
    """

    job_class = AccuracyJob

    def __init__(
        self,
        rows: Rows,
        work: Path,
        data_root: Path,
        accelerator: str = "auto",
        only: Sequence[str] = (),
        keep_maps: bool = False,
        usual_backbones: bool = False,
    ) -> None:
        self.rows = rows
        self.only = set(only)
        self.usual_backbones = usual_backbones
        self.options: dict[str, Any] = {
            "work": work,
            "data_root": data_root,
            "accelerator": accelerator,
            "keep_maps": keep_maps,
        }

    def generate_jobs(self, args: dict | None = None, prev_stage_result: Any = None) -> list[AccuracyJob]:  # type: ignore[override]
        """List the jobs; a list, so that the runner's progress bar knows how many.

        Args:
            args: The matrix: ``models``, ``data``, ``seeds`` and ``image_size``; with ``share_pretraining``, models of
                the same pre-training, seed and data share its result, and ``fit_s`` of all but the first is without it.
                Data without a ``category`` have the name of the folder ``data_root``.
            prev_stage_result: Unused.

        Returns:
            Jobs by seed, data and model, so that every comparison is early complete.

        Raises:
            ValueError: If names in ``only`` are neither models nor data.
        """
        return [job for job in self.all_jobs(args or {}) if not self.rows.has(job.key)]

    def all_jobs(self, matrix: dict[str, Any]) -> list[AccuracyJob]:
        """List the jobs with those that have a row already.

        Args:
            matrix: As above.

        Returns:
            Jobs in the same order.

        Raises:
            ValueError: If names in ``only`` are neither models nor data, or two jobs would have the same row.
        """
        folder = self.options["data_root"].resolve().name
        matrix = {**matrix, "data": [{"category": folder, **data} for data in matrix["data"]]}
        known = {model["name"] for model in matrix["models"]}.union(*map(_names, matrix["data"]))
        if self.only - known:
            msg = f"--only: {sorted(self.only - known)} are not among {sorted(known)}"
            raise ValueError(msg)
        jobs = [
            self._job(matrix, self._with_usual_backbone(model), data, seed)
            for seed in matrix["seeds"]
            for data in matrix["data"]
            for model in matrix["models"]
            if self._wanted(matrix, model["name"], data)
        ]
        labels = [label for job in jobs for label in job.labels]
        if same := sorted({label for label in labels if labels.count(label) > 1}):
            msg = (
                f"the matrix has '{same[0]}' more than once; give entries of models, what is left out of them, and "
                "data names of their own, and each seed once"
            )
            raise ValueError(msg)
        return jobs

    def _wanted(self, matrix: dict[str, Any], model: str, data: dict[str, Any]) -> bool:
        models = {entry["name"] for entry in matrix["models"]} & self.only
        categories = set().union(*map(_names, matrix["data"])) & self.only
        return (not models or model in models) and (not categories or bool(categories & _names(data)))

    def _with_usual_backbone(self, model: dict[str, Any]) -> dict[str, Any]:
        if not self.usual_backbones or "usual" not in model:
            return model
        changed = {name: value for name, value in model.items() if name not in {"feature_weights", "left_out"}}
        return changed | {"name": model["usual_name"], "init_args": model["usual"]}

    def _job(self, matrix: dict[str, Any], model: dict[str, Any], data: dict[str, Any], seed: int) -> AccuracyJob:
        size = tuple(matrix["image_size"])
        if matrix.get("share_pretraining") and is_slsg(model):
            model = self._with_shared_pretraining(model, data, seed, size)
        key = {
            "model": model["name"],
            "data": data["name"],
            "category": data["category"],
            "seed": str(seed),
            "schedule": schedule(model, size),
        }
        return AccuracyJob(key, model, data, size, self.rows, **self.options)

    def _with_shared_pretraining(
        self, model: dict[str, Any], data: dict[str, Any], seed: int, size: tuple[int, ...]
    ) -> dict[str, Any]:
        """Name the file of a GPT-Net that is the same in all jobs which would pre-train it alike."""
        arguments = model["init_args"]
        # Slsg takes the paper's options where an entry has none; null leaves the pre-training out
        options = arguments.get("pretraining", {})
        if options is None:
            return model
        root = str(self.options["data_root"].resolve())
        alike = [
            root,
            data["init_args"],
            options,
            size,
            seed,
            *(arguments.get(name) for name in PRETRAINING_DEPENDS_ON),
        ]
        file = self.options["work"] / "pretraining" / f"{data['name']}-{data['category']}-{digest(alike)[:12]}.pt"
        return {**model, "init_args": {**arguments, "pretraining": {**options, "checkpoint": str(file)}}}


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _names(data: dict[str, Any]) -> set[str]:
    """What ``only`` may call an entry of data."""
    return {data["name"], data["category"], f"{data['name']}/{data['category']}"}
