"""Which files loaders are known to give."""

from pathlib import Path

from anomalib.data import PredictDataset
from anomalib.data.datasets.image.folder import FolderDataset
from torch.utils.data import DataLoader, Dataset, Subset

from anomalib_slsg.data.checks import image_paths
from anomalib_slsg.data.training_images import TrainingImages


class ImagesWithClasses(Dataset):
    """A data set of the user's own, with files as torchvision's data sets of folders have them."""

    samples = (("0.png", 0), ("1.png", 1))


def test_paths_are_those_of_anomalibs_own_sets_of_images(folder_tree: Path) -> None:
    folder = FolderDataset("parts", normal_dir="good", root=folder_tree)
    expected = sorted(str(path) for path in (folder_tree / "good").iterdir())
    sets = (folder, Subset(folder, [1, 2]), TrainingImages(folder, 2), PredictDataset(folder_tree / "good"))
    for dataset in sets:
        assert list(map(str, image_paths(DataLoader(dataset)))) == expected
    assert image_paths([DataLoader(ImagesWithClasses(), sampler=[0]), None]) == []
    assert image_paths(None) == []
