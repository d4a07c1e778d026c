"""Normal images: the same with and without cache, and never an image as its own counterpart."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch, ImageItem
from anomalib.data.datasets.image.folder import FolderDataset
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torchvision.transforms.v2 import Compose, RandomHorizontalFlip, Resize

from anomalib_slsg.data.normal_images import NormalImages

NUMBER = 11


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> FolderDataset:
    """Eleven images on disk; the mean of each tells its index."""
    root = tmp_path_factory.mktemp("parts")
    (root / "good").mkdir()
    generator = np.random.default_rng(0)
    for index in range(NUMBER):
        noise = generator.integers(-8, 9, (32, 48, 3))
        Image.fromarray((20 + 20 * index + noise).astype(np.uint8)).save(root / "good" / f"{index:02d}.png")
    return FolderDataset("parts", normal_dir="good", root=root)


def _indices(images: Tensor) -> list[int]:
    return ((images.mean(dim=(1, 2, 3)) * 255 - 20) / 20).round().int().tolist()


class WithoutPaths(Dataset):
    """Images in memory, without a table of files."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> ImageItem:
        return ImageItem(image=torch.full((3, 4, 4), (20 + 20 * index) / 255))


@pytest.mark.parametrize("number_of_workers", [0, 1])
def test_images_are_the_files_in_order(dataset: FolderDataset, number_of_workers: int) -> None:
    images = NormalImages(dataset, ImageBatch.collate, num_workers=number_of_workers)
    assert len(images) == NUMBER
    chosen = images[torch.tensor([3, 0, 10, 3])]
    assert chosen.dtype == torch.float32
    for image, index in zip(chosen, [3, 0, 10, 3], strict=True):
        torch.testing.assert_close(image, torch.as_tensor(dataset[index].image))


def test_cached_images_equal_those_that_are_read_again(dataset: FolderDataset) -> None:
    cached, read = (NormalImages(dataset, ImageBatch.collate, cache_gibibytes=size) for size in (1.0, 0.0))
    everything = torch.arange(NUMBER).flip(0)
    torch.testing.assert_close(cached[everything], read[everything], rtol=0, atol=1e-6)
    for paths in (dataset.samples["image_path"].tolist()[:5], None):
        drawn = [images.others(paths, 5, torch.Generator().manual_seed(0)) for images in (cached, read)]
        torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=1e-6)


def test_resized_images_are_equal_to_half_a_grey_level(dataset: FolderDataset) -> None:
    """The cache holds bytes."""
    resize = Resize((16, 32), antialias=True)
    cached, read = (NormalImages(dataset, ImageBatch.collate, resize, cache_gibibytes=size) for size in (1.0, 0.0))
    everything = torch.arange(NUMBER)
    assert cached[everything].shape == (NUMBER, 3, 16, 32)
    torch.testing.assert_close(cached[everything], read[everything], rtol=0, atol=0.5 / 255 + 1e-6)


