"""Options of the pre-training: defaults of the paper, and ranges."""

from dataclasses import asdict
from typing import Any

import pytest

from anomalib_slsg.pretraining.options import PretrainingOptions


def test_defaults_are_the_papers() -> None:
    """Sections 3.4 and 4.2."""
    paper = {
        "epochs": 40,
        "batch_size": 6,
        "generator_learning_rate": 1e-3,
        "discriminator_learning_rate": 6e-4,
        "patch_size": 8,
        "mask_ratio": 0.8,
        "large_mask_sides": (40, 150),
        "adversarial_weight": 1.0,
        "l1_weight": 0.8,
        "auxiliary_weight": 1.0,
    }
    options = asdict(PretrainingOptions())
    assert {name: options[name] for name in paper} == paper


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", -1),
        ("epochs", 2.5),
        ("batch_size", 0),
        ("patch_size", 0),
        ("generator_learning_rate", 0.0),
        ("discriminator_learning_rate", -1e-3),
        ("mask_ratio", 0.0),
        ("mask_ratio", 1.0),
        ("large_masks", -1),
        ("large_mask_sides", (150, 40)),
        ("large_mask_sides", (0, 40)),
        ("large_mask_sides", (40, 300)),
        ("large_mask_sides", (40,)),
        ("large_mask_sides", 40),
        ("adversarial_weight", -1.0),
        ("adversarial_weight", float("nan")),
        ("l1_weight", -1.0),
        ("auxiliary_weight", -1.0),
        ("log_images_every", -1),
    ],
)
def test_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"pretraining\.{name} must (be (a whole number|2 whole numbers)|lie) in .*, got"
    ):
        PretrainingOptions(**{name: value})


def test_no_epochs_leave_the_pretraining_out() -> None:
    assert PretrainingOptions(epochs=0).epochs == 0


def test_something_must_be_reconstructed() -> None:
    PretrainingOptions(l1_weight=0.0)
    PretrainingOptions(auxiliary_weight=0.0)
    with pytest.raises(ValueError, match=r"pretraining\.l1_weight"):
        PretrainingOptions(l1_weight=0.0, auxiliary_weight=0.0)


def test_survives_plain_data() -> None:
    """YAML and checkpoints turn tuples into lists and the class into a dictionary."""
    options = PretrainingOptions(epochs=3, large_mask_sides=[20, 30], checkpoint="gpt.ckpt")
    plain = {**asdict(options), "large_mask_sides": [20, 30]}
    assert PretrainingOptions(**plain) == options
