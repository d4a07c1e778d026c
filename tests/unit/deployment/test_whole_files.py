"""Exports that are either whole or absent."""

from pathlib import Path

import pytest

from anomalib_slsg.deployment.whole_files import export_whole


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_export_that_ends_early_leaves_the_older_one(error: type[BaseException], tmp_path: Path) -> None:
    def export(folder: Path, content: str) -> Path:
        file = folder / "weights" / "openvino" / "model.xml"
        file.parent.mkdir(parents=True)
        for each in (file, file.with_suffix(".bin")):
            each.write_text(content)
            if content == "new":
                raise error
        return file

    file = export_whole(tmp_path, lambda folder: export(folder, "old"))
    assert file == tmp_path / "weights" / "openvino" / "model.xml"
    before = {each: each.read_text() for each in tmp_path.rglob("*") if each.is_file()}
    assert set(before.values()) == {"old"}
    with pytest.raises(error):
        export_whole(tmp_path, lambda folder: export(folder, "new"))
    assert {each: each.read_text() for each in tmp_path.rglob("*") if each.is_file()} == before
    assert [each.name for each in tmp_path.iterdir()] == ["weights"]
