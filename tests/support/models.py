"""Tiny models. All tests build theirs here, so that what the constructors take stands in one place."""

from typing import Any

import pytest
import torch
from anomalib.data import ImageBatch, ImageItem
from lightning.pytorch import seed_everything
from torch import Tensor, nn

from anomalib_slsg import Slsg, SlsgModel
from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.networks import NetworkOptions
from anomalib_slsg.normality.options import MEASURES, CalibrationOptions, NormalityOptions
from anomalib_slsg.pretraining.options import PretrainingOptions
from tests.support.training import quiet_trainer

NO_PRETRAINING = PretrainingOptions(epochs=0)


def tiny_normality(*measures: str) -> NormalityOptions:
    """Normality by a tiny backbone with random weights; all measures if none is named."""
    return NormalityOptions("test_efficientnet", encoder_weights=None, measures=measures or MEASURES)


NO_NORMALITY = NormalityOptions(measures=())
NO_CALIBRATION = CalibrationOptions(false_alarm_rate=None)
TINY_OPTIONS = {
    "backbone": "test_efficientnet",
    "encoder_weights": None,
    "image_size": (32, 32),
    "normality": tiny_normality(),
    "visualizer": False,
}
# Table 6's experiments with the SG block
SG_SWITCHES: dict[str, dict[str, Any]] = {
    "experiment 3": {"graph": False},
    "experiment 4": {"attention": False},
    "experiment 5": {"eliminate_position": False},
    "k=7": {"num_neighbors": 7},
    "k=9": {},
    "k=11": {"num_neighbors": 11},
}


def tiny_slsg(seed: int | None = 1, of: type[Slsg] = Slsg, **options: Any) -> Slsg:
    """Make a tiny model that pre-trains for an epoch.

    Args:
        seed: For its random weights, without being an option of the model; ``None`` leaves them to the caller.
        of: Its class.
        options: Those of ``Slsg``; they win.
    """
    if seed is not None:
        seed_everything(seed, verbose=False)
    defaults = {**TINY_OPTIONS, "pretraining": PretrainingOptions(epochs=1)}
    if "pre_processor" in options:
        defaults.pop("image_size")
    return of(**{**defaults, **options})


def seeded_slsg(seed: int, **options: Any) -> Slsg:
    """Make a tiny model whose option ``seed`` is given."""
    return Slsg(**{**TINY_OPTIONS, "pretraining": PretrainingOptions(epochs=1), "seed": seed, **options})


def tiny_torch_model(backbone: str = "test_resnet", auto_bfloat16: bool = True, **options: Any) -> SlsgModel:
    """Make a network for inference without normality, always with the same weights; options are the network's."""
    torch.manual_seed(0)
    return SlsgModel(backbone, NetworkOptions(**options), NO_NORMALITY, auto_bfloat16).eval()


def with_trained_norms(network: nn.Module) -> nn.Module:
    """Give batch norm statistics and factors as after a training."""
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, 0, 0.2, generator=generator)
    return network.eval()


def about_to_train(model: Slsg, side: int, monkeypatch: pytest.MonkeyPatch) -> Slsg:
    """Give a model eight training images, ``0.png`` and so on, and a trainer that logs nothing."""
    images = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0))
    items = [ImageItem(image=image, image_path=f"{index}.png") for index, image in enumerate(images)]
    normal_images = NormalImages(items, ImageBatch.collate)  # type: ignore[arg-type]
    monkeypatch.setattr(type(model), "normal_images", normal_images)
    model.simulator.fit(images)
    model.trainer = quiet_trainer()
    model.trainer.fit_loop.epoch_loop.batch_progress.increment_ready()  # as before a step
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
    return model


def numbered(images: Tensor) -> ImageBatch:
    """A batch of images with the names 0.png, 1.png and so on."""
    return ImageBatch(image=images, image_path=[f"{number}.png" for number in range(len(images))])


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights and statistics."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights without the statistics of batch norm."""
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


def assert_same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Compare weights but for rounding."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-6, rtol=1e-5, msg=lambda text, name=name: name + text)
