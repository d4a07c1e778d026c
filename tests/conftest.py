"""Small data sets that the tests draw themselves, and the folder of reference values where there is one."""

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalib_slsg.memory import ENVIRONMENT

# No test fetches anything. huggingface_hub looks at this once, when it is imported; nothing above imports it.
os.environ["HF_HUB_OFFLINE"] = "1"
# Tiny tensors gain nothing from threads, and threads that wait for each other on a busy machine lose minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SIDE = 64
REPOSITORY = Path(__file__).resolve().parents[1]

DrawPart = Callable[[np.random.Generator, bool], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="session")
def official_spro() -> Path:
    """Results of MVTec LOCO AD's own evaluation script, which are not part of this project.

    They are looked for in ``golden/spro`` below the folder that SLSG_SHARED names, or else below ``../shared``.
    """
    folder = Path(os.environ.get("SLSG_SHARED") or REPOSITORY.parent / "shared") / "golden" / "spro"
    if not folder.is_dir():
        pytest.skip(f"no reference values: {folder} does not exist; set SLSG_SHARED to the folder above 'golden'")
    return folder


@pytest.fixture
def openvino_bfloat16() -> None:
    """Skip where OpenVINO computes in 32 bits although it is asked for bfloat16."""
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("OpenVINO computes in 32 bits on processors without bfloat16")


class MallocInfo(ctypes.Structure):
    """glibc's ``struct mallinfo``, of which only the number of blocks that came from the system counts here."""

    _fields_ = [("before", ctypes.c_int * 3), ("hblks", ctypes.c_int), ("behind", ctypes.c_int * 6)]


@pytest.fixture
def returned_blocks() -> Callable[[int, int], int]:
    """How many of some blocks of so many bytes come from the system and go back to it as soon as they are freed.

    All are asked for together, as each that fits a gap in the heap fills that. A total of 4 GiB fits no
    gaps; 256 MiB, of blocks that are to be kept, leave none that would hold as many. None is written to.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in ENVIRONMENT):
        pytest.skip("the allocator is not one that anomalib_slsg sets")
    mallinfo = ctypes.CDLL(None).mallinfo
    mallinfo.restype = MallocInfo

    def returned(size: int, total: int) -> int:
        before = mallinfo().hblks
        blocks = [torch.empty(size, dtype=torch.uint8) for _ in range(total // size)]
        number: int = mallinfo().hblks - before
        del blocks
        return number

    return returned


def draw_part(generator: np.random.Generator, defect: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw a round green part on a grey ground, with a red bar across it when it is defective.

    Args:
        generator: Source of the place and of the camera's noise.
        defect: Draw the bar.

    Returns:
        Image of shape (64, 64, 3), BGR, and mask of shape (64, 64), 255 on the bar; both uint8.
    """
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    x, y = (int(value) for value in generator.integers(26, 38, 2))
    cv2.circle(image, (x, y), 16, (60, 120, 40), -1)
    if defect:
        cv2.rectangle(mask, (x - 8, y - 4), (x + 8, y + 4), 255, -1)
        image[mask > 0] = (20, 20, 230)
    noisy = image + generator.normal(0, 6, image.shape)
    return noisy.clip(0, 255).astype(np.uint8), mask


def write_images(folder: Path, number: int, generator: np.random.Generator) -> None:
    """Write good parts as 000.png, 001.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        cv2.imwrite(str(folder / f"{index:03d}.png"), draw_part(generator, defect=False)[0])


def write_defects(folder: Path, number: int, generator: np.random.Generator, mask_name: Callable[[int], Path]) -> None:
    """Write defective parts as 000.png, 001.png and so on, and their masks where ``mask_name`` says."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        image, mask = draw_part(generator, defect=True)
        path = mask_name(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index:03d}.png"), image)
        cv2.imwrite(str(path), mask)


@pytest.fixture(scope="session")
def folder_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tree for anomalib's ``Folder``: good (8), good_test (4), bad (4) and mask."""
    root, generator = tmp_path_factory.mktemp("folder"), np.random.default_rng(0)
    write_images(root / "good", 8, generator)
    write_images(root / "good_test", 4, generator)
    write_defects(root / "bad", 4, generator, lambda index: root / "mask" / f"{index:03d}.png")
    return root


@pytest.fixture(scope="session")
def mvtec_ad_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tree for anomalib's ``MVTecAD`` with the category ``part``."""
    root, generator = tmp_path_factory.mktemp("mvtec_ad"), np.random.default_rng(1)
    category = root / "part"
    write_images(category / "train" / "good", 8, generator)
    write_images(category / "test" / "good", 3, generator)
    masks = category / "ground_truth" / "bar"
    write_defects(category / "test" / "bar", 3, generator, lambda index: masks / f"{index:03d}_mask.png")
    return root


@pytest.fixture(scope="session")
def mvtec_loco_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tree for anomalib's ``MVTecLOCO`` with the category ``part``: a folder of masks for each defective image."""
    root, generator = tmp_path_factory.mktemp("mvtec_loco"), np.random.default_rng(2)
    category = root / "part"
    write_images(category / "train" / "good", 8, generator)
    write_images(category / "validation" / "good", 2, generator)
    write_images(category / "test" / "good", 3, generator)
    for kind in ("logical_anomalies", "structural_anomalies"):
        masks = category / "ground_truth" / kind
        write_defects(
            category / "test" / kind, 2, generator, lambda index, masks=masks: masks / f"{index:03d}" / "000.png"
        )
    return root
