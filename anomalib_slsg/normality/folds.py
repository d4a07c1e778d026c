"""Normal images held out in turn: how unusual images are to those that they were not learnt with. Not in the paper."""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCKS = 10  # runs of images that are held out together
# New images look more unusual to a model fitted to few images than to one fitted to all. With five folds, scores are
# calibrated by models fitted to four fifths.
MOST_FOLDS = 5


def fold_of_each(number: int, folds: int) -> Tensor:
    """Tell which images are held out together.

    Neighbours are, since photographs of one part, or a video's frames, follow each other and are almost the same: held
    out one by one they would resemble what is learnt from more than new images do. Where there are fewer folds than
    runs, several runs far from each other make up a fold, so that it holds images of several kinds where files are
    sorted by kind.

    Args:
        number: How many images there are.
        folds: How many folds they belong to, at the most ``BLOCKS``.

    Returns:
        The fold of each image, of shape (number,).
    """
    return torch.arange(number) * min(BLOCKS, number) // number % folds


def cross_fold_scores(
    folds: int, learn: Callable[[Tensor], Callable[[Tensor], Tensor]], *groups: Tensor
) -> list[Tensor]:
    """Measure how unusual images are to normal ones of other folds than theirs.

    Images are scored by folds that they are not in: one that was fitted to would be its own nearest example.

    Args:
        folds: How many there are.
        learn: Makes what measures how unusual images are, or their parts, of the normal ones that it is told to learn
            from: true or false for each in the order of their files, of shape (B,).
        groups: Images to be measured, in the order of the normal ones that they belong to, once or several times,
            described by tensors whose first dimension is theirs. The first group has each normal one once.

    Returns:
        How unusual the images of each group are, of shape (B, ...).
    """
    fold_of = fold_of_each(len(groups[0]), folds).to(groups[0].device)
    found: list[Tensor] = []
    for fold in range(folds):
        inside = fold_of == fold
        measure = learn(~inside)
        for place, each in enumerate(groups):
            members = inside.repeat(len(each) // len(inside))
            measured = measure(each[members])
            if fold == 0:
                found.append(measured.new_empty(len(each), *measured.shape[1:]))
            found[place][members] = measured
    return found
