"""The wheel holds the whole package."""

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.support.commands import run_python
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow


def test_wheel_holds_every_module_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: builds leave folders behind, and take over what earlier builds left
    shutil.copytree(
        REPOSITORY / "anomalib_slsg", source / "anomalib_slsg", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    run_python(tmp_path, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    package = REPOSITORY / "anomalib_slsg"
    expected = [path.relative_to(REPOSITORY).as_posix() for path in package.rglob("*.py")]
    page = [f"anomalib_slsg/report/templates/report.{suffix}" for suffix in ("html", "css", "js")]
    assert sorted(names) == sorted([*expected, *page, "anomalib_slsg/py.typed"])
