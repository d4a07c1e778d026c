"""Every shipped configuration is one that the command line takes."""

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from anomalib.cli import AnomalibCLI

from anomalib_slsg import Slsg
from anomalib_slsg.networks.weights import packaged_weights
from tests.support.paths import CONFIGS, REPOSITORY

DATA = sorted((CONFIGS / "data").glob("*.yaml"))
ABLATIONS = sorted((CONFIGS / "ablations").glob("*.yaml"))
PAPER = yaml.safe_load((REPOSITORY / "benchmarks" / "ablations" / "paper.yaml").read_text())
TABLES = {4, 5, 6, 7}


def _print_config(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str], *configs: Path
) -> dict:
    arguments = [argument for config in configs for argument in ("--config", str(config))]
    with pytest.raises(SystemExit) as stop:
        parse_command("train", *arguments, "--print_config")
    output = capsys.readouterr()
    assert stop.value.code == 0, output.err
    return yaml.safe_load(output.out)


def _flatten(options: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in options.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


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


def test_the_model_configuration_holds_the_defaults(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text(yaml.safe_dump({"model": {"class_path": "anomalib_slsg.Slsg"}}))
    default = _flatten(_print_config(parse_command, capsys, bare)["model"]["init_args"])
    given = _flatten(yaml.safe_load((CONFIGS / "model" / "slsg.yaml").read_text())["model"]["init_args"])
    size = list(Slsg.configure_pre_processor().transform.size)  # what null, the default, means
    assert given == {name: default[name] for name in given} | {"image_size": size}


@pytest.mark.parametrize("name", ["fast", "paper"])
def test_other_model_configurations_change_what_they_say(
    name: str, paper_options: dict, parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    path = CONFIGS / "model" / f"{name}.yaml"
    parsed = _print_config(parse_command, capsys, path, CONFIGS / "data" / "mvtec_loco.yaml")["model"]
    given = yaml.safe_load(path.read_text())["model"]["init_args"]
    expected = _flatten(paper_options | {"image_size": None}) | _flatten(given)
    assert _flatten(parsed["init_args"]) == expected


def test_quickstart_needs_no_network(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = _print_config(parse_command, capsys, CONFIGS / "quickstart.yaml")
    options = parsed["model"]["init_args"]
    for source in (options, options["normality"]):
        assert source["encoder_weights"] == "imagenet"
        assert packaged_weights(source["backbone"]) is not None
    assert parsed["data"]["class_path"].endswith("SyntheticLOCO")


@pytest.fixture(scope="module")
def paper_options() -> dict:
    """``Slsg``'s options as the paper's configuration gives them; parsed once for all ablations."""
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(StringIO()) as output:
        monkeypatch.setenv("COLUMNS", "1000")
        with pytest.raises(SystemExit):
            AnomalibCLI(args=["train", "--config", str(CONFIGS / "model" / "slsg.yaml"), "--print_config"])
    return yaml.safe_load(output.getvalue())["model"]["init_args"]


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda path: path.stem)
def test_ablation_changes_what_it_says_and_nothing_else(
    ablation: Path,
    paper_options: dict,
    parse_command: Callable[..., AnomalibCLI],
    capsys: pytest.CaptureFixture[str],
) -> None:
    parsed = _print_config(parse_command, capsys, CONFIGS / "model" / "slsg.yaml", ablation)["model"]
    assert parsed["class_path"].endswith("Slsg")
    expected = _flatten(paper_options)
    for name, value in _flatten(yaml.safe_load(ablation.read_text())["model"]["init_args"]).items():
        assert name in expected, f"{name} is no option"
        assert expected[name] != value, f"{name} is the default"
        expected[name] = value
    assert _flatten(parsed["init_args"]) == expected
    # the options may go together with the command line, but not with each other
    Slsg(**{**parsed["init_args"], "backbone": "test_resnet"})


def test_ablation_keeps_the_other_options_of_its_group(
    parse_command: Callable[..., AnomalibCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = (CONFIGS / "ablations" / f"{name}.yaml" for name in ("table4_patch8_ratio60", "table5_rectangle_noise"))
    options = _print_config(parse_command, capsys, CONFIGS / "quickstart.yaml", *paths)["model"]["init_args"]
    assert (options["pretraining"]["epochs"], options["pretraining"]["mask_ratio"]) == (3, 0.6)
    assert (options["simulation"]["minimum_change"], options["simulation"]["noise"]) == (0.05, "rectangle")
    assert options["network"]["decoder_channels"] == [128, 64, 32, 16]


def test_ablations_and_the_papers_figures_correspond() -> None:
    figures = [(entry["config"], entry["table"]) for entry in PAPER]
    assert len(figures) == len(set(figures))
    assert {config for config, _ in figures} == {path.stem for path in ABLATIONS}
    assert {table for config, table in figures if config == "full"} == TABLES
    for config, table in figures:
        assert config == "full" or config.startswith(f"table{table}_")


@pytest.mark.parametrize("entry", PAPER, ids=lambda entry: f"{entry['config']}-{entry['table']}")
def test_ablation_names_its_experiment_and_figures(entry: dict) -> None:
    first = (CONFIGS / "ablations" / f"{entry['config']}.yaml").read_text().splitlines()[0]
    assert first.startswith("# Tables 4-7, SLSG." if entry["config"] == "full" else f"# Table {entry['table']}, ")
    name = entry["experiment"]
    assert (f"experiment {name}." if name.isdigit() else f'"{name}"') in first or entry["config"] == "full"
    paper = entry["paper"]
    for kind, name in (("structural", "_structural"), ("logical", "_logical"), ("mean", "")):
        assert f"{kind} {paper[f'image_AUROC{name}']:.3f}" in first
    assert paper["pixel_AUROC"] is None
