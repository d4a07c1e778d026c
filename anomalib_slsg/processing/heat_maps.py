"""Pictures of test results on disk, one for each image."""

import logging
import os
from itertools import count
from pathlib import Path
from typing import Any

from anomalib.visualization import ImageVisualizer
from anomalib.visualization.image import visualizer
from lightning.pytorch import LightningModule, Trainer

from anomalib_slsg.data.checks import image_paths
from anomalib_slsg.utils.files import write_atomically

logger = logging.getLogger(__name__)

DRAWING = ("fields", "overlay_fields", "field_size", "fields_config", "overlay_fields_config", "text_config")


class HeatMaps(ImageVisualizer):
    """anomalib's pictures, below the run's folder ``images`` in the folders that their images lie in.

    anomalib keeps the last of these folders only, so that images of the same name in several cameras' folders, or of
    another day, would overwrite each other's pictures. The arguments are those of :class:`ImageVisualizer`.
    """

    _common = Path()
    _folder = Path()
    _known: frozenset[Path] = frozenset()
    _drawn: dict[Path, Path] | None = None  # where the loader does not say what will come

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the pictures' folder."""
        self._choose_folder(trainer, trainer.test_dataloaders)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the pictures' folder."""
        self._choose_folder(trainer, trainer.predict_dataloaders)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw a batch; the same as in prediction.

        Raises:
            ValueError: If a picture would replace that of another image.
        """
        for item in batch:
            picture = visualizer.visualize_image_item(item, **{name: getattr(self, name) for name in DRAWING})
            if picture is not None:
                write_atomically(self._place(Path(item.image_path).absolute()), picture.save)

    def _choose_folder(self, trainer: Trainer, loaders: Any) -> None:
        """Take the first of images, images_1 and so on that has no picture of these images."""
        known = frozenset(Path(path).absolute() for path in image_paths(loaders))
        self._known = known if len({path.drive for path in known}) == 1 else frozenset()
        self._drawn = {}
        # the folder of the images is kept, too, where all of them lie in one
        self._common = Path(os.path.commonpath([path.parent.parent for path in self._known] or [Path()]))
        first = Path(self.output_dir or Path(trainer.default_root_dir) / "images")
        folders = (first.with_name(f"{first.name}_{number}") if number else first for number in count())
        names = [path.relative_to(self._common) for path in self._known]
        names = names or [Path()]  # where nothing is known of the names, a folder that is not there
        folder = next(folder for folder in folders if not any((folder / name).exists() for name in names))
        self._folder = trainer.strategy.broadcast(folder)
        if folder != first and trainer.is_global_zero:
            logger.warning("Pictures are in '%s', since '%s' has some of the same names.", folder, first)

    def _place(self, image_path: Path) -> Path:
        if image_path in self._known:
            return self._folder / image_path.relative_to(self._common)
        place = self._folder / image_path.parent.name / image_path.name
        if self._drawn is not None and self._drawn.setdefault(place, image_path) != image_path:
            raise ValueError(f"the picture of '{image_path}' would replace '{place}': move it, or rename the image")
        return place

    def __getstate__(self) -> dict[str, Any]:
        """Leave the places of a run's files out of exported models."""
        return {name: value for name, value in vars(self).items() if name not in vars(HeatMaps)}
