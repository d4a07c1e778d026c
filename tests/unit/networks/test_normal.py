"""Which images are held out together, and what is pasted into them."""

import pytest
import torch

from anomalib_slsg.networks.normal import another_of_the_half, fold_of_each


@pytest.mark.parametrize("number", [10, 47, 200, 305])
def test_neighbours_are_held_out_together_and_kinds_are_in_both_halves(number: int) -> None:
    halves = fold_of_each(number, folds=2)
    assert (halves[1:] != halves[:-1]).sum() == 9
    assert abs(int((halves == 0).sum()) - number / 2) <= 5
    for kind in torch.arange(number).tensor_split(5):  # files sorted by kind
        assert set(halves[kind].tolist()) == {0, 1}


def test_few_images_take_turns() -> None:
    assert fold_of_each(5, folds=2).tolist() == [0, 1, 0, 1, 0]
    assert fold_of_each(3, folds=3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("number", [2, 3, 4, 5, 7, 10, 11, 47, 200])
def test_what_is_pasted_is_of_the_same_half(number: int) -> None:
    others, halves = another_of_the_half(number), fold_of_each(number, folds=2)
    assert (halves[others] == halves).all()
    assert sorted(others.tolist()) == list(range(number))
    alone = torch.bincount(halves)[halves] == 1
    assert ((others == torch.arange(number)) == alone).all()


def test_what_is_pasted_is_no_neighbour() -> None:
    """Almost the same image, pasted, is no anomaly."""
    assert (another_of_the_half(200) - torch.arange(200)).abs().min() > 50
