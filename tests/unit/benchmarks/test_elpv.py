import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from anomalib.data import Folder
from PIL import Image

NORMAL = {"mono": 10, "poly": 15}
DEFECTIVE = {"mono": 3, "poly": 2}
UNSURE = 4


@pytest.fixture(scope="module")
def elpv() -> ModuleType:
    from benchmarks.datasets import elpv

    return elpv


def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw cells in mixed order; each is as bright as its place in the data set."""
    rows = [(0.0, kind) for kind, number in NORMAL.items() for _ in range(number)]
    rows += [(1.0, kind) for kind, number in DEFECTIVE.items() for _ in range(number)]
    rows += [(probability, kind) for kind in NORMAL for probability in (1 / 3, 2 / 3)]
    order = np.random.default_rng(3).permutation(len(rows))
    images = np.broadcast_to(np.arange(len(rows), dtype=np.uint8)[:, None, None], (len(rows), 8, 8))
    return images, np.array([rows[index][0] for index in order]), np.array([rows[index][1] for index in order])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Stand in for the package; the list grows with every reading of it."""
    made: list[None] = []
    utils = ModuleType("elpv_dataset.utils")
    utils.load_dataset = lambda: made.append(None) or cells()
    monkeypatch.setitem(sys.modules, "elpv_dataset", ModuleType("elpv_dataset"))
    monkeypatch.setitem(sys.modules, "elpv_dataset.utils", utils)
    return made


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("calls")
def test_every_sure_cell_is_in_the_folder_of_its_kind_and_class(elpv: ModuleType, tmp_path: Path) -> None:
    elpv.write_trees(tmp_path / "elpv")
    _, probabilities, kinds = cells()
    seen = []
    for path in (tmp_path / "elpv").rglob("*.png"):
        kind, _, label = path.relative_to(tmp_path / "elpv").parts[:3]
        pixels = np.asarray(Image.open(path))
        index = pixels[0, 0]
        assert (pixels == index).all()
        assert pixels.shape == (8, 8)
        assert path.name == f"cell{index + 1:04d}.png"
        assert (kinds[index], probabilities[index]) == (kind, {"good": 0, "defect": 1}[label])
        seen.append(int(index))
    assert sorted(seen) == np.flatnonzero(np.isin(probabilities, [0, 1])).tolist()
    assert len(seen) == len(probabilities) - UNSURE


@pytest.mark.usefixtures("calls")
def test_a_fifth_of_the_normal_cells_of_each_kind_is_for_testing(elpv: ModuleType, tmp_path: Path) -> None:
    elpv.write_trees(tmp_path / "elpv")
    for kind, number in NORMAL.items():
        assert len(list((tmp_path / "elpv" / kind / "test" / "good").iterdir())) == number // 5
        assert len(list((tmp_path / "elpv" / kind / "train" / "good").iterdir())) == number - number // 5


@pytest.mark.usefixtures("calls")
def test_folder_data_module_reads_the_trees(elpv: ModuleType, tmp_path: Path) -> None:
    elpv.write_trees(tmp_path / "elpv")
    data = Folder(
        name="poly",
        root=tmp_path / "elpv" / "poly",
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir="test/defect",
        val_split_mode="same_as_test",
        num_workers=0,
    )
    data.setup()
    assert len(data.train_data) == 12
    assert data.test_data.samples["label_index"].value_counts().to_dict() == {0: 3, 1: 2}


@pytest.mark.usefixtures("calls")
def test_same_trees_every_time(elpv: ModuleType, tmp_path: Path) -> None:
    for name in ("first", "second"):
        np.random.seed(len(name))  # what other code does with NumPy's own generator changes nothing
        elpv.write_trees(tmp_path / name)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_split_is_random_but_for_its_seed(elpv: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    _, probabilities, kinds = cells()
    part = Path("poly", "test", "good")
    splits = set()
    for seed in range(5):
        monkeypatch.setattr(elpv, "SEED", seed)
        splits.add(tuple(elpv.split(probabilities, kinds)[part]))
    assert len(splits) > 1


def test_trees_that_are_there_are_left_alone(elpv: ModuleType, tmp_path: Path, calls: list[None]) -> None:
    elpv.write_trees(tmp_path / "elpv")
    image = next((tmp_path / "elpv").rglob("*.png"))
    image.write_bytes(b"mine")
    elpv.write_trees(tmp_path / "elpv")
    assert len(calls) == 1
    assert image.read_bytes() == b"mine"


@pytest.mark.usefixtures("calls")
def test_failure_leaves_nothing(elpv: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = Image.Image.save, []

    def save_some(image: Image.Image, path: Path) -> None:
        if len(saved) == 7:
            raise OSError("No space left on device")
        saved.append(path)
        save(image, path)

    monkeypatch.setattr(Image.Image, "save", save_some)
    with pytest.raises(OSError, match="No space left"):
        elpv.write_trees(tmp_path / "elpv")
    assert len(saved) == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("calls")
def test_empty_folder_is_filled(elpv: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "elpv").mkdir()
    elpv.write_trees(tmp_path / "elpv")
    assert sorted(path.name for path in (tmp_path / "elpv").iterdir()) == ["mono", "poly"]
    assert [path.name for path in tmp_path.iterdir()] == ["elpv"]


def test_other_files_are_not_touched(elpv: ModuleType, tmp_path: Path, calls: list[None]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for root in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(FileExistsError, match="choose another --root"):
            elpv.write_trees(root)
    assert contents(tmp_path) == {"notes.txt": b"mine"}
    assert calls == []


def test_without_the_package_one_is_told_what_to_install(
    elpv: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    monkeypatch.delitem(sys.modules, "elpv_dataset.utils", raising=False)
    with pytest.raises(SystemExit) as stop:
        elpv.main(["--root", str(tmp_path / "elpv")])
    assert stop.value.code == 2
    assert 'in the checkout, pip install ".[benchmark]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("calls")
def test_command_line(elpv: ModuleType, tmp_path: Path) -> None:
    elpv.main(["--root", str(tmp_path / "new" / "elpv")])
    assert len(contents(tmp_path / "new" / "elpv")) == sum([*NORMAL.values(), *DEFECTIVE.values()])
