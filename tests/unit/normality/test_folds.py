"""Which images are held out together."""

import pytest
import torch

from anomalib_slsg.normality.folds import cross_fold_scores, fold_of_each


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


def test_each_image_is_measured_by_what_the_other_folds_teach() -> None:
    images = torch.arange(20.0)

    def learn(rest: torch.Tensor) -> object:
        return lambda seen: torch.isin(seen, images[rest]).float()

    (found,) = cross_fold_scores(5, learn, images)  # type: ignore[arg-type]
    assert not found.any()
