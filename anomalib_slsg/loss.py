"""The loss of the segmentation, equation 11 (section 3.4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from anomalib_slsg.options import LossOptions


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 4.0) -> Tensor:
    """Binary focal loss (reference 52 of the paper), without class weights.

    Args:
        logits: Logits of the anomalous class, any shape.
        target: 1 for anomalous, 0 for normal, of the same shape.
        gamma: Focusing exponent; 0 is cross-entropy.

    Returns:
        Mean of ``-(1 - p_t) ** gamma * log(p_t)``.
    """
    return sigmoid_focal_loss(logits, target, alpha=-1, gamma=gamma, reduction="mean")


class SegmentationLoss(nn.Module):
    """Loss of SegNet, equation 11: ``alpha_4 focal + alpha_5 l1 + alpha_6 auxiliary``.

    The auxiliary term is the focal loss of the auxiliary head. A weight of 0 leaves a term out (Table 7).

    Args:
        options: The weights, and the focusing exponent of the focal losses.
    """

    def __init__(self, options: LossOptions = LossOptions()) -> None:
        super().__init__()
        self.options = options

    def forward(self, logits: Tensor, auxiliary_logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the terms and their weighted sum.

        Args:
            logits: Logits of the decoder, of shape (B, 1, H, W).
            auxiliary_logits: Logits of the auxiliary head, of the same shape.
            target: Mask, 1 for anomalous pixels, of the same shape.

        Returns:
            ``focal``, ``l1``, ``auxiliary`` without their weights, and ``loss``, their weighted sum.
        """
        weights = self.options
        terms = {
            "focal": focal_loss(logits, target, weights.focal_gamma),
            "l1": functional.l1_loss(torch.sigmoid(logits), target),
            "auxiliary": focal_loss(auxiliary_logits, target, weights.focal_gamma),
        }
        terms["loss"] = (
            weights.focal_weight * terms["focal"]
            + weights.l1_weight * terms["l1"]
            + weights.auxiliary_weight * terms["auxiliary"]
        )
        return terms
