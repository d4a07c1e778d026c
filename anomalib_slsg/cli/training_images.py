"""What is known of the training images when a training ends: for the report, and to be looked at beside alarms."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from anomalib_slsg.cli.models import hash_of
from anomalib_slsg.data.normal_images import spread_evenly
from anomalib_slsg.lightning_model import Slsg
from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.normality.nearest import EXAMPLES, NAME, NormalExamples, summarise
from anomalib_slsg.report.training_images import Photograph, write_training_images
from anomalib_slsg.utils.progress import progress_bar


class TrainingImagesLook(Callback):
    """Looks at the training images once the model is trained, while they are still in memory."""

    def __init__(self) -> None:
        self._photographs: list[Photograph] = []
        self._examples: NormalExamples | None = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note how unusual images are to what was learnt of others, and what new ones are compared by."""
        assert isinstance(pl_module, Slsg)
        dataset: Any = trainer.train_dataloader.dataset  # type: ignore[union-attr]
        files = [str(Path(path).absolute()) for path in dataset.samples["image_path"]]
        normality, calibration = pl_module.model.normality, pl_module.model.calibration
        scores: dict[int, float] = {}
        known = [(dataset.kept_indices, calibration.images[len(calibration.images) - len(dataset.kept_indices) :])]
        if normality is not None and (held_out := normality.held_out) is not None:
            fitted = spread_evenly(len(dataset.training_indices), len(held_out.images))
            known.append((dataset.training_indices[fitted], held_out.images))
        for indices, log_odds in known:
            scores |= zip(indices.tolist(), torch.sigmoid(log_odds - calibration.image_shift).tolist(), strict=True)
        self._photographs = [Photograph(file, scores.get(index)) for index, file in enumerate(files)]
        if normality is None:
            return
        images = pl_module.normal_images
        chosen, backbone = images.spread_evenly(EXAMPLES), fold_batch_norm(normality.backbone)
        with progress_bar(transient=True) as progress:
            parts = progress.track(list(images.in_parts(chosen)), description="Looking at training images")
            prepared = (pl_module.model.normalise(part.to(pl_module.device)) for part in parts)
            summaries = torch.cat([summarise(part, backbone) for part in prepared])
        self._examples = NormalExamples([files[index] for index in dataset.training_indices[chosen]], summaries)

    def write(self, folder: Path, checkpoint: Path) -> None:
        """Write ``training_images.jsonl`` for the report, and what :class:`TrainedModel` finds beside its checkpoint.

        Args:
            folder: Where the files go.
            checkpoint: The trained model, in that folder.
        """
        write_training_images(self._photographs, folder)
        if self._examples is not None:
            self._examples.write(folder / NAME, hash_of(checkpoint))
