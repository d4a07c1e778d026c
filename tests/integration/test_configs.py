"""Every shipped configuration is one that the command line takes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from anomalib.cli import AnomalibCLI

from anomalib_slsg import Slsg

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DATA = sorted((CONFIGS / "data").glob("*.yaml"))


def _print_config(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str], *configs: Path
) -> dict:
    arguments = [argument for config in configs for argument in ("--config", str(config))]
    with pytest.raises(SystemExit) as stop:
        parse_command("train", *arguments, "--print_config")
    output = capsys.readouterr()
    assert stop.value.code == 0, output.err
    return yaml.safe_load(output.out)


def test_there_is_a_configuration_for_every_data_set() -> None:
    assert {path.stem for path in DATA} == {"mvtec_loco", "mvtec_ad", "btad", "synthetic_loco", "folder"}


@pytest.mark.parametrize("data", DATA, ids=lambda path: path.stem)
def test_model_and_data_configurations_go_together(
    data: Path, parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = _print_config(parse_command, capsys, CONFIGS / "model" / "slsg.yaml", data)
    assert parsed["model"]["class_path"].endswith("Slsg")
    given = yaml.safe_load(data.read_text())["data"]
    assert parsed["data"]["class_path"].split(".")[-1] == given["class_path"].split(".")[-1]
    for name, value in given["init_args"].items():
        assert str(parsed["data"]["init_args"][name]).removeprefix("./") == str(value).removeprefix("./")


def test_paper_configuration_holds_the_defaults(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = _print_config(parse_command, capsys, CONFIGS / "model" / "slsg.yaml")
    default = Slsg(encoder_weights=None)
    arguments = parsed["model"]["init_args"]
    for name in ("learning_rate", "iterations", "train_batch_size"):
        assert arguments[name] == getattr(default, name)
    assert arguments["encoder_weights"] == "imagenet"
    options = default.pretraining_options
    for name, value in arguments["pretraining"].items():
        expected = getattr(options, name)
        assert value == (list(expected) if isinstance(expected, tuple) else expected)


def test_quickstart_needs_no_network(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = _print_config(parse_command, capsys, CONFIGS / "quickstart.yaml")
    assert parsed["model"]["init_args"]["encoder_weights"] is None
    assert parsed["data"]["class_path"].endswith("SyntheticLOCO")
