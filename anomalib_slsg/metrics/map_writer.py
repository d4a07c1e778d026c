"""Raw anomaly maps on disk, in the layout that evaluations of MVTec LOCO read."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from anomalib_slsg.metrics.anomaly_maps import check_aspect, resize_map, write_map
from anomalib_slsg.metrics.cropping import displacing_transform
from anomalib_slsg.metrics.ground_truth import has_defects_config, image_shape
from anomalib_slsg.utils.datasets import datasets
from anomalib_slsg.utils.files import write_atomically


class AnomalyMapWriter(Callback):
    """Writes the maps of any anomalib model while it is tested.

    ``anomalib test --trainer.callbacks+ anomalib_slsg.metrics.AnomalyMapWriter --trainer.callbacks.output_dir maps``
    writes ``maps/<category>/test/<folder>/<name>.tiff``, which ``python -m anomalib_slsg.metrics.evaluate`` reads. The
    maps are raw: a callback of the trainer's sees them before the model's post-processor normalises.

    Args:
        output_dir: Folder above the categories; files that are there are replaced.
        category: Name of the category's folder; by default that of the test set.
        full_size: Write maps at the size of their images, as the data set's own script wants them, rather than at the
            model's, which takes a fraction of the space.
    """

    def __init__(self, output_dir: str, category: str | None = None, full_size: bool = False) -> None:
        self.output_dir, self.category, self.full_size = Path(output_dir), category, full_size
        self._image_of_map: dict[Path, Path] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the model sees whole images.

        Raises:
            ValueError: If it does not.
        """
        self._image_of_map = {}
        for dataset in datasets(trainer.test_dataloaders):
            displacing = displacing_transform(pl_module, dataset)
            if displacing is not None:
                raise ValueError(
                    f"AnomalyMapWriter: {displacing} gives maps of another part of the image than its masks; "
                    "leave it out"
                )

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the maps of a batch.

        Raises:
            ValueError: If the model makes no anomaly maps, two images would get the same file, or a map of MVTec LOCO's
                format neither has its image's aspect nor is square, which evaluations refuse.
        """
        if getattr(batch, "anomaly_map", None) is None:
            raise ValueError(f"AnomalyMapWriter: {type(pl_module).__name__} makes no anomaly maps")
        for values, path in zip(batch.anomaly_map, map(Path, batch.image_path), strict=True):
            self._write(values, path)

    def _write(self, values: Tensor, image_path: Path) -> None:
        folder = image_path.parent
        in_test = folder.parent.name == "test"
        category = self.category or (folder.parents[1] if in_test else folder.parent).name
        array = values.detach().float().cpu().numpy().squeeze()
        if self.full_size:
            array = resize_map(array, image_shape(image_path))
        elif has_defects_config(image_path):
            check_aspect(array.shape, image_shape(image_path), image_path)
        target = self.output_dir / category / "test" / folder.name / f"{image_path.stem}.tiff"
        other = self._image_of_map.setdefault(target, image_path)
        if other != image_path:
            raise ValueError(
                f"AnomalyMapWriter: the map of '{image_path}' would replace that of '{other}'; rename one of the images"
            )
        write_atomically(target, lambda path: write_map(path, array))
