"""Models that are about to train, without a fit around them."""

from collections.abc import Callable

import pytest
import torch
from anomalib.data import ImageBatch, ImageItem
from lightning.pytorch import Trainer

from anomalib_slsg import Slsg
from anomalib_slsg.data.normal_images import NormalImages


@pytest.fixture
def give_images(monkeypatch: pytest.MonkeyPatch) -> Callable[[Slsg, int], Slsg]:
    """Give a model eight training images, ``0.png`` and so on, and a trainer that logs nothing."""

    def give(model: Slsg, side: int) -> Slsg:
        images = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0))
        items = [ImageItem(image=image, image_path=f"{index}.png") for index, image in enumerate(images)]
        model._normal_images = NormalImages(items, ImageBatch.collate)  # type: ignore[arg-type]
        model.simulator.fit(images)
        model.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        monkeypatch.setattr(model, "log", lambda *_, **__: None)
        monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
        return model

    return give
