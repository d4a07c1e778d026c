"""Groups of options, and how checkpoints hold them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.normality.options import MEASURES, CalibrationOptions, NormalityOptions
from anomalib_slsg.options import LossOptions, as_options, plain
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.simulation import SimulationOptions
from anomalib_slsg.synthetic_loco.tree import TreePlan
from anomalib_slsg.training.optimizer import OptimizerOptions
from anomalib_slsg.utils.options import Options

GROUPS: tuple[type[Options], ...] = (
    NetworkOptions,
    PretrainingOptions,
    SimulationOptions,
    LossOptions,
    OptimizerOptions,
    NormalityOptions,
    CalibrationOptions,
    TreePlan,
)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numeric(of: type = object) -> list[Any]:
    """Groups and names of the fields that hold a number, or several, of a type."""
    return [
        pytest.param(group, field.name, id=f"{group.group}.{field.name}")
        for group in GROUPS
        for field in dataclasses.fields(group)
        if group is not CalibrationOptions
        and all(
            _is_number(each) and isinstance(each, of)
            for each in (field.default if isinstance(field.default, tuple) else (field.default,))
        )
    ]


def _with(value: object, bad: object) -> list[object]:
    """What a field with such a default must not be: the bad value itself, or at any of its places."""
    if not isinstance(value, tuple):
        return [bad]
    return [bad, *((*value[:place], bad, *value[place + 1 :]) for place in range(len(value)))]


def test_there_are_numbers_that_must_be_given_in_all_groups_but_two() -> None:
    named = {parameter.values[0] for parameter in _numeric()}
    assert named == set(GROUPS) - {NormalityOptions, CalibrationOptions}


@pytest.mark.parametrize("rate", [0, 0.6, -0.1, float("nan"), True, "0.05"])
def test_a_rate_of_false_alarms_is_promised_or_none_is(rate: Any) -> None:
    assert [CalibrationOptions(good).false_alarm_rate for good in (None, 0.5, 0.001)] == [None, 0.5, 0.001]
    with pytest.raises(ValueError, match=r"calibration\.false_alarm_rate must lie in \(0, 0\.5\], got"):
        CalibrationOptions(rate)


@pytest.mark.parametrize(("group", "name"), _numeric())
@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), -float("inf"), True, False, "1", None, np.float32("nan")], ids=repr
)
def test_what_is_no_finite_number_is_refused_by_name(group: type[Options], name: str, bad: object) -> None:
    for value in _with(getattr(group(), name), bad):
        with pytest.raises(ValueError, match=rf"^{group.group}\.{name} must (be|lie)"):
            group(**{name: value})


@pytest.mark.parametrize(("group", "name"), _numeric(int))
def test_fractions_of_whole_numbers_are_refused_by_name(group: type[Options], name: str) -> None:
    for value in _with(getattr(group(), name), 2.0):
        with pytest.raises(ValueError, match=rf"^{group.group}\.{name} must be .*whole number"):
            group(**{name: value})


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.group)
def test_groups_are_frozen_and_equal_when_their_values_are(group: type[Options]) -> None:
    options, same = group(), group()
    assert options == same
    assert hash(options) == hash(same)
    for field in dataclasses.fields(options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field.name, getattr(options, field.name))


def test_groups_differ_when_a_value_does() -> None:
    assert OptimizerOptions(momentum=0.5) != OptimizerOptions()
    assert dataclasses.replace(OptimizerOptions(), momentum=0.5) == OptimizerOptions(momentum=0.5)
    with pytest.raises(ValueError, match=r"optimizer\.momentum must lie in \[0, 1\), got 1"):
        dataclasses.replace(OptimizerOptions(), momentum=1)


def test_lists_become_tuples() -> None:
    network = NetworkOptions(decoder_channels=[32, 16, 16, 8])  # type: ignore[arg-type]
    assert network.decoder_channels == (32, 16, 16, 8)
    assert network == NetworkOptions(decoder_channels=(32, 16, 16, 8))
    assert SimulationOptions(structural_opacity=[0.5, 1]).structural_opacity == (0.5, 1)  # type: ignore[arg-type]
    assert PretrainingOptions(large_mask_sides=[40, 40]).large_mask_sides == (40, 40)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["places", True, None, 1], ids=repr)
def test_measures_are_a_list(value: Any) -> None:
    assert NormalityOptions(measures=["composition", "places"]).measures == ("places", "composition")  # type: ignore
    assert NormalityOptions().measures == MEASURES
    with pytest.raises(ValueError, match=r"normality\.measures must be a list of places, whole, composition, or an"):
        NormalityOptions(measures=value)
    with pytest.raises(ValueError, match=r"normality\.measures must be one of places, whole, composition, got 'parts'"):
        NormalityOptions(measures=("places", "parts"))


@pytest.mark.parametrize("gamma", [0.5, 1e-6, 0.999])
def test_focusing_without_finite_gradients_is_refused(gamma: float) -> None:
    assert [LossOptions(focal_gamma=good).focal_gamma for good in (0, 0.0, 1, 4.5)] == [0, 0.0, 1, 4.5]
    with pytest.raises(ValueError, match=rf"loss\.focal_gamma must be 0 or at least 1, .*, got {gamma}"):
        LossOptions(focal_gamma=gamma)


def test_checkpoints_hold_plain_data_that_become_groups_again(tmp_path: Path) -> None:
    options = {
        "backbone": "resnet18",
        "network": NetworkOptions(decoder_channels=[np.int64(32), 16, 16, 8], num_neighbors=np.int32(7)),  # type: ignore
        "loss": LossOptions(l1_weight=np.float64(0.5)),
        "pretraining": PretrainingOptions(epochs=0),
        "seed": None,
    }
    torch.save(plain(options), tmp_path / "options.pt")
    found = torch.load(tmp_path / "options.pt", weights_only=True)
    assert found["network"]["num_neighbors"] == 7
    assert (found["backbone"], found["seed"]) == ("resnet18", None)
    for name in ("network", "loss", "pretraining"):
        assert type(found[name]) is dict
        assert as_options(type(options[name]), found[name]) == options[name]
    assert type(found["loss"]["l1_weight"]) is float
    assert [type(each) for each in found["network"]["decoder_channels"]] == [int] * 4


def test_groups_stay_as_they_are_and_bad_ones_of_checkpoints_are_refused() -> None:
    options = LossOptions(l1_weight=0.2)
    assert as_options(LossOptions, options) is options
    with pytest.raises(ValueError, match=r"loss\.l1_weight must lie in \[0, inf\), got -1"):
        as_options(LossOptions, {"l1_weight": -1})
