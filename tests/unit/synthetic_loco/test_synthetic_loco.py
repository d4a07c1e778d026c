"""SyntheticLOCO: a whole tree of MVTec LOCO, whatever happens while it is written."""

import errno
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from anomalib.data import ImageBatch, ImageItem, MVTecLOCO
from numpy.typing import NDArray

from anomalib_slsg.data import SyntheticLOCO
from anomalib_slsg.synthetic_loco import tree as loco_tree
from anomalib_slsg.synthetic_loco.__main__ import main
from anomalib_slsg.synthetic_loco.scenes import SCENES
from anomalib_slsg.synthetic_loco.tree import TreePlan, is_complete, write_tree

CATEGORIES = list(SCENES)
# A process of its own start has no threads of OpenCV or torch in an unknown state.
SPAWN = multiprocessing.get_context("spawn")


def _plan(root: Path, category: str = "tray", **changes: Any) -> TreePlan:
    numbers = {"image_size": 64, "train_images": 2, "validation_images": 1, "test_images": 5, "data_seed": 0}
    return TreePlan(root, category, **{**numbers, **changes})


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _read(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root with small whole trees of all categories."""
    root = tmp_path_factory.mktemp("whole")
    for category in CATEGORIES:
        assert write_tree(_plan(root, category))
    return root


@pytest.mark.parametrize("category", CATEGORIES)
def test_tree_has_the_layout_of_mvtec_loco(whole: Path, category: str) -> None:
    folder = whole / category
    images = {
        "train/good": 2,
        "validation/good": 1,
        "test/good": 5,
        "test/logical_anomalies": 5,
        "test/structural_anomalies": 5,
    }
    for name, count in images.items():
        assert sorted(path.name for path in (folder / name).iterdir()) == [f"{i:03d}.png" for i in range(count)]
    for kind in ("logical_anomalies", "structural_anomalies"):
        masks = folder / "ground_truth" / kind
        assert sorted(path.name for path in masks.iterdir()) == [f"{i:03d}" for i in range(5)]
        numbers = [sorted(path.name for path in image.iterdir()) for image in sorted(masks.iterdir())]
        assert numbers == [["000.png"]] * 4 + [["000.png", "001.png"]]
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {"complete.json", "defects_config.json"}


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_mask_has_one_value_of_the_config(whole: Path, category: str) -> None:
    config = json.loads((whole / category / "defects_config.json").read_text())
    values = [entry["pixel_value"] for entry in config]
    assert values == list(range(255, 255 - len(config), -1))
    assert {entry["relative_saturation"] for entry in config} == {True, False}
    for entry in config:
        assert set(entry) == {"defect_name", "pixel_value", "saturation_threshold", "relative_saturation"}
        if entry["relative_saturation"]:
            assert 0 < entry["saturation_threshold"] <= 1
        else:
            assert isinstance(entry["saturation_threshold"], int)
            assert 1 <= entry["saturation_threshold"] < 64 * 64
    paths = list((whole / category / "ground_truth").rglob("*.png"))
    assert len(paths) == 12
    for path in paths:
        mask = _read(path)
        assert mask.shape == (64, 64)
        found = set(np.unique(mask).tolist()) - {0}
        assert len(found) == 1
        assert found <= set(values)


@pytest.mark.parametrize("category", CATEGORIES)
def test_anomalib_mvtec_loco_reads_it(whole: Path, category: str) -> None:
    reader = MVTecLOCO(root=whole, category=category, num_workers=0)
    reader.setup()
    assert (len(reader.train_data), len(reader.val_data), len(reader.test_data)) == (2, 1, 15)
    for item in map(reader.test_data.__getitem__, range(15)):
        assert isinstance(item, ImageItem)
        assert item.image_path is not None
        assert item.gt_mask is not None
        path = Path(item.image_path)
        masks = sorted((whole / category / "ground_truth" / path.parent.name / path.stem).glob("*.png"))
        union = np.zeros((64, 64), dtype=bool)
        for mask in masks:
            union |= _read(mask) > 0
        assert bool(item.gt_label) == (path.parent.name != "good")
        assert np.array_equal(item.gt_mask.numpy().astype(bool), union)


def test_absolute_saturation_goes_with_the_image_area() -> None:
    small, large = (loco_tree.defects_config("tray", size) for size in (64, 256))
    for entry, other in zip(small, large, strict=True):
        factor = 1 if entry["relative_saturation"] else 16
        assert other["saturation_threshold"] == pytest.approx(factor * entry["saturation_threshold"], rel=0.02)


def test_more_images_leave_the_first_ones_as_they_are(whole: Path, tmp_path: Path) -> None:
    write_tree(_plan(tmp_path, train_images=3, validation_images=2, test_images=6))
    few, many = _contents(whole / "tray"), _contents(tmp_path / "tray")
    del few["complete.json"]
    assert few.items() <= many.items()
    assert len(many) > len(few) + 1


def test_whole_tree_is_not_written_again(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "tray").rglob("*")}
    assert not write_tree(_plan(whole))
    assert before == {path: path.stat().st_mtime_ns for path in (whole / "tray").rglob("*")}


def test_tree_that_has_lost_an_image_is_no_whole_one(tmp_path: Path) -> None:
    """Figures of fewer images would be taken for those of all."""
    plan = _plan(tmp_path)
    write_tree(plan)
    lost = plan.folder / "test" / "logical_anomalies" / "001.png"
    lost.unlink()
    with pytest.raises(
        ValueError, match=r"logical_anomalies.001\.png has been removed from a whole tree; .*delete that folder"
    ):
        is_complete(plan)


@pytest.mark.parametrize(
    ("option", "value"), [("train_images", 1.5), ("image_size", (64, 64)), ("data_seed", "3"), ("test_images", None)]
)
def test_numbers_that_are_none_are_named_before_anything_is_written(tmp_path: Path, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"data\.{option} must be a whole number in .*, got"):
        write_tree(_plan(tmp_path, **{option: value}))
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers(whole: Path, tmp_path: Path) -> None:
    plan = _plan(tmp_path, data_seed=np.int64(0))
    write_tree(plan)
    assert _contents(plan.folder) == _contents(whole / "tray")


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path, __: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/.*\.png'"):
        write_tree(_plan(tmp_path))


def test_command_line_names_files_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["--root", str(tmp_path / "file"), "--category", "tray"])
    assert str(tmp_path / "file") in capsys.readouterr().err


def _interrupt_after(images: int) -> Callable[[], None]:
    left = iter(range(images - 1))

    def advance() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return advance


def _assert_nothing_is_there(plan: TreePlan) -> None:
    assert not plan.folder.exists()
    assert not is_complete(plan)
    with pytest.raises(RuntimeError, match="prepare_data"):
        _module(plan.root).setup()


@pytest.mark.parametrize("images", [1, 2, 9, 18])
def test_interrupted_tree_is_not_there_and_is_drawn_again(whole: Path, tmp_path: Path, images: int) -> None:
    plan = _plan(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_tree(plan, _interrupt_after(images))
    assert len(list((tmp_path / ".unfinished" / "tray").rglob("[0-9][0-9][0-9].png"))) >= images
    _assert_nothing_is_there(plan)
    (tmp_path / ".unfinished" / "tray" / "train" / "good" / "000.png").write_bytes(b"half an image")
    assert write_tree(plan)
    assert _contents(plan.folder) == _contents(whole / "tray")
    assert not (tmp_path / ".unfinished" / "tray").exists()


def test_tree_whose_move_failed_is_drawn_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(tmp_path)

    def fail(_: Path, target: Path) -> None:
        raise OSError(f"{target} is on a full disk")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="full disk"):
            write_tree(plan)
    _assert_nothing_is_there(plan)
    assert write_tree(plan)
    assert _contents(plan.folder) == _contents(whole / "tray")


def test_unfinished_tree_of_another_plan_leaves_nothing_in_the_next_one(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_tree(_plan(tmp_path, data_seed=5, test_images=8), _interrupt_after(20))
    assert write_tree(_plan(tmp_path))
    assert _contents(tmp_path / "tray") == _contents(whole / "tray")


def test_other_categories_stay_while_one_is_drawn(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_tree(_plan(tmp_path), _interrupt_after(2))
    left = _contents(tmp_path / ".unfinished" / "tray")
    assert write_tree(_plan(tmp_path, "bottle"))
    assert _contents(tmp_path / "bottle") == _contents(whole / "bottle")
    assert _contents(tmp_path / ".unfinished" / "tray") == left


def test_empty_folder_is_no_hindrance(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "tray").mkdir()
    assert write_tree(_plan(tmp_path))
    assert _contents(tmp_path / "tray") == _contents(whole / "tray")


@pytest.mark.slow
def test_killed_process_frees_the_tree(whole: Path, tmp_path: Path) -> None:
    # It stalls after the first image, the lock in hand.
    process = SPAWN.Process(target=write_tree, args=(_plan(tmp_path), partial(time.sleep, 60)))
    process.start()
    _wait_for_first_image(tmp_path)
    process.kill()
    process.join()
    assert not is_complete(_plan(tmp_path))
    assert write_tree(_plan(tmp_path))
    assert _contents(tmp_path / "tray") == _contents(whole / "tray")


@pytest.mark.slow
def test_several_processes_write_one_tree(whole: Path, tmp_path: Path) -> None:
    # The images take their time, so that all three meet.
    write = partial(write_tree, advance=partial(time.sleep, 0.05))
    with SPAWN.Pool(2) as pool:
        written = pool.map_async(write, [_plan(tmp_path)] * 2, chunksize=1)
        _wait_for_first_image(tmp_path)
        assert not write_tree(_plan(tmp_path))
        assert _contents(tmp_path / "tray") == _contents(whole / "tray")
        assert sorted(written.get(120)) == [False, True]  # drawn once
    assert _contents(tmp_path / "tray") == _contents(whole / "tray")


def _wait_for_first_image(root: Path) -> None:
    path = root / ".unfinished" / "tray" / "train" / "good" / "000.png"
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} has not been written"
        time.sleep(0.02)


def test_other_parameters_are_refused(whole: Path) -> None:
    with pytest.raises(ValueError, match=r"tray was drawn with other parameters \(train_images 2 instead of 4\)"):
        write_tree(_plan(whole, train_images=4))


def test_foreign_files_are_refused_and_left(tmp_path: Path) -> None:
    foreign = tmp_path / "tray" / "train" / "good" / "000.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's photograph")
    with pytest.raises(ValueError, match="SyntheticLOCO has not written"):
        write_tree(_plan(tmp_path))
    assert _contents(tmp_path / "tray") == {"train/good/000.png": b"somebody's photograph"}


def test_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "tray").mkdir()
    (tmp_path / "tray" / "complete.json").write_text("{")
    with pytest.raises(ValueError, match=r"complete\.json cannot be read"):
        write_tree(_plan(tmp_path))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("category", "screw_bag"),
        ("image_size", 63),
        ("train_images", 0),
        ("validation_images", -1),
        ("test_images", 0),
        ("data_seed", -1),
    ],
)
def test_bad_option_is_named(tmp_path: Path, option: str, value: str | int) -> None:
    with pytest.raises(ValueError, match=rf"data\.{option} must"):
        SyntheticLOCO(root=tmp_path, **{option: value})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def _module(root: Path, **changes: str | int) -> SyntheticLOCO:
    options: dict[str, Any] = {"image_size": 64, "train_images": 2, "validation_images": 1, "test_images": 5}
    return SyntheticLOCO(root=root, num_workers=0, **{**options, **changes})


def test_data_module_gives_batches(tmp_path: Path) -> None:
    module = _module(tmp_path, category="bottle", image_size=256, test_images=2, train_batch_size=2, eval_batch_size=4)
    assert (module.name, module.category) == ("SyntheticLOCO", "bottle")
    module.prepare_data()
    module.setup()
    assert (len(module.train_data), len(module.val_data), len(module.test_data)) == (2, 1, 6)
    batch = next(iter(module.train_dataloader()))
    assert isinstance(batch, ImageBatch)
    assert batch.gt_label is not None
    assert batch.image is not None
    assert batch.image.shape == (2, 3, 256, 256)
    assert not batch.gt_label.any()
    tests = list(module.test_dataloader())
    assert sum(len(batch.image) for batch in tests) == 6
    assert sum(int(batch.gt_label.sum()) for batch in tests) == 4
    assert all((batch.gt_mask.flatten(1).any(dim=1) == batch.gt_label.bool()).all() for batch in tests)


def test_unprepared_data_module_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="call prepare_data"):
        _module(tmp_path).setup()


def test_command_line_writes_all_categories(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([f"--root={tmp_path}", "--image_size=64", "--train_images=1", "--validation_images=1", "--test_images=1"])
    for category in CATEGORIES:
        written = _contents(tmp_path / category)
        del written["complete.json"]
        assert len(written) == 8
        assert written.items() <= _contents(whole / category).items()
    with pytest.raises(SystemExit):
        main([f"--root={tmp_path}", "--category=screw_bag"])
    assert "screw_bag" in capsys.readouterr().err
