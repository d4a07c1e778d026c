"""That training teaches, and what its options change."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch import Callback

from anomalib_slsg.networks import NetworkOptions
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.training.optimizer import OptimizerOptions
from tests.support.models import NO_NORMALITY, NO_PRETRAINING

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder, MakeModel


@pytest.mark.slow
def test_a_short_training_finds_defects(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    """The paper's network alone with a smaller decoder, from random weights and one epoch of pre-training; it knew
    nothing before.

    Two of three seeds count, the first two if they agree: on some processors so few steps of one of them end where
    nothing is found.
    """
    found: list[dict[str, bool]] = []
    for seed in range(3):
        options = {"normality": NO_NORMALITY, "network": NetworkOptions(decoder_channels=(128, 64, 32, 16))}
        model = make_model(image_size=(64, 64), seed=seed, auto_bfloat16=False, **options)
        (before,) = make_engine(tmp_path / f"{seed}_before", logger=False).test(model, make_folder(), verbose=False)
        (after,) = make_engine(tmp_path / str(seed), max_steps=120, logger=False).train(model, datamodule=make_folder())
        goals = {"no map before": before["pixel_AUROC"] < 0.85, "map": after["pixel_AUROC"] > 0.92}
        found.append({**goals, "image": after["image_AUROC"] > 0.9})
        reached = {goal: sum(each[goal] for each in found) for goal in found[0]}
        if min(reached.values()) >= 2:
            break
    assert min(reached.values()) >= 2, reached


class Modes(Callback):
    """Whether the encoder's batch norm learns at a step."""

    def __init__(self) -> None:
        self.learns: list[bool] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        layers = [
            layer for layer in pl_module.model.seg_net.encoder.modules() if isinstance(layer, torch.nn.BatchNorm2d)
        ]
        self.learns.append(layers[0].training)


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_encoder_learns_from_the_pre_training_only(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, epochs: int
) -> None:
    modes = Modes()
    model = make_model(pretraining=PretrainingOptions(epochs=epochs), normality=NO_NORMALITY)
    encoder = model.model.seg_net.encoder
    weights = [weight.detach().clone() for weight in encoder.parameters()]
    statistics = [buffer.clone() for name, buffer in encoder.named_buffers() if name.endswith("running_mean")]
    make_engine(tmp_path, max_steps=2, callbacks=[modes], logger=False).fit(model, make_folder())
    changed = any(not torch.equal(one, other) for one, other in zip(weights, encoder.parameters(), strict=True))
    after = [buffer for name, buffer in encoder.named_buffers() if name.endswith("running_mean")]
    assert changed == (epochs > 0)
    assert any(not torch.equal(one, other) for one, other in zip(statistics, after, strict=True)) == (epochs > 0)
    assert modes.learns == [False] * 2


def test_the_optimiser_has_the_options(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    for options, expected in (
        ({}, {"momentum": 0.9, "weight_decay": 3e-5}),
        ({"momentum": 0.5, "weight_decay": 0.1}, {"momentum": 0.5, "weight_decay": 0.1}),
    ):
        engine = make_engine(tmp_path / str(len(options)), max_steps=1, logger=False)
        model = make_model(pretraining=NO_PRETRAINING, normality=NO_NORMALITY, optimizer=OptimizerOptions(**options))
        engine.fit(model, make_folder())
        (group,) = engine.trainer.optimizers[0].param_groups
        assert {name: group[name] for name in expected} == expected
