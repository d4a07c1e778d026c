"""Training sets that are read from memory."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from anomalib.data import Folder, ImageBatch
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import CenterCrop, Compose, RandomHorizontalFlip, Resize

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.data.training_images import TrainingImages, stand_down, stand_in
from tests.support.training import drawn_parts


@pytest.fixture
def datamodule(folder_tree: Path) -> Folder:
    module = drawn_parts(folder_tree)
    module.setup()
    return module


def _kept(datamodule: Folder, side: int) -> TrainingImages:
    stand_in(datamodule)
    images = datamodule.train_data
    assert isinstance(images, TrainingImages)
    normal = NormalImages(images, ImageBatch.collate, transform=Resize((side, side), antialias=True))
    assert normal.cache is not None
    images.keep(normal.cache)
    return images


def test_kept_images_are_those_of_the_files_resized(datamodule: Folder) -> None:
    original = datamodule.train_data
    images = _kept(datamodule, 32)
    assert len(images) == len(original) > 1
    for index in range(len(images)):
        expected = Resize((32, 32), antialias=True)(original[index].image)
        assert (images[index].image - expected).abs().max() <= 0.5 / 255 + 1e-6
        assert images[index].image_path == original[index].image_path
        assert images[index].gt_label == original[index].gt_label == 0


def test_no_file_is_read_any_more(datamodule: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _kept(datamodule, 32)
    monkeypatch.setattr("anomalib.data.datasets.base.image.read_image", lambda *_, **__: pytest.fail("a file was read"))
    batch = next(iter(DataLoader(images, batch_size=3, collate_fn=images.collate_fn)))
    assert batch.image.shape == (3, 3, 32, 32)
    assert len(batch.image_path) == 3


def test_augmentations_are_drawn_anew(datamodule: Folder) -> None:
    """No images are there to be given then."""
    datamodule.train_data.augmentations = RandomHorizontalFlip(p=1.0)
    stand_in(datamodule)
    assert NormalImages(datamodule.train_data, ImageBatch.collate).cache is None


def test_images_are_not_changed_twice(datamodule: Folder) -> None:
    images = TrainingImages(datamodule.train_data)
    images.keep(torch.zeros(len(images), 3, 32, 32, dtype=torch.uint8), Compose([CenterCrop(48), Resize(32)]))
    assert images.images is None
    assert images[0].image.shape[-1] == 64


def test_it_behaves_like_the_training_set_and_goes_back(datamodule: Folder) -> None:
    original = datamodule.train_data
    stand_in(datamodule)
    stand_in(datamodule)
    substitute = datamodule.train_data
    substitute.keep(torch.zeros(len(original), 3, 64, 64, dtype=torch.uint8))
    assert substitute.images is not None
    assert datamodule.train_data.dataset is original
    assert datamodule.train_data.samples is original.samples
    with pytest.raises(AttributeError, match="nonsense"):
        _ = datamodule.train_data.nonsense
    stand_down(datamodule)
    stand_down(datamodule)
    assert datamodule.train_data is original
    assert substitute.images is None


def test_workers_get_copies(datamodule: Folder) -> None:
    images = _kept(datamodule, 32)
    for other in (pickle.loads(pickle.dumps(images)), copy.deepcopy(images)):
        assert torch.equal(other[1].image, images[1].image)


def test_other_data_modules_are_left_alone() -> None:
    for nothing in (None, object()):
        stand_in(nothing)
        stand_down(nothing)


def test_how_to_pickle_is_not_the_training_set_s(datamodule: Folder) -> None:
    """Python 3.10 asks the object itself, which has to have nothing to say; later ones ask its class."""
    images = TrainingImages(datamodule.train_data)
    with pytest.raises(AttributeError, match="__getstate__"):
        images.__getattr__("__getstate__")
    assert images.collate_fn == datamodule.train_data.collate_fn