def test_cache_reads_each_file_once_and_budget_decides(dataset: FolderDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    get = FolderDataset.__getitem__
    monkeypatch.setattr(FolderDataset, "__getitem__", lambda self, index: (reads.append(index), get(self, index))[1])
    size = NUMBER * 3 * 32 * 48 / 2**30
    cached = NormalImages(dataset, ImageBatch.collate, cache_gibibytes=1.01 * size)
    assert Counter(reads) == {0: 2, **dict.fromkeys(range(1, NUMBER), 1)}
    cached[torch.tensor([1, 2])]
    assert len(reads) == NUMBER + 1
    reads.clear()
    read = NormalImages(dataset, ImageBatch.collate, cache_gibibytes=0.99 * size)
    read[torch.tensor([1, 2])]
    assert reads == [0, 1, 2]


@pytest.mark.slow
def test_the_cache_is_filled_without_a_copy() -> None:
    """Its budget is not needed twice."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not os.access(reset, os.W_OK):
        pytest.skip("the system does not tell the highest memory of a process")

    class Photographs(WithoutPaths):
        def __getitem__(self, index: int) -> ImageItem:
            return ImageItem(image=torch.zeros(1).expand(3, 256, 256))

    def kibibytes(name: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))

    reset.write_text("5")
    before = kibibytes("VmRSS")
    images = NormalImages(Photographs(1024), ImageBatch.collate)
    assert images.cache is not None
    assert kibibytes("VmHWM") - before < 1.5 * images.cache.numel() / 1024


def test_others_are_never_the_same_and_all_equally_likely(dataset: FolderDataset) -> None:
    images = NormalImages(dataset, ImageBatch.collate)
    paths = dataset.samples["image_path"].tolist()
    generator = torch.Generator().manual_seed(0)
    drawn: Counter[tuple[int, int]] = Counter()
    for _ in range(200):
        drawn.update(zip(range(NUMBER), _indices(images.others(paths, NUMBER, generator)), strict=True))
    assert not any(own == other for own, other in drawn)
    assert len(drawn) == NUMBER * (NUMBER - 1)
    assert max(drawn.values()) < 45  # 20 expected


def test_of_two_images_the_other_one_is_drawn() -> None:
    dataset = WithoutPaths(2)
    dataset.samples = {"image_path": ["a/0.png", "a/1.png"]}  # type: ignore[attr-defined]
    images = NormalImages(dataset, ImageBatch.collate)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert _indices(images.others(["a/0.png", "a//1.png", "a/0.png"], 3, generator)) == [1, 0, 1]


@pytest.mark.parametrize("paths", [None, ["elsewhere/x.png"] * 40], ids=["no paths", "foreign paths"])
def test_without_known_paths_any_image_is_drawn(paths: list[str] | None) -> None:
    images = NormalImages(WithoutPaths(4), ImageBatch.collate)
    assert set(_indices(images.others(paths, 40, torch.Generator().manual_seed(0)))) == {0, 1, 2, 3}


def test_single_image_is_its_own_counterpart() -> None:
    dataset = WithoutPaths(1)
    dataset.samples = {"image_path": ["0.png"]}  # type: ignore[attr-defined]
    images = NormalImages(dataset, ImageBatch.collate)
    assert _indices(images.others(["0.png"] * 3, 3, torch.Generator())) == [0, 0, 0]


def test_generator_decides_about_others(dataset: FolderDataset) -> None:
    images = NormalImages(dataset, ImageBatch.collate)
    paths = dataset.samples["image_path"].tolist()
    first, again, other = (images.others(paths, NUMBER, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("number", "expected"), [(0, []), (1, [0]), (3, [0, 5, 10]), (50, list(range(NUMBER)))])
def test_sample_is_spread_evenly(dataset: FolderDataset, number: int, expected: list[int]) -> None:
    assert _indices(NormalImages(dataset, ImageBatch.collate).sample(number)) == expected


@pytest.mark.parametrize(("number", "sizes"), [(1, [1]), (8, [8]), (9, [5, 4]), (17, [6, 6, 5]), (24, [8, 8, 8])])
def test_parts_are_of_about_the_same_size(dataset: FolderDataset, number: int, sizes: list[int]) -> None:
    """Averages over parts count each alike, and batch norm of a 1x1 map needs two images."""
    indices = torch.arange(number).flip(0) % NUMBER
    parts = list(NormalImages(dataset, ImageBatch.collate).in_parts(indices))
    assert [len(part) for part in parts] == sizes
    assert _indices(torch.cat(parts)) == indices.tolist()


def test_empty_training_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="the training set holds no images; check the data module's root"):
        NormalImages(WithoutPaths(0), ImageBatch.collate)


def test_images_of_different_sizes_need_a_resize(tmp_path: Path) -> None:
    """anomalib's collation makes the images of one batch alike, but not those of different batches."""
    (tmp_path / "good").mkdir()
    for index in range(10):
        Image.new("RGB", (16, 16 if index < 8 else 32)).save(tmp_path / "good" / f"{index}.png")
    dataset = FolderDataset("parts", normal_dir="good", root=tmp_path)
    assert NormalImages(dataset, ImageBatch.collate, Resize((16, 16))).sample(10).shape == (10, 3, 16, 16)
    with pytest.raises(ValueError, match=r"different sizes \(16x16, 32x16\).*model.image_size"):
        NormalImages(dataset, ImageBatch.collate)


@pytest.mark.parametrize("augmented", [False, True])
def test_augmentations_are_drawn_anew_for_every_reading(dataset: FolderDataset, augmented: bool) -> None:
    """A cache would keep the first draw for the whole training."""
    size = Resize((8, 12), antialias=True)
    augmentations = Compose([RandomHorizontalFlip(), size]) if augmented else size
    folder = FolderDataset("parts", normal_dir="good", root=dataset.root, augmentations=augmentations)
    images = NormalImages(folder, ImageBatch.collate)
    assert (images.cache is None) == augmented
    torch.manual_seed(0)
    readings = {images[torch.arange(NUMBER)].numpy().tobytes() for _ in range(6)}
    assert len(readings) == (6 if augmented else 1)


def test_parts_of_data_sets_keep_augmentations_and_paths(dataset: FolderDataset) -> None:
    """As ``random_split`` makes them: a cache would keep one draw, and an image could be its own other."""
    folder = FolderDataset("parts", normal_dir="good", root=dataset.root, augmentations=RandomHorizontalFlip())
    chosen = [7, 2, 5]
    assert NormalImages(Subset(folder, chosen), ImageBatch.collate).cache is None
    images = NormalImages(Subset(Subset(dataset, [1, *chosen]), [1, 2, 3]), ImageBatch.collate)
    assert images.cache is not None
    for place, index in enumerate(chosen):
        paths = [dataset.samples.image_path[index]] * 40
        others = images.others(paths, 40, torch.Generator().manual_seed(0))
        assert not any(torch.equal(other, images[torch.tensor([place])][0]) for other in others)
        assert len({other.numpy().tobytes() for other in others}) == 2
