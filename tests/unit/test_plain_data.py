"""Options as checkpoints hold them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from anomalib_slsg.plain_data import plain


@dataclass
class Options:
    """Options within options."""

    folder: Any
    sides: Any


def test_everything_within_is_plain(tmp_path: Path) -> None:
    options = {
        "number": np.int64(7),
        "rate": np.float32(0.5),
        "flag": np.bool_(True),
        "options": Options(folder=Path("textures"), sides=(np.int32(1), [np.float64(0.25), None])),
        "name": "resnet18",
    }
    expected = {
        "number": 7,
        "rate": 0.5,
        "flag": True,
        "options": {"folder": "textures", "sides": (1, [0.25, None])},
        "name": "resnet18",
    }
    assert plain(options) == expected
    torch.save(plain(options), tmp_path / "options.pt")
    assert torch.load(tmp_path / "options.pt", weights_only=True) == expected


def test_what_has_no_plain_form_stays() -> None:
    module = torch.nn.Identity()
    assert plain({"part": module})["part"] is module
    assert plain(Options) is Options


def test_containers_of_omegaconf_become_those_of_python(tmp_path: Path) -> None:
    options = {"image_size": [64, 32], "pretraining": {"large_mask_sides": [20, 60], "checkpoint": None}}
    found = plain(dict(OmegaConf.create(options)))
    assert found == options
    assert type(found["image_size"]) is type(found["pretraining"]["large_mask_sides"]) is list
    torch.save(found, tmp_path / "options.pt")
    assert torch.load(tmp_path / "options.pt", weights_only=True) == options


def test_a_size_of_torch_stays_one() -> None:
    assert type(plain(torch.Size([1, 2]))) is torch.Size
