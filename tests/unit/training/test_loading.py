"""Which options and tensors of a checkpoint count."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.normality.options import NormalityOptions
from anomalib_slsg.options import LossOptions, TrainingOptions, plain
from anomalib_slsg.training.loading import options_to_load, weights_to_load
from anomalib_slsg.training.optimizer import OptimizerOptions

SOMETHING_ELSE = {bool: lambda value: not value, int: lambda value: value + 1, tuple: lambda value: value[::-1]}


def _plain(**options: Any) -> dict[str, Any]:
    """Options as a checkpoint holds them."""
    return plain(dataclasses.asdict(TrainingOptions(**options)))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(NetworkOptions)])
def test_every_option_of_the_network_is_the_checkpoint_s(name: str, caplog: pytest.LogCaptureFixture) -> None:
    before = getattr(NetworkOptions(), name)
    changed = SOMETHING_ELSE[type(before)](before)
    trained = NetworkOptions(**{name: changed})
    assert options_to_load(_plain(network=trained), TrainingOptions()).network == trained
    assert caplog.text == ""  # nobody has asked for the default
    assert options_to_load(_plain(), TrainingOptions(network=trained)).network == NetworkOptions()
    assert [record.getMessage() for record in caplog.records] == [
        f"The checkpoint's network counts: model.network.{name}={before!r}, not {changed!r}."
    ]


@pytest.mark.parametrize(
    ("trained", "given", "told"),
    [
        ({"backbone": "resnet34"}, {"backbone": "resnet18"}, "model.backbone='resnet34', not 'resnet18'"),
        (
            {"normality": NormalityOptions(measures=())},
            {"normality": NormalityOptions(measures=("whole",))},
            "model.normality.measures=(), not ('whole',)",
        ),
        (
            {"optimizer": OptimizerOptions(iterations=0)},
            {"optimizer": OptimizerOptions(iterations=9)},
            "model.optimizer.iterations=0, not 9",
        ),
    ],
    ids=["backbone", "measures", "SegNet"],
)
def test_what_was_given_for_another_network_is_overruled(
    trained: dict[str, Any], given: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert options_to_load(_plain(**trained), TrainingOptions(**given)) == TrainingOptions(**trained)
    assert [record.getMessage() for record in caplog.records] == [f"The checkpoint's network counts: {told}."]


def test_a_training_goes_on_as_it_began_but_for_what_the_user_says(caplog: pytest.LogCaptureFixture) -> None:
    trained = _plain(loss=LossOptions(l1_weight=0), seed=3, optimizer=OptimizerOptions(iterations=7, batch_size=2))
    given = TrainingOptions(optimizer=OptimizerOptions(iterations=9))
    found = options_to_load(trained, given)
    assert (found.loss.l1_weight, found.seed) == (0, 3)
    assert found.optimizer == OptimizerOptions(iterations=9, batch_size=2)
    assert caplog.text == ""


def test_a_checkpoint_names_no_file_that_is_written(tmp_path: Path) -> None:
    trained = _plain(pretraining={"checkpoint": str(tmp_path / "anywhere"), "epochs": 3})
    found = options_to_load(trained, TrainingOptions()).pretraining
    assert (found.checkpoint, found.epochs) == (None, 3)


def test_a_checkpoint_without_options_leaves_them() -> None:
    given = TrainingOptions(backbone="resnet18")
    assert options_to_load({"of": "somebody else"}, given) == given


@pytest.mark.parametrize("options", [{"loss": {"l2_weight": 1}}, {"loss": {"l1_weight": -1}}], ids=str)
def test_options_of_another_version_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^the checkpoint's options are not those of this version: .*l[12]_weight"):
        options_to_load(options, TrainingOptions())


def test_components_are_loaded_where_they_fit() -> None:
    own = {"model.weight": torch.zeros(2), "evaluator.total": torch.zeros(2), "post_processor.low": torch.zeros(())}
    given = {"model.weight": torch.ones(2), "evaluator.total": torch.ones(3), "post_processor.low": torch.ones(())}
    loaded = weights_to_load(own, {**given, "visualizer.other": torch.ones(1)}, "it")
    assert {name: float(tensor.mean()) for name, tensor in loaded.items()} == {
        "model.weight": 1,
        "evaluator.total": 0,
        "post_processor.low": 1,
    }
    with pytest.raises(ValueError, match=r"^'it' is of another version: 1 tensors differ, among them model\.weight$"):
        weights_to_load(own, {"evaluator.total": torch.ones(2)}, "it")


@pytest.mark.parametrize("group", ["model.backbone", "model.normality.backbone"])
def test_no_backbone_is_fetched_from_where_a_stranger_says(group: str) -> None:
    address: dict = {"backbone": "hf-hub:someone/else"}
    trained = (
        address if group == "model.backbone" else {"normality": {**dataclasses.asdict(NormalityOptions()), **address}}
    )
    with pytest.raises(ValueError, match=f"give {group} if you trust the checkpoint's, which is 'hf-hub:someone/else'"):
        options_to_load(trained, TrainingOptions())
