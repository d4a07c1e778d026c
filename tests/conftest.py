"""Small data sets that the tests draw themselves, and the folder of reference values where there is one."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.signal_stack import keep_signal_stack
from tests.support.trees import write_folder_tree, write_mvtec_ad_tree, write_mvtec_loco_tree

# No test fetches anything. huggingface_hub looks at this once, when it is imported; nothing above imports it.
os.environ["HF_HUB_OFFLINE"] = "1"
# Tiny tensors gain nothing from threads, and threads that wait for each other on a busy machine lose minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

restore_signal_stack = keep_signal_stack()


@pytest.fixture(autouse=True)
def _signal_stack() -> Iterator[None]:
    yield
    restore_signal_stack()


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


@pytest.fixture(scope="session")
def folder_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tree for anomalib's ``Folder``: good (8), good_test (4), bad (4) and mask."""
    return write_folder_tree(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="session")
def mvtec_ad_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tree for anomalib's ``MVTecAD`` with the category ``part``."""
    return write_mvtec_ad_tree(tmp_path_factory.mktemp("mvtec_ad"))


@pytest.fixture(scope="session")
def mvtec_loco_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tree for anomalib's ``MVTecLOCO`` with the category ``part``."""
    return write_mvtec_loco_tree(tmp_path_factory.mktemp("mvtec_loco"))


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C off for the rest of the process."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
