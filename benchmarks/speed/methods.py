"""The models that are timed: SLSG in its variants, and those that users would pick instead.

All but SLSG's own settings are anomalib's defaults. Weights are random, which changes no time: nothing is downloaded.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import timm
import torch
from anomalib.models import AnomalibModule, Draem, EfficientAd, Padim, Patchcore, Stfpm, Supersimplenet
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Compose, Normalize, Resize

from anomalib_slsg.normality.options import MEASURES
from benchmarks.common.slsg import (
    FITTING_IMAGES,
    LEARNT_BUFFERS,
    papers_slsg,
    read_config,
    slsg_with_normality,
)

LITE = "tf_efficientnet_lite0"
CORESET = 20480  # a tenth of the patches, 32x32 each, of 200 images
# buffers that hold what PatchCore, PaDiM and what is beyond the paper learnt
KEPT = ("model.memory_bank", "model.gaussian", *LEARNT_BUFFERS)


def padim(size: int, **options: Any) -> Padim:
    """Give PaDiM, fitted to noise."""
    model = Padim(pre_trained=False, pre_processor=_pre_processor(size), **options)
    model.model.train()
    model.model(torch.rand(FITTING_IMAGES, 3, size, size))
    model.model.fit()
    return model


def patchcore(size: int, **options: Any) -> Patchcore:
    """Give PatchCore with a coreset of noise, as large as 200 images leave."""
    model = Patchcore(pre_trained=False, pre_processor=_pre_processor(size), **options)
    model.model.train()
    channels = model.model(torch.rand(1, 3, size, size)).shape[-1]
    model.model.embedding_store.clear()
    model.model.memory_bank = torch.rand(CORESET * size * size // 256**2, channels)
    return model


def draem(size: int) -> Draem:
    """Give DRAEM; a single black texture stands for the images that only its training needs."""
    with tempfile.TemporaryDirectory() as folder:
        cv2.imwrite(str(Path(folder) / "texture.png"), np.zeros((8, 8, 3), np.uint8))
        return Draem(dtd_dir=folder, pre_processor=_pre_processor(size, normalise=False))


def _pre_processor(size: int, normalise: bool = True) -> PreProcessor:
    transforms: list[torch.nn.Module] = [Resize((size, size), antialias=True)]
    if normalise:
        transforms.append(Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]))
    return PreProcessor(transform=Compose(transforms))


METHODS: dict[str, Callable[[int], AnomalibModule]] = {
    "SLSG": papers_slsg,
    "SLSG default": lambda size: slsg_with_normality(size, *MEASURES),
    "SLSG fast": lambda size: papers_slsg(size, **read_config("model/fast")),
    "SLSG Lite0": partial(papers_slsg, backbone=LITE),
    "PaDiM R18": padim,
    "PaDiM Lite0": partial(padim, backbone=LITE, layers=["blocks.1", "blocks.2", "blocks.4"], n_features=100),
    "PatchCore WR50": patchcore,
    "PatchCore Lite0": partial(patchcore, backbone=LITE, layers=["blocks.2", "blocks.4"]),
    "EfficientAD-S": lambda size: EfficientAd(pre_processor=_pre_processor(size, normalise=False)),
    "DRAEM": draem,
    "STFPM": lambda size: Stfpm(pre_processor=_pre_processor(size)),
    "SuperSimpleNet": lambda size: Supersimplenet(pre_processor=_pre_processor(size)),
}


def build(name: str, size: int) -> AnomalibModule:
    """Build a model for inference.

    Args:
        name: One of ``METHODS``.
        size: Side of the images.

    Returns:
        The model with random weights, in evaluation mode.
    """
    with _no_download(), torch.random.fork_rng():
        torch.manual_seed(0)
        return METHODS[name](size).eval()


@contextmanager
def _no_download() -> Iterator[None]:
    """Some of the models have no option that leaves pre-trained weights out."""
    create = timm.create_model
    with mock.patch.object(
        timm, "create_model", lambda *names, **options: create(*names, **{**options, "pretrained": False})
    ):
        yield


def parameters(model: AnomalibModule) -> int:
    """Count the numbers that a model learnt: weights, and what models keep of the training images."""
    kept = [buffer for name, buffer in model.named_buffers() if name.startswith(KEPT) and not name.endswith("held_out")]
    return sum(tensor.numel() for tensor in [*model.model.parameters(), *kept])
