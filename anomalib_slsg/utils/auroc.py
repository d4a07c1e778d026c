"""Area under the ROC curve."""

import torch
from torch import Tensor


def area_under_roc(negative: Tensor, positive: Tensor) -> Tensor:
    """Probability that a positive score exceeds a negative one, ties counting half.

    Args:
        negative: Scores of normal images, any number.
        positive: Scores of anomalous images, any number.

    Returns:
        Scalar in [0, 1], float64; NaN if either is empty.
    """
    if len(negative) == 0 or len(positive) == 0:
        return torch.tensor(float("nan"), dtype=torch.float64, device=negative.device)
    ordered = negative.double().sort().values
    below = torch.searchsorted(ordered, positive.double(), side="left")
    not_above = torch.searchsorted(ordered, positive.double(), side="right")
    return (below + not_above).double().mean() / (2 * len(negative))
