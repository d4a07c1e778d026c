"""Photographs of solar cells (ELPV) as folders for anomalib's ``Folder`` data module.

``python -m benchmarks.datasets.elpv --root datasets/elpv`` writes ``mono`` and ``poly``, mono- and polycrystalline
cells, each with ``train/good``, ``test/good`` and ``test/defect``. Normal cells are those with a defect probability of
0, defective ones those with 1; the cells between, of which the annotators were unsure, are left out. Of the normal
cells of each kind, 20 % are drawn at random, with a fixed seed, for ``test/good``. The cells come from 44 modules, but
the data set does not say which from which, so training and test images may share a module.

The images are those of the PyPI package ``elpv-dataset``, under CC BY-NC-SA 4.0; Buerhop-Lutz et al., "A Benchmark for
Visual Identification of Defective Solar Cells in Electroluminescence Imagery", EU PVSEC 2018.
"""

import tempfile
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser
from PIL import Image
from rich.progress import track

KINDS = ("mono", "poly")
NORMAL, DEFECTIVE = 0.0, 1.0
TEST_SHARE = 0.2  # of the normal images
SEED = 0


def load_cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read all cells.

    Returns:
        Images of shape (N, 300, 300), uint8; defect probabilities of shape (N,); kinds of cells of shape (N,).

    Raises:
        ModuleNotFoundError: If the package with the images is not installed.
    """
    try:
        from elpv_dataset.utils import load_dataset
    except ModuleNotFoundError as error:
        msg = 'the photographs come with the extra benchmark: in the checkout, pip install ".[benchmark]"'
        raise ModuleNotFoundError(msg, name="elpv_dataset") from error
    return load_dataset()


def split(probabilities: np.ndarray, kinds: np.ndarray) -> dict[Path, np.ndarray]:
    """Tell which cells go into which folder.

    Args:
        probabilities: Defect probability of every cell.
        kinds: ``mono`` or ``poly`` for every cell.

    Returns:
        Indices of cells, ascending, by folder below the root.
    """
    folders = {}
    for kind in KINDS:
        # a generator for each kind: neither split depends on the other kind's cells
        normal = np.random.default_rng(SEED).permutation(np.flatnonzero((kinds == kind) & (probabilities == NORMAL)))
        number = round(TEST_SHARE * len(normal))
        folders[Path(kind, "train", "good")] = np.sort(normal[number:])
        folders[Path(kind, "test", "good")] = np.sort(normal[:number])
        folders[Path(kind, "test", "defect")] = np.flatnonzero((kinds == kind) & (probabilities == DEFECTIVE))
    return folders


def write_trees(root: Path) -> None:
    """Write both trees, unless they are there.

    Args:
        root: Folder above ``mono`` and ``poly``.

    Raises:
        FileExistsError: If the root is there but holds something else.
        ModuleNotFoundError: If the package with the images is not installed.
        OSError: If a file cannot be written. Nothing is left behind then.
    """
    root = root.resolve()
    if _is_written(root):
        return
    images, probabilities, kinds = load_cells()
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as temporary:
        # one level down, because Python lets nobody else into a temporary folder
        tree = Path(temporary) / root.name
        _write(tree, images, split(probabilities, kinds))
        if root.exists():
            root.rmdir()  # it is empty, but not every system renames to an existing folder
        tree.rename(root)


def _is_written(root: Path) -> bool:
    # a tree gets its name when it is whole, so there is no half of it
    if all((root / kind).is_dir() for kind in KINDS):
        return True
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        msg = f"{root} holds something else than the trees {' and '.join(KINDS)}; choose another --root or remove it"
        raise FileExistsError(msg)
    return False


def _write(tree: Path, images: np.ndarray, folders: dict[Path, np.ndarray]) -> None:
    for folder in folders:
        (tree / folder).mkdir(parents=True)
    files = [(folder, index) for folder, indices in folders.items() for index in indices]
    for folder, index in track(files, description="Writing solar cells"):
        # the data set's own file names count from one
        Image.fromarray(images[index]).save(tree / folder / f"cell{index + 1:04d}.png")


def main(arguments: list[str] | None = None) -> None:
    """Command line.

    Args:
        arguments: Command line arguments; those of the process if left out.
    """
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("datasets") / "elpv", help="folder above mono and poly")
    parsed = parser.parse_args(arguments)
    try:
        write_trees(parsed.root)
    except (ModuleNotFoundError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
