"""The normal image that is most like another."""

from pathlib import Path

import pytest
import torch

from anomalib_slsg.normality.backbone import FrozenBackbone
from anomalib_slsg.normality.nearest import NormalExamples, summarise


@pytest.fixture
def backbone() -> FrozenBackbone:
    """A tiny one with random weights."""
    torch.manual_seed(0)
    return FrozenBackbone("test_efficientnet")


@pytest.fixture
def images() -> torch.Tensor:
    """Eight images of coarse blots."""
    blots = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(blots, (64, 64), mode="bicubic")


@pytest.fixture
def written(tmp_path: Path, backbone: FrozenBackbone, images: torch.Tensor) -> Path:
    """Their file."""
    files = [tmp_path / f"{index}.png" for index in range(len(images))]
    for file in files:
        file.touch()
    NormalExamples([str(file) for file in files], summarise(images, backbone)).write(tmp_path / "normal.npz", "0a1b")
    return tmp_path / "normal.npz"


def test_a_changed_copy_is_nearest_to_its_original(
    written: Path, backbone: FrozenBackbone, images: torch.Tensor
) -> None:
    examples = NormalExamples.read(written, "0a1b")
    assert examples is not None
    for index, image in enumerate(images):
        changed = 0.9 * image + 0.05 * torch.rand(image.shape, generator=torch.Generator().manual_seed(index))
        changed[:, 8:24, 8:24] = 0
        assert examples.nearest(summarise(changed[None], backbone)) == str(written.with_name(f"{index}.png"))


def test_images_that_are_gone_are_not_named(written: Path, backbone: FrozenBackbone, images: torch.Tensor) -> None:
    written.with_name("3.png").unlink()
    examples = NormalExamples.read(written, "0a1b")
    assert examples is not None
    assert len(examples.files) == 7
    assert Path(examples.nearest(summarise(images[3:4], backbone))).is_file()
    for file in written.parent.glob("*.png"):
        file.unlink()
    assert NormalExamples.read(written, "0a1b") is None


def test_those_of_another_model_do_not_count_and_broken_files_are_named(written: Path) -> None:
    assert NormalExamples.read(written, "ffff") is None
    assert NormalExamples.read(written.with_name("nothing.npz"), "0a1b") is None
    for content in (b"", b"no archive", written.read_bytes()[:200]):
        written.write_bytes(content)
        with pytest.raises(ValueError, match=r"normal\.npz' is broken"):
            NormalExamples.read(written, "0a1b")
