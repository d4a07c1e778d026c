"""Groups of options: their help, and the same options from YAML, the command line, Python and checkpoints."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from anomalib.cli import AnomalibCLI
from anomalib.engine import Engine

from anomalib_slsg import GenerativePretraining, Slsg
from anomalib_slsg.utils.options import Options
from tests.support.models import TINY_OPTIONS

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder

GROUPS = {
    name: type(each.default) for name, each in signature(Slsg).parameters.items() if isinstance(each.default, Options)
}
# of every group something that is not the default
GIVEN: dict[str, dict[str, Any]] = {
    "network": {"num_neighbors": 11, "decoder_channels": [64, 32, 16, 8]},
    "pretraining": {"epochs": 0, "large_mask_sides": [20, 60]},
    "simulation": {"noise": "rectangle", "structural_opacity": [0.5, 1.0]},
    "loss": {"l1_weight": 0.0},
    "optimizer": {"iterations": 10, "learning_rate": 0.01},
    "normality": {"backbone": "test_efficientnet", "encoder_weights": None, "measures": ["composition"]},
    "calibration": {"false_alarm_rate": 0.1},
}
TINY = {name: value for name, value in TINY_OPTIONS.items() if name not in {"image_size", "normality"}}


class Maker:
    """Makes a model of options in one of several ways, without training it.

    Args:
        command: Runs anomalib's command line in this process.
        folder: Where files go.
    """

    def __init__(self, command: Callable[..., AnomalibCLI], folder: Path) -> None:
        self._command, self._folder = command, folder

    def yaml(self, **options: Any) -> Slsg:
        """By a configuration."""
        file = self._folder / "model.yaml"
        model = {"class_path": "anomalib_slsg.Slsg", "init_args": {**TINY, **options}}
        file.write_text(yaml.safe_dump({"model": model}))
        return self._command("train", "--config", str(file)).model

    def command_line(self, **options: Any) -> Slsg:
        """By arguments, each option by itself."""
        arguments = ["--model", "anomalib_slsg.Slsg"]
        for name, value in {**TINY, **options}.items():
            # jsonargparse takes null in a group for the string "None" unless the group is given as one
            group = isinstance(value, dict) and None not in value.values()
            for key, each in (
                {f"{name}.{key}": each for key, each in value.items()} if group else {name: value}
            ).items():
                arguments += [f"--model.{key}", json.dumps(each).strip('"')]
        return self._command("train", *arguments).model

    def python(self, **options: Any) -> Slsg:
        """By the groups' classes."""
        groups = {name: GROUPS[name](**value) if name in GROUPS else value for name, value in options.items()}
        return Slsg(**TINY, **groups)


@pytest.fixture
def maker(
    parse_command: Callable[..., AnomalibCLI],
    folder_arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Maker:
    """One whose command line trains nothing."""
    monkeypatch.setattr(Engine, "train", lambda *_, **__: None)
    return Maker(lambda *arguments: parse_command(*arguments, *folder_arguments), tmp_path)


def _groups(model: Slsg) -> dict[str, Options]:
    """Where they are used."""
    (pretraining,) = (each for each in model.configure_callbacks() if isinstance(each, GenerativePretraining))
    return {
        "network": model.options.network,
        "pretraining": pretraining.options,
        "simulation": model.simulator.options,
        "loss": model.loss.options,
        "optimizer": model.options.optimizer,
        "normality": model.options.normality,
        "calibration": model.options.calibration,
    }


def test_every_group_is_looked_at() -> None:
    assert GROUPS.keys() == GIVEN.keys()
    assert all(issubclass(group, Options) for group in GROUPS.values())


def test_help_describes_every_option(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_command("train", "--model.help", "anomalib_slsg.Slsg")
    assert stop.value.code == 0
    # behind the usage: an option, what it takes, and its description before its type
    described = re.findall(r"^  --model\.(\S+) \S+\s+([^(\s-].*) \(type: ", capsys.readouterr().out, re.MULTILINE)
    texts = dict(described)
    wanted = [f"{group}.{field.name}" for group, kind in GROUPS.items() for field in fields(kind)]
    assert len(wanted) > len(GROUPS)
    assert [name for name in wanted if len(texts.get(name, "")) < len("Images per step.")] == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["yaml", "command_line", "python"])
def test_options_are_the_same_wherever_they_come_from(maker: Maker, way: str) -> None:
    expected = {name: kind(**GIVEN[name]) for name, kind in GROUPS.items()}
    assert all(expected[name] != kind() for name, kind in GROUPS.items())
    model = getattr(maker, way)(**GIVEN)
    assert _groups(model) == expected
    assert model.model.seg_net.decoder.channels == (64, 32, 16, 8)
    assert model.model.normality.places is None


@pytest.mark.slow
@pytest.mark.parametrize("way", ["yaml", "command_line", "python"])
def test_options_come_back_from_a_checkpoint(
    maker: Maker, way: str, make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, max_steps=1, logger=False)
    engine.fit(getattr(maker, way)(**GIVEN, image_size=32), make_folder())
    loaded = Slsg.load_from_checkpoint(engine.best_model_path)
    assert _groups(loaded) == {name: kind(**GIVEN[name]) for name, kind in GROUPS.items()}
    assert loaded.image_size == (32, 32)


@pytest.mark.parametrize("way", ["yaml", "command_line", "python"])
def test_one_number_is_both_sides_of_an_image(maker: Maker, way: str) -> None:
    for size in (64, [64, 64]):
        model = getattr(maker, way)(image_size=size)
        assert model.image_size == (64, 64)
        assert tuple(model.pre_processor.transform.size) == (64, 64)
