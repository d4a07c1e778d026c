"""What lies in a user's folders before a run, and where its pictures are afterwards."""

import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from anomalib.data import ImageBatch, PredictDataset
from anomalib.data.utils import image
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch.utils.data import DataLoader

from anomalib_slsg import Slsg
from anomalib_slsg.data.checks import refuse_linked_folders
from anomalib_slsg.data.reading import check_images
from tests.support.models import NO_NORMALITY, NO_PRETRAINING, tiny_slsg
from tests.support.trees import claim_png, write_image

if TYPE_CHECKING:
    from tests.integration.conftest import MakeEngine, MakeFolder

GREY = np.full((32, 48, 3), 120, np.uint8)
pytestmark = pytest.mark.usefixtures("plain_reading")


def make_model(visualizer: bool = False) -> Slsg:
    return tiny_slsg(pretraining=NO_PRETRAINING, normality=NO_NORMALITY, visualizer=visualizer)


@pytest.fixture
def tree(folder_tree: Path, tmp_path: Path) -> Path:
    """A copy of the drawn folder, which a test may change."""
    return Path(shutil.copytree(folder_tree, tmp_path / "parts"))


def pictures(root: Path) -> list[str]:
    """Pictures of a run, as paths below its folder."""
    (images,) = {path.parent for path in root.rglob("images")}
    return sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))


def test_pictures_keep_the_folders_of_their_images(make_engine: "MakeEngine", tmp_path: Path) -> None:
    names = [f"new/line{line}/cam{camera}/0001.png" for line in "AB" for camera in (1, 2)]
    for name in names:
        write_image(tmp_path / name, GREY)
    model = make_model(True)
    make_engine(tmp_path / "results").predict(model, dataset=PredictDataset(tmp_path / "new"))
    assert pictures(tmp_path / "results") == [name.replace("new", "images", 1) for name in names]
    assert b"lineA" not in pickle.dumps(model.visualizer)  # which goes with exported models


def test_two_folders_of_anomalies_have_pictures_of_their_own(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tree: Path, tmp_path: Path
) -> None:
    for line in ("A", "B"):
        shutil.copytree(tree / "bad", tree / line / "bad")
    datamodule = make_folder(name="products", root=tree, abnormal_dir=["A/bad", "B/bad"], mask_dir=None)
    make_engine(tmp_path / "results").test(make_model(True), datamodule=datamodule)
    drawn = pictures(tmp_path / "results")
    assert len(drawn) == len(set(drawn)) == 12
    assert {name.rsplit("/", 1)[0] for name in drawn} == {"images/A/bad", "images/B/bad", "images/good_test"}


def test_pictures_of_another_day_stay(
    make_engine: "MakeEngine", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for day, grey in (("monday", 60), ("tuesday", 200)):
        write_image(tmp_path / day / "new" / "0001.png", np.full_like(GREY, grey))
        data = PredictDataset(tmp_path / day / "new")
        make_engine(tmp_path / "results").predict(make_model(True), dataset=data)
    assert pictures(tmp_path / "results") == ["images/new/0001.png", "images_1/new/0001.png"]
    assert "images_1', since" in caplog.text


def test_pictures_that_would_replace_others_are_refused(make_engine: "MakeEngine", tmp_path: Path) -> None:
    """Where a loader of one's own does not say which images will come, folders above the last are not known."""
    paths = [str(write_image(tmp_path / line / "cam" / "0001.png", GREY)) for line in "AB"]
    items = list(PredictDataset(tmp_path / "A")) + list(PredictDataset(tmp_path / "B"))
    assert [item.image_path for item in items] == paths
    loader = DataLoader(items, collate_fn=ImageBatch.collate)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"picture of '.*/B/cam/0001\.png' would replace '.*/images/cam/0001\.png'"):
        make_engine(tmp_path / "results").predict(make_model(True), dataloaders=loader)


