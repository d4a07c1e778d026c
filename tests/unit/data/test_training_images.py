"""Training sets that are read from memory."""

import copy
import pickle
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
import torch
from anomalib.data import Folder, ImageBatch
from torch.utils.data import DataLoader, SequentialSampler
from torchvision.transforms.v2 import CenterCrop, Compose, RandomHorizontalFlip, Resize

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.data.training_images import TrainingImages, stand_in
from anomalib_slsg.data.training_order import TrainingOrder
from anomalib_slsg.utils.seeding import stream
from tests.support.training import drawn_parts

ANY_ORDER = partial(TrainingOrder, seed=lambda: stream(0), batches_done=lambda: 0)


@pytest.fixture
def datamodule(folder_tree: Path) -> Folder:
    module = drawn_parts(folder_tree, train_batch_size=3)
    module.setup()
    return module


def _kept(datamodule: Folder, side: int) -> TrainingImages:
    images = TrainingImages(datamodule.train_data)
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
    assert NormalImages(TrainingImages(datamodule.train_data), ImageBatch.collate).cache is None


def test_an_epoch_shows_each_image_as_often_as_asked(datamodule: Folder) -> None:
    """Also from memory; what belongs to one image stays together."""
    original = datamodule.train_data
    for images in (TrainingImages(original, repeat=3), TrainingImages(original, repeat=3)):
        assert len(images) == 3 * len(original)
        for index in range(len(images)):
            expected = original[index % len(original)]
            assert images[index].image_path == expected.image_path
            assert (images[index].image - expected.image).abs().max() <= 0.5 / 255 + 1e-6
    images.keep((torch.stack([item.image for item in original]) * 255).round().to(torch.uint8))
    assert images.images is not None
    assert torch.equal(images[1].image, images[1 + len(original)].image)
    assert Path(images[1 + len(original)].image_path).name == Path(original[1].image_path).name
    names = Counter(path for batch in _loader(images) for path in batch.image_path)
    assert set(names.values()) == {3}
    assert len(names) == len(original)


def _loader(images: TrainingImages) -> DataLoader:
    return DataLoader(images, batch_size=3, collate_fn=images.collate_fn)


def _order(datamodule: Folder, repeat: int, seed: int) -> list[list[str]]:
    """Names of the batches of two epochs."""
    with stand_in(datamodule, repeat, partial(TrainingOrder, seed=lambda: stream(seed), batches_done=lambda: done)):
        loader = datamodule.train_dataloader()
        done, epochs = 0, []
        for _ in range(2):
            epochs.append([[Path(path).name for path in batch.image_path] for batch in loader])
            done += len(epochs[-1])
    return [list(chain.from_iterable(epoch)) for epoch in epochs]


def test_the_seed_decides_on_the_order(datamodule: Folder) -> None:
    """And nothing else does, so that training is the same whatever was drawn before it."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = _order(datamodule, 2, seed=7)
    torch.manual_seed(2)
    again, other = _order(datamodule, 2, seed=7), _order(datamodule, 2, seed=8)
    assert first == again != other
    assert first[0] != first[1]
    for epoch in first:
        assert Counter(epoch) == {Path(item.image_path).name: 2 for item in datamodule.train_data}
    torch.set_rng_state(state)


@pytest.mark.parametrize("limit", [1.0, 2, 0.7])
def test_the_order_goes_on_from_any_batch(datamodule: Folder, limit: float) -> None:
    """Also where several processes share the images."""
    loader = DataLoader(datamodule.train_data, batch_size=3)
    for processes in (1, 2):
        place = {"limit": limit, "processes": processes, "process": processes - 1}

        def order(done: int, place: dict = place) -> list[int]:
            return list(TrainingOrder(loader, lambda: stream(7), lambda: done, **place))

        batches = {(1, 1.0): 3, (2, 0.7): 1}.get((processes, limit), 2)
        first, second = order(0), order(batches)
        assert len(first) == len(second) == 8 // processes
        assert first != second
        assert all(order(done) == first[3 * done :] for done in range(batches))


def test_loaders_of_one_order_are_left_alone(datamodule: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own sampler, or Lightning's for several processes."""
    sampler = SequentialSampler(datamodule.train_data)
    loader = DataLoader(datamodule.train_data, sampler=sampler, collate_fn=datamodule.train_data.collate_fn)
    monkeypatch.setattr(Folder, "train_dataloader", lambda _: loader)
    with stand_in(datamodule, 1, ANY_ORDER):
        assert datamodule.train_dataloader() is loader
        assert loader.sampler is sampler


def test_images_are_not_changed_twice(datamodule: Folder) -> None:
    images = TrainingImages(datamodule.train_data)
    images.keep(torch.zeros(len(images), 3, 32, 32, dtype=torch.uint8), Compose([CenterCrop(48), Resize(32)]))
    assert images.images is None
    assert images[0].image.shape[-1] == 64


@pytest.mark.parametrize("interrupted", [False, True])
def test_it_behaves_like_the_training_set_and_goes_back(datamodule: Folder, interrupted: bool) -> None:
    original = datamodule.train_data
    with suppress(KeyboardInterrupt), stand_in(datamodule, 1, ANY_ORDER):
        substitute = datamodule.train_data
        assert isinstance(substitute, TrainingImages)
        substitute.keep(torch.zeros(len(original), 3, 64, 64, dtype=torch.uint8))
        assert substitute.images is not None
        assert datamodule.train_data.dataset is original
        assert datamodule.train_data.samples is original.samples
        with pytest.raises(AttributeError, match="nonsense"):
            _ = datamodule.train_data.nonsense
        assert datamodule.train_dataloader().dataset is substitute
        if interrupted:
            raise KeyboardInterrupt
    assert datamodule.train_data is original
    assert substitute.images is None
    assert "train_dataloader" not in vars(datamodule)
    assert datamodule.train_dataloader().dataset is original


def test_workers_get_copies(datamodule: Folder) -> None:
    images = _kept(datamodule, 32)
    for other in (pickle.loads(pickle.dumps(images)), copy.deepcopy(images)):
        assert torch.equal(other[1].image, images[1].image)


def test_how_to_pickle_is_not_the_training_set_s(datamodule: Folder) -> None:
    """Python 3.10 asks the object itself, which has to have nothing to say; later ones ask its class."""
    images = TrainingImages(datamodule.train_data)
    with pytest.raises(AttributeError, match="__getstate__"):
        images.__getattr__("__getstate__")
    assert images.collate_fn == datamodule.train_data.collate_fn
