"""Texture bank (folder, procedural, errors) and the shuffled grid."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalib_slsg.simulation import sources
from anomalib_slsg.simulation.sources import TextureBank, shuffled_grid
from anomalib_slsg.simulation.texture import PATTERNS, procedural_textures
from anomalib_slsg.utils.images import read_rgb


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_textures_come_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, colour in (("a.png", (255, 0, 0)), ("deep/b.JPG", (0, 0, 255)), ("deep/c.webp", (0, 255, 0))):
        cv2.imwrite(str(tmp_path / name), np.full((50, 37, 3), colour, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    bank = TextureBank(tmp_path)
    assert [file.name for file in bank.files] == ["a.png", "b.JPG", "c.webp"]
    drawn = bank.sample(40, (64, 48), seeded())
    assert drawn.shape == (40, 3, 64, 48)
    assert {tuple(round(value) for value in colour) for colour in drawn.mean(dim=(2, 3)).tolist()} == {
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
    }
    assert torch.equal(drawn, bank.sample(40, (64, 48), seeded()))
    assert bank.sample(0, (64, 48)).shape == (0, 3, 64, 48)


def test_size_may_change_between_calls(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 37, 3), np.uint8))
    for bank in (TextureBank(tmp_path), TextureBank()):
        for size in ((32, 48), (96, 64), (32, 48)):
            assert bank.sample(2, size, seeded()).shape == (2, 3, *size)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"simulation\.dtd_dir.*nowhere"):
        TextureBank(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"simulation\.dtd_dir: no images.*{tmp_path.name}"):
        TextureBank(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        TextureBank(tmp_path).sample(1, (32, 32), seeded())


def test_procedural_textures_are_said_once_and_do_not_depend_on_history(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bank = TextureBank(None)
        first = bank.sample(3, (32, 32), seeded())
    assert [record.message for record in caplog.records if "dtd_dir" in record.message] == [caplog.messages[0]]
    assert torch.equal(first, bank.sample(3, (32, 32), seeded()))


def test_procedural_textures_are_diverse() -> None:
    textures = procedural_textures(2 * len(PATTERNS), (48, 40), seeded())
    assert textures.shape == (2 * len(PATTERNS), 3, 48, 40)
    assert textures.min() >= 0
    assert textures.max() <= 1
    assert textures.std(dim=(2, 3)).amax(dim=1).min() > 0.005  # none is plain
    assert textures.mean(dim=(2, 3)).std(dim=0).min() > 0.1  # nor alike


def test_images_of_all_kinds_are_read_as_rgb(tmp_path: Path) -> None:
    grey = np.full((4, 5), 128, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "deep.tif"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([grey, grey, grey, grey]))
    for name in ("grey.png", "deep.tif", "alpha.png"):
        pixels = read_rgb(tmp_path / name)
        assert pixels.shape == (4, 5, 3)
        assert np.abs(pixels.astype(int) - 128).max() <= 1


def cells_of(image: torch.Tensor, cells: int) -> list[bytes]:
    """The content of every grid cell of a (C, H, W) image."""
    rows = image.chunk(cells, dim=1)
    return [cell.contiguous().numpy().tobytes() for row in rows for cell in row.chunk(cells, dim=2)]


def test_shuffled_grid_permutes_cells_differently_per_image() -> None:
    image = torch.rand(1, 3, 16, 24, generator=seeded())
    shuffled = shuffled_grid(image.expand(3, -1, -1, -1), 4, seeded(1))
    for result in shuffled:
        assert sorted(cells_of(result, 4)) == sorted(cells_of(image[0], 4))
        assert not torch.equal(result, image[0])
    assert not torch.equal(shuffled[0], shuffled[1])


def test_shuffled_grid_of_indivisible_sides() -> None:
    images = torch.rand(2, 3, 30, 41, generator=seeded())
    shuffled = shuffled_grid(images, 8, seeded(1))
    assert shuffled.shape == images.shape
    assert torch.isin(shuffled, images).all()


def test_more_cells_than_pixels() -> None:
    with pytest.raises(ValueError, match=r"simulation\.grid_cells"):
        shuffled_grid(torch.rand(1, 3, 6, 32), 8)


def test_few_textures_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit a budget of bytes, however large images are; the others are read again."""
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((40, 40, 3), number, np.uint8))
    monkeypatch.setattr(sources, "CACHED_BYTES", 2 * 3 * 40 * 40)
    reads = []
    monkeypatch.setattr(sources, "read_rgb", lambda path: reads.append(path.name) or read_rgb(path))
    bank = TextureBank(tmp_path)
    for _ in range(3):
        bank.sample(100, (32, 32), seeded())
    counts = sorted(reads.count(f"{number}.png") for number in range(4))
    assert counts[:2] == [1, 1]
    assert min(counts[2:]) > 3
    reads.clear()
    bank.sample(100, (16, 16), seeded())  # the budget is free again for another size, of which all fit
    assert sorted(reads) == [f"{number}.png" for number in range(4)]
