"""The documents' site builds without a warning and without a network, and its page of options is complete."""

import dataclasses
import inspect
import logging
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from anomalib_slsg import Slsg
from anomalib_slsg.utils.options import Options
from tests.support.paths import REPOSITORY

ENTRY = re.compile(
    r"^`--model\.(?P<name>[\w.]+)`\n:   (?P<meaning>.*)\n    \*Default: (?P<default>.*)\.\*$", re.MULTILINE
)


class Site(NamedTuple):
    """The folder of the built site, and the hook that makes the page of options."""

    folder: Path
    options: ModuleType


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Build the site as ``make docs`` does; what mkdocs warns of is an error."""
    pytest.importorskip("material", reason="needs the extra docs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(folder), strict=True)
    logging.getLogger("mkdocs").setLevel(logging.WARNING)  # what is not logged is not counted
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return Site(folder, config.hooks["docs/hooks/options_page.py"])


def test_pages_show_files_of_the_repository(site: Site) -> None:
    figures = site.folder / "repository" / "benchmarks" / "figures"
    assert 'src="repository/benchmarks/figures/speed.png"' in (site.folder / "results.html").read_text(encoding="utf-8")
    assert (figures / "speed.png").read_bytes() == (REPOSITORY / "benchmarks" / "figures" / "speed.png").read_bytes()
    notebook = (site.folder / "notebook" / "2026-11.html").read_text(encoding="utf-8")
    assert 'href="../repository/benchmarks/README.md.txt"' in notebook
    assert (site.folder / "repository" / "benchmarks" / "README.md.txt").exists()


def test_pages_load_nothing_from_the_web(site: Site) -> None:
    loading = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\s>]*")
    for page in site.folder.rglob("*.html"):
        assert not loading.findall(page.read_text(encoding="utf-8")), page.name


def test_every_option_has_a_meaning_on_the_page(site: Site) -> None:
    wanted = []
    for name, parameter in inspect.signature(Slsg).parameters.items():
        group = parameter.default
        grouped = dataclasses.fields(group) if isinstance(group, Options) else ()
        wanted += [f"{name}.{field.name}" for field in grouped] or [name]
    entries = list(ENTRY.finditer(site.options.page()))
    assert sorted(entry["name"] for entry in entries) == sorted(wanted)
    assert [entry["name"] for entry in entries if len(entry["meaning"].split()) < 2] == []


def test_options_have_the_default_and_what_is_allowed(site: Site) -> None:
    defaults = {entry["name"]: entry["default"] for entry in ENTRY.finditer(site.options.page())}
    assert defaults["network.num_neighbors"] == "`9`, allowed: `[1, inf)`"
    assert defaults["pretraining.large_mask_sides"] == "`[40, 150]`, allowed: `[1, 256]`"
    assert defaults["calibration.false_alarm_rate"] == "`0.05`, allowed: `(0, 0.5] or null`"
    assert defaults["simulation.noise"] == "`perlin`, allowed: `perlin, rectangle`"
    assert (defaults["seed"], defaults["auto_bfloat16"]) == ("`null`", "`true`")


def test_the_example_in_python_runs(site: Site) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", site.options.page(), re.DOTALL)
    names: dict[str, Slsg] = {}
    exec(example, names)
    assert names["model"].options.network.num_neighbors == 11
