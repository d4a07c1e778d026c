"""The jobs of a matrix that are still to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalib.pipelines.components.base import JobGenerator

from benchmarks.accuracy.data import digest
from benchmarks.accuracy.job import AccuracyJob
from benchmarks.accuracy.matrix import is_slsg, schedule
from benchmarks.accuracy.rows import Rows
from benchmarks.common.slsg import pretraining_inputs, training_length, with_pretraining_in


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
        options = model["init_args"]
        epochs, _ = training_length(options, None)
        if epochs == 0:
            return model
        root = str(self.options["data_root"].resolve())
        alike = [root, data["init_args"], size, seed, *pretraining_inputs(options)]
        file = self.options["work"] / "pretraining" / f"{data['name']}-{data['category']}-{digest(alike)[:12]}.pt"
        return {**model, "init_args": with_pretraining_in(file, options)}


def _names(data: dict[str, Any]) -> set[str]:
    """What ``only`` may call an entry of data."""
    return {data["name"], data["category"], f"{data['name']}/{data['category']}"}
