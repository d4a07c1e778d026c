"""Masks of the inpainting task: shares, alignment, sides, and repeatability."""

import pytest
import torch
from torch import Tensor

from anomalib_slsg.pretraining.masking import grid_mask, inpainting_mask, large_mask


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ratio", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("patch_size", [4, 8, 16])
def test_grid_hides_the_exact_share_of_whole_patches(patch_size: int, ratio: float) -> None:
    """Table 4's patch sizes and ratios."""
    mask = grid_mask(3, (64, 96), _generator(), patch_size, ratio)
    assert mask.shape == (3, 1, 64, 96)
    patches = mask.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size).flatten(4)
    assert torch.equal(patches.amin(dim=-1), patches.amax(dim=-1)), "patches are hidden whole, on the grid"
    number = (64 // patch_size) * (96 // patch_size)
    assert patches.amax(dim=-1).flatten(1).sum(dim=1).tolist() == [round(ratio * number)] * 3
    assert not torch.equal(mask[0], mask[1])


def test_every_patch_is_hidden_equally_often() -> None:
    mask = grid_mask(2000, (32, 24), _generator(), 8, 0.75)[:, 0, ::8, ::8]
    assert mask.shape == (2000, 4, 3)
    assert (mask.mean(dim=0) - 0.75).abs().max() < 0.05


@pytest.mark.parametrize("size", [(30, 50), (17, 8), (5, 7)], ids=str)
def test_grid_covers_sizes_that_are_no_multiples(size: tuple[int, int]) -> None:
    mask = grid_mask(1, size, _generator(), 8, 0.5)[0, 0]
    assert mask.shape == size
    rows, columns = -(-size[0] // 8), -(-size[1] // 8)
    hidden = 0.0
    for row in range(rows):
        for column in range(columns):
            patch = mask[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert patch.min() == patch.max()
            hidden += patch[0, 0].item()
    assert hidden == round(0.5 * rows * columns)


def _sides(mask: Tensor) -> tuple[int, int]:
    """Height and width of the only rectangle of a mask."""
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    height, width = (int(places[-1] - places[0]) + 1 for places in (rows, columns))
    assert mask.sum() == height * width, "the mask is one filled rectangle"
    return height, width


@pytest.mark.parametrize("size", [(256, 256), (128, 512), (64, 96)], ids=str)
def test_large_masks_have_the_papers_sides_scaled_with_the_image(size: tuple[int, int]) -> None:
    """Section 4.2: between 40 and 150 pixels at 256x256."""
    masks = large_mask(300, size, _generator(), 1, (40, 150))
    sides = [_sides(mask[0]) for mask in masks]
    for axis, length in enumerate(size):
        drawn = [side[axis] * 256 / length for side in sides]
        pixel = 256 / length
        assert min(drawn) >= 40 - pixel
        assert max(drawn) <= 150 + pixel
        assert min(drawn) < 50
        assert max(drawn) > 140
    assert len({height / size[0] > width / size[1] for height, width in sides}) == 2, "sides are drawn separately"


def test_large_masks_lie_anywhere_inside() -> None:
    covered = large_mask(4000, (64, 64), _generator(), 1, (40, 150)).mean(dim=0)[0]
    assert covered[1:-1, 1:-1].min() > 0
    torch.testing.assert_close(covered, covered.flip(0, 1), rtol=0, atol=0.05)


def test_several_large_masks_are_united() -> None:
    one, four = (large_mask(200, (64, 64), _generator(), number, (40, 40)).mean() for number in (1, 4))
    assert 1.5 * one < four < 4 * one


def test_inpainting_mask_is_the_union() -> None:
    size, sides = (64, 96), (40, 150)
    mask = inpainting_mask(4, size, _generator(), 8, 0.6, 2, sides)
    generator = _generator()
    grid = grid_mask(4, size, generator, 8, 0.6)
    large = large_mask(4, size, generator, 2, sides)
    assert torch.equal(mask, ((grid + large) > 0).float())
    assert mask.dtype == torch.float32
    assert (mask.mean(dim=(1, 2, 3)) > grid.mean(dim=(1, 2, 3))).all()


def test_no_large_masks_leave_the_grid() -> None:
    """Table 4, column "No"."""
    assert large_mask(3, (64, 64), _generator(), 0, (40, 150)).sum() == 0
    mask = inpainting_mask(3, (64, 64), _generator(), 8, 0.8, large_masks=0)
    assert mask.mean(dim=(1, 2, 3)).tolist() == pytest.approx([round(0.8 * 64) / 64] * 3)


def test_generator_decides() -> None:
    state = torch.get_rng_state()
    first, again, other = (inpainting_mask(2, (64, 64), _generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
