"""What figures are drawn of: a checkpoint, further ones, and a folder's images."""

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from anomalib_slsg.cli.data import find_data
from anomalib_slsg.cli.models import model_in
from anomalib_slsg.data.normal_images import spread_evenly
from anomalib_slsg.lightning_model import Slsg
from anomalib_slsg.metrics.ground_truth import GOOD
from anomalib_slsg.networks.seg_net import SegNet
from anomalib_slsg.normality.calibration import Calibration
from anomalib_slsg.report.figures.localisation import Example
from anomalib_slsg.torch_model import SlsgModel
from anomalib_slsg.utils.progress import progress_bar

OWN, SEGNET, NORMALITY = "SLSG", "SegNet", "normality"  # names of the checkpoint and of its two opinions


class Judged(NamedTuple):
    """What a model says of all test images.

    Attributes:
        scores: Probabilities of an anomaly, of shape (N,).
        maps: Those of pixels, of shape (h, w) each.
    """

    scores: Tensor
    maps: list[np.ndarray]


class Subject:
    """Checkpoints and images.

    Args:
        checkpoint: The checkpoint that figures are drawn of.
        folder: Images, as ``slsg train`` takes them.
        others: Further checkpoints, by name.

    Raises:
        OSError: If there is no such file or folder.
        ValueError: If one is something else, or has the checkpoint's name.
    """

    def __init__(self, checkpoint: Path, folder: Path, others: Mapping[str, Path]) -> None:
        if OWN in others:
            raise ValueError(f"--models: '{OWN}' is the name of --checkpoint; give '{others[OWN]}' another")
        self._file = checkpoint
        self.model = model_in(checkpoint)
        self.device = self.model.device
        self.others = {name: model_in(file) for name, file in others.items()}
        self.images = find_data(folder)
        self._train: Any = self.images.datamodule.train_data
        self._test: Any = self.images.datamodule.test_data

    @property
    def seg_net(self) -> SegNet:
        """The checkpoint's SegNet.

        Raises:
            ValueError: If it has none.
        """
        if not self.model.model.segments:
            raise ValueError(
                f"'{self._file}' has no SegNet, which this figure is drawn of: normality alone judges "
                "(optimizer.iterations is 0); train it for longer"
            )
        return self.model.model.seg_net

    @property
    def procedural(self) -> bool:
        """Whether SegNet learnt from procedural textures, and not from DTD's."""
        return self.model.model.segments and self.model.simulator.options.procedural

    @cached_property
    def opinions(self) -> dict[str, SlsgModel]:
        """The checkpoint's two opinions as networks, uncalibrated; none if it has one or others are given."""
        normality = self.model.model.normality
        if self.others or not self.model.model.segments or normality is None or not normality.fitted:
            return {}
        networks = {name: copy.deepcopy(self.model.model).eval() for name in (SEGNET, NORMALITY)}
        networks[SEGNET].normality = None
        networks[NORMALITY].segments = False
        for network in networks.values():
            network.calibration = Calibration().to(self.device)
        return networks

    @property
    def threshold(self) -> float:
        """Score above which the checkpoint calls an image anomalous."""
        return float(getattr(self.model.post_processor, "image_threshold", 0.5))

    @cached_property
    def groups(self) -> list[str]:
        """Name of each test image's folder; ``good`` for normal ones."""
        anomalous = self.images.test
        return [Path(path).parent.name if anomalous[Path(path)] else GOOD for path in self.paths]

    @cached_property
    def paths(self) -> list[Path]:
        """The test images."""
        return [Path(path) for path in self._test.samples["image_path"]]

    @cached_property
    def judged(self) -> dict[str, Judged]:
        """What is said of the test images by the checkpoint, and by the further ones or else by its two opinions."""
        scores: dict[str, list[float]] = {}
        maps: dict[str, list[np.ndarray]] = {}
        with progress_bar(transient=True) as progress, torch.no_grad():
            for item in progress.track(range(len(self.paths)), description="Judging test images"):
                for name, said in self._ask(self._test[item].image).items():
                    scores.setdefault(name, []).append(said.pred_score.item())
                    maps.setdefault(name, []).append(said.anomaly_map[0, 0].float().cpu().numpy())
        return {name: Judged(torch.tensor(scores[name]), maps[name]) for name in scores}

    def prepare(self, image: Tensor, model: Slsg | None = None) -> Tensor:
        """Make of an image (3, H, W) what a model's network takes, a batch of one; the checkpoint's if left out."""
        pre_processor = (model or self.model).pre_processor
        batch = image[None].to(self.device)
        return pre_processor(batch) if pre_processor else batch

    def normal(self, number: int, largest: int | None = None) -> Tensor:
        """Get training images spread evenly.

        Args:
            number: How many, at most.
            largest: Longest side in pixels that they are made smaller to, if they are larger.

        Returns:
            Images of shape (B, 3, h, w).
        """
        chosen = spread_evenly(len(self._train), number).tolist()
        images = torch.cat([self.prepare(self._train[index].image) for index in chosen])
        sides = images.shape[-2:]
        if largest is None or max(sides) <= largest:
            return images
        size = [max(32, round(side * largest / max(sides) / 32) * 32) for side in sides]
        return interpolate(images, size, mode="area")

    def tests(self, number: int, anomalous: bool = True) -> list[int]:
        """Choose test images, spread evenly over their folders and within each; anomalous ones only, or all."""
        groups = [group for group in dict.fromkeys(self.groups) if group != GOOD or not anomalous]
        shares = [len(range(index, number, len(groups))) for index, _ in enumerate(groups)]
        return [place for group, share in zip(groups, shares, strict=True) for place in self.spread(group, share)]

    def spread(self, group: str, number: int) -> list[int]:
        """Choose so many test images of a folder, or all, spread evenly."""
        places = [place for place, name in enumerate(self.groups) if name == group]
        middles = {(2 * part + 1) * len(places) // (2 * number) for part in range(number)} if places else ()
        return [places[index] for index in sorted(middles)]

    def example(self, place: int) -> Example:
        """Get a test image with what is known of it."""
        item = self._test[place]
        mask = self.mask(place)
        return Example(self.prepare(item.image)[0], mask, self.groups[place])

    def mask(self, place: int) -> np.ndarray | None:
        """Where a test image is anomalous, of shape (H, W); ``None`` if that is not known."""
        item = self._test[place]
        if self.groups[place] == GOOD:
            return np.zeros(item.image.shape[-2:], bool)
        mask = None if item.gt_mask is None else item.gt_mask.squeeze().numpy() > 0
        return mask if mask is not None and mask.any() else None

    def _ask(self, image: Tensor) -> dict[str, Any]:
        models = {OWN: self.model, **self.others}
        said = {name: model.model(self.prepare(image, model)) for name, model in models.items()}
        return said | {name: opinion(self.prepare(image)) for name, opinion in self.opinions.items()}
