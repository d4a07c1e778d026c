"""Which images are held out together, and what is pasted into them."""

import pytest
import torch

from anomalib_slsg.normality.folds import another_of_the_fold, fold_of_each, judging_folds


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


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7, 10, 11, 25, 47, 60, 79, 80, 200, 500])
def test_enough_images_judge(number: int) -> None:
    folds = judging_folds(number)
    members = torch.bincount(fold_of_each(number, folds))
    assert len(members) == folds
    assert members.min() >= (2 if number > 3 else 1)
    assert folds <= 5
    learnt_from = number - number / folds
    assert learnt_from >= 40 or folds == 5 or number < 10
    assert folds == 2 or (number - number / (folds - 1)) < 40  # none more than it takes


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7, 10, 11, 25, 47, 60, 200])
def test_what_is_pasted_is_of_the_same_fold(number: int) -> None:
    others, folds = another_of_the_fold(number), fold_of_each(number, judging_folds(number))
    assert (folds[others] == folds).all()
    assert sorted(others.tolist()) == list(range(number))
    alone = torch.bincount(folds)[folds] == 1
    assert ((others == torch.arange(number)) == alone).all()
    assert number < 4 or not alone.any()


def test_what_is_pasted_is_no_neighbour() -> None:
    """Almost the same image, pasted, is no anomaly."""
    assert (another_of_the_fold(200) - torch.arange(200)).abs().min() > 50
