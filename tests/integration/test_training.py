"""That training teaches, and what its options change."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch import Callback

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel

pytestmark = pytest.mark.slow


def test_a_short_training_finds_defects(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """The paper's network alone, from random weights; it knew nothing before."""
    model = make_model(
        pretraining=None, feature_distance=False, composition=False, image_size=(64, 64), seed=0, auto_bfloat16=False
    )
    (before,) = make_engine(tmp_path / "before", logger=False).test(model, make_folder(), verbose=False)
    engine = make_engine(tmp_path, max_steps=40, logger=False)
    (after,) = engine.train(model, datamodule=make_folder())
    assert before["pixel_AUROC"] < 0.85
    assert after["pixel_AUROC"] > 0.92
    assert after["image_AUROC"] > 0.9


class Modes(Callback):
    """Whether the encoder's batch norm learns at a step."""

    def __init__(self) -> None:
        self.learns: list[bool] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        layers = [
            layer for layer in pl_module.model.seg_net.encoder.modules() if isinstance(layer, torch.nn.BatchNorm2d)
        ]
        self.learns.append(layers[0].training)


@pytest.mark.parametrize(
    ("options", "weights_change", "statistics_change", "learns"),
    [
        ({}, False, True, False),
        ({"freeze_encoder": False}, True, True, False),
        ({"encoder_statistics": "kept"}, False, False, False),
        ({"encoder_statistics": "batch"}, False, True, True),
    ],
    ids=str,
)
def test_options_of_the_encoder(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    options: dict[str, Any],
    weights_change: bool,
    statistics_change: bool,
    learns: bool,
) -> None:
    model, modes = make_model(pretraining=None, feature_distance=False, composition=False, **options), Modes()
    encoder = model.model.seg_net.encoder
    weights = [weight.detach().clone() for weight in encoder.parameters()]
    statistics = [buffer.clone() for name, buffer in encoder.named_buffers() if name.endswith("running_mean")]
    make_engine(tmp_path, max_steps=2, callbacks=[modes], logger=False).fit(model, make_folder())
    changed = any(not torch.equal(one, other) for one, other in zip(weights, encoder.parameters(), strict=True))
    after = [buffer for name, buffer in encoder.named_buffers() if name.endswith("running_mean")]
    assert changed == weights_change
    assert any(not torch.equal(one, other) for one, other in zip(statistics, after, strict=True)) == statistics_change
    assert modes.learns == [learns] * 2


def test_the_optimiser_has_the_options(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    for options, expected in (
        ({}, {"momentum": 0.9, "weight_decay": 3e-5}),
        ({"momentum": 0.5, "weight_decay": 0.1}, {"momentum": 0.5, "weight_decay": 0.1}),
    ):
        engine = make_engine(tmp_path / str(len(options)), max_steps=1, logger=False)
        engine.fit(make_model(pretraining=None, feature_distance=False, composition=False, **options), make_folder())
        (group,) = engine.trainer.optimizers[0].param_groups
        assert {name: group[name] for name in expected} == expected
