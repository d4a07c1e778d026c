"""Images of any size and mode, tiny training sets, folders without masks or without defects."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from anomalib.data import PredictDataset
from lightning.pytorch import Callback
from PIL import Image
from torch import Tensor

from anomalib_slsg import read_deep_images
from tests.support.models import NO_NORMALITY, NO_PRETRAINING
from tests.support.trees import copy_images, write_image

if TYPE_CHECKING:
    from tests.integration.conftest import Fitted, MakeEngine, MakeFolder, MakeModel

GREY_LEVEL = 100


class KeepImages(Callback):
    """Keeps what the model trains with."""

    def __init__(self) -> None:
        self.images: Tensor

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.images = pl_module.normal_images[torch.arange(len(pl_module.normal_images))]


def write_every_mode(folder: Path) -> list[str]:
    """Write the same grey plane in every mode, each in another size; return the sorted names."""
    folder.mkdir(parents=True)

    def plane(height: int, width: int) -> np.ndarray:
        return np.full((height, width), GREY_LEVEL, np.uint8)

    def save(name: str, image: Image.Image) -> None:
        image.save(folder / name)

    save("grey.png", Image.fromarray(plane(40, 70)))
    save("grey_alpha.png", Image.merge("LA", [Image.fromarray(plane(33, 57)), Image.fromarray(plane(33, 57))]))
    save("jpeg.jpg", Image.fromarray(plane(101, 37)).convert("RGB"))
    save("palette.png", Image.fromarray(plane(64, 48)).convert("RGB").quantize(16))
    save("rgb.bmp", Image.fromarray(plane(17, 19)).convert("RGB"))
    save("rgba.png", Image.merge("RGBA", [Image.fromarray(plane(130, 90))] * 4))
    save("tiff.tif", Image.fromarray(plane(31, 31)))
    cv2.imwrite(str(folder / "deep.png"), plane(50, 60).astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "deep_colour.png"), np.full((45, 30, 3), GREY_LEVEL * 257, np.uint16))
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("deep_reading")
def test_every_mode_is_read_alike(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    names = write_every_mode(tmp_path / "data" / "good")
    write_image(tmp_path / "data" / "bad" / "deep.png", np.full((40, 90), 30_000, np.uint16))
    datamodule = make_folder(root=tmp_path / "data", normal_test_dir="good", mask_dir=None)
    keeper = KeepImages()
    engine = make_engine(tmp_path / "results", max_steps=2, callbacks=[keeper])
    (metrics,) = engine.train(make_model(), datamodule=datamodule)
    assert keeper.images.shape == (len(names), 3, 32, 32)
    torch.testing.assert_close(keeper.images, torch.full_like(keeper.images, GREY_LEVEL / 255), atol=1.5 / 255, rtol=0)
    assert metrics.keys() == {"image_AUROC", "image_F1Score"}


@pytest.mark.usefixtures("deep_reading")
def test_predictions_of_16_bit_images_are_those_of_8_bit_images(
    fitted: "Fitted", make_engine: "MakeEngine", folder_tree: Path, tmp_path: Path
) -> None:
    grey = cv2.imread(str(folder_tree / "bad" / "000.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "8.png"), grey)
    cv2.imwrite(str(tmp_path / "16.png"), grey.astype(np.uint16) * 257)
    predictions = make_engine(tmp_path / "results").predict(fitted.model, dataset=PredictDataset(tmp_path))
    one, other = predictions
    torch.testing.assert_close(one.image, other.image, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.anomaly_map, other.anomaly_map, atol=1e-5, rtol=0)
    for inferencer in ("openvino", "torch"):  # and of those of deployed models
        module = importlib.import_module(f"anomalib.deploy.inferencers.{inferencer}_inferencer")
        np.testing.assert_allclose(module.read_image(tmp_path / "16.png"), grey[..., None] / 255 + np.zeros(3))


@pytest.mark.usefixtures("deep_reading")
def test_heat_maps_of_every_mode_are_drawn(make_model: "MakeModel", make_engine: "MakeEngine", tmp_path: Path) -> None:
    names = write_every_mode(tmp_path / "images")
    engine = make_engine(tmp_path / "results")
    engine.predict(make_model(visualizer=True), dataset=PredictDataset(tmp_path / "images"))
    pictures = sorted(set(tmp_path.glob("results/**/images/**/*.*")))  # Python 3.13 finds some twice
    assert sorted(path.stem for path in pictures) == sorted(Path(name).stem for name in names)
    assert all(cv2.imread(str(path)).std() > 0 for path in pictures)


@pytest.mark.usefixtures("plain_reading")
@pytest.mark.parametrize("called", [False, True], ids=["not called", "called"])
def test_deep_training_images_are_warned_of(
    make_model: "MakeModel",
    make_engine: "MakeEngine",
    make_folder: "MakeFolder",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    called: bool,
) -> None:
    """Only a call of ``read_deep_images`` makes anomalib show more than white."""
    for number in range(2):
        deep = np.full((32, 32), 20_000 + number, np.uint16)
        write_image(tmp_path / "good" / f"{number}.png", deep)
    if called:
        read_deep_images()
    datamodule, keeper = make_folder(normal_dir=tmp_path / "good"), KeepImages()
    model = make_model(pretraining=NO_PRETRAINING, normality=NO_NORMALITY)
    make_engine(tmp_path / "results", max_steps=1, callbacks=[keeper], logger=False).fit(model, datamodule)
    warnings = [record for record in caplog.records if "has more than 8 bits" in record.getMessage()]
    assert len(warnings) == (0 if called else 1)
    assert all("good/0.png' has more" in each.getMessage() for each in warnings)
    assert all("call anomalib_slsg.read_deep_images() at" in each.getMessage() for each in warnings)
    assert keeper.images.min().item() == pytest.approx(20_000 / 65_535 if called else 1, abs=1 / 255)


@pytest.mark.slow
def test_two_training_images_are_enough(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", folder_tree: Path, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    copy_images(folder_tree / "good", good, names=("000.png", "001.png"))
    keeper = KeepImages()
    engine = make_engine(tmp_path / "results", max_steps=2, callbacks=[keeper])
    (metrics,) = engine.train(make_model(), datamodule=make_folder(normal_dir=good))
    assert len(keeper.images) == 2
    assert engine.trainer.global_step == 2
    assert metrics.keys() == {"image_AUROC", "image_F1Score", "pixel_AUROC", "pixel_F1Score"}


def test_folder_without_masks_gives_image_metrics_only(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, max_steps=1)
    (metrics,) = engine.train(make_model(pretraining=NO_PRETRAINING), datamodule=make_folder(mask_dir=None))
    assert metrics.keys() == {"image_AUROC", "image_F1Score"}
    assert 0 <= metrics["image_AUROC"] <= 1


@pytest.mark.parametrize("test_split_mode", ["from_dir", "none"])
def test_folder_with_nothing_but_good_images(
    make_model: "MakeModel", make_engine: "MakeEngine", make_folder: "MakeFolder", tmp_path: Path, test_split_mode: str
) -> None:
    datamodule = make_folder(
        normal_test_dir=None, abnormal_dir=None, mask_dir=None, test_split_mode=test_split_mode, val_split_mode="none"
    )
    engine = make_engine(tmp_path, max_steps=1)
    engine.fit(make_model(pretraining=NO_PRETRAINING), datamodule)
    assert engine.trainer.global_step == 1
    assert Path(engine.best_model_path).is_file()