def test_files_of_macos_are_skipped(
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tree: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for folder in ("good", "good_test", "bad", "mask"):
        (tree / folder / "._000.png").write_bytes(b"\0\5\26\7 no image")
    engine, datamodule = make_engine(tmp_path / "results", max_steps=1), make_folder(root=tree)
    engine.fit(make_model(), datamodule)
    assert len(datamodule.train_data) == 8
    assert len(datamodule.test_data) == 8
    assert "Skipped 1 files like" in caplog.text
    assert len(engine.predict(make_model(), dataset=PredictDataset(tree / "bad"))) == 4


def test_oversized_images_are_refused_before_they_are_decoded(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tree: Path, tmp_path: Path
) -> None:
    claim_png(tree / "good" / "004.png", 13_300)
    claim_png(tree / "bad" / "002.png", 13_300)
    engine, datamodule = make_engine(tmp_path / "results", max_steps=1), make_folder(root=tree)
    with pytest.raises(ValueError, match=r"good/004\.png' has 13300x13300 pixels, more than 100 megapixels"):
        engine.fit(make_model(), datamodule)
    with pytest.raises(ValueError, match=r"bad/002\.png' has 13300x13300 pixels, more than 100 megapixels"):
        make_engine(tmp_path / "results").test(make_model(), datamodule=make_folder(root=tree))
    with pytest.raises(ValueError, match=r"bad/002\.png' has 13300x13300 pixels, more than 100 megapixels"):
        make_engine(tmp_path / "results").predict(make_model(), dataset=PredictDataset(tree / "bad"))


def test_turned_images_are_refused_where_they_would_be_read_as_they_lie(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tree: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for folder, name in (("good", "003.png"), ("bad", "001.png")):
        with Image.open(tree / folder / name) as image:
            image.save(tree / folder / name, exif=exif)
    message = r"has a camera's orientation tag, which anomalib's reader ignores: turn the pixels"
    with pytest.raises(ValueError, match=rf"good/003\.png' {message}"):
        make_engine(tmp_path / "results", max_steps=1).fit(make_model(), make_folder(root=tree))
    with pytest.raises(ValueError, match=rf"bad/001\.png' {message}"):
        make_engine(tmp_path / "results").predict(make_model(), dataset=PredictDataset(tree / "bad"))


@pytest.mark.usefixtures("deep_reading")
def test_heat_maps_show_turned_images_upright(make_engine: "MakeEngine", tmp_path: Path) -> None:
    halves = np.zeros((32, 48, 3), np.uint8)
    halves[:, 24:] = 200
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "new").mkdir()
    Image.fromarray(halves).save(tmp_path / "new" / "turned.png", exif=exif)
    Image.fromarray(np.rot90(halves, -1).copy()).save(tmp_path / "new" / "upright.png")
    make_engine(tmp_path / "results").predict(make_model(True), dataset=PredictDataset(tmp_path / "new"))
    (folder,) = tmp_path.glob("results/Slsg/latest/images/new")
    turned, upright = (cv2.imread(str(folder / f"{name}.png")).astype(int) for name in ("turned", "upright"))
    np.testing.assert_allclose(turned, upright, atol=2)


def test_odd_masks_are_told(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask = cv2.imread(str(tree / "mask" / "000.png"), cv2.IMREAD_GRAYSCALE)
    (tree / "mask" / "000.png").unlink()
    write_image(tree / "mask" / "000.jpg", mask)
    for name in ("001.png", "002.png"):
        write_image(tree / "mask" / name, np.zeros_like(mask))
    write_image(tree / "mask" / "003.png", np.vstack([mask, mask]))
    make_engine(tmp_path / "results").test(make_model(), datamodule=make_folder(root=tree))
    told = [record.getMessage() for record in caplog.records if "mask/" in record.getMessage()]
    assert len(told) == 3
    assert any("mask/000.jpg' has several grey levels" in text for text in told)
    assert any("mask/001.png' marks nothing, although its image is anomalous; 2 masks are so" in text for text in told)
    assert any("mask/003.png' has another aspect than its image" in text for text in told)


def test_masks_in_the_alpha_channel_are_refused(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tree: Path, tmp_path: Path
) -> None:
    with Image.open(tree / "mask" / "001.png") as mask:
        alpha = mask.convert("L")
    Image.merge("LA", [Image.new("L", alpha.size), alpha]).save(tree / "mask" / "001.png")
    with pytest.raises(ValueError, match=r"mask/001\.png' is a mask in the alpha channel, which is not read"):
        make_engine(tmp_path / "results").test(make_model(), datamodule=make_folder(root=tree))


@pytest.mark.parametrize("folder", ["good", "mask"])
def test_links_that_anomalib_passes_over_are_named(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tree: Path, tmp_path: Path, folder: str
) -> None:
    """What is behind them is missing without a word, or "Must have equal len keys and value" is all that is said."""
    (tree / folder).rename(tmp_path / "elsewhere")
    (tree / folder).mkdir()
    (tree / folder / "day1").symlink_to(tmp_path / "elsewhere")
    shutil.copy(tmp_path / "elsewhere" / "000.png", tree / folder)
    with pytest.raises(
        ValueError, match=rf"'.*/{folder}/day1' is a link to a folder, which anomalib does not look into"
    ):
        make_engine(tmp_path / "results", max_steps=1).fit(make_model(), make_folder(root=tree))


def test_a_linked_folder_itself_works(
    make_engine: "MakeEngine", make_folder: "MakeFolder", tree: Path, tmp_path: Path
) -> None:
    for folder in ("good", "bad", "mask"):
        (tree / folder).rename(tmp_path / folder)
        (tree / folder).symlink_to(tmp_path / folder)
    make_engine(tmp_path / "results", max_steps=1).train(make_model(True), datamodule=make_folder(root=tree))
    assert len(pictures(tmp_path / "results")) == 8


def test_data_of_other_libraries_are_left_alone(tmp_path: Path) -> None:
    class Own(LightningDataModule):
        root = tmp_path

    refuse_linked_folders(Own())


def test_a_loader_that_does_not_tell_its_files_may_be_used_twice(make_engine: "MakeEngine", tmp_path: Path) -> None:
    write_image(tmp_path / "new" / "0001.png", GREY)
    loader = DataLoader(list(PredictDataset(tmp_path / "new")), collate_fn=ImageBatch.collate)  # type: ignore[arg-type]
    engine, model = make_engine(tmp_path / "results"), make_model(True)
    for _ in range(2):
        engine.predict(model, dataloaders=loader)
    found = sorted(path.parent.parent.name for path in (tmp_path / "results").rglob("0001.png"))
    assert found == ["images", "images_1"]


def test_tiffs_that_anomalib_s_reader_turns_are_not_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / "turned.tif", tiffinfo={274: 6})
    check_images([str(tmp_path / "turned.tif")])
    assert image.read_image(tmp_path / "turned.tif").shape == (8, 4, 3)
