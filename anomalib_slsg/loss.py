"""The losses of section 3.4: equations 8-10 for the pre-training, equation 11 for the segmentation."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 4.0) -> Tensor:
    """Binary focal loss (reference 52 of the paper), without class weights.

    Args:
        logits: Logits of the anomalous class, any shape.
        target: 1 for anomalous, 0 for normal, of the same shape.
        gamma: Focusing exponent; 0 is cross-entropy.

    Returns:
        Mean of ``-(1 - p_t) ** gamma * log(p_t)``.
    """
    signed = torch.where(target > 0.5, logits, -logits)
    # 1 - p_t is the sigmoid of the negated logit, which keeps its precision where p_t is close to 1
    # and its logarithm keeps the gradient finite where the sigmoid is 0 and gamma below 1
    return (torch.exp(gamma * functional.logsigmoid(-signed)) * -functional.logsigmoid(signed)).mean()


class SegmentationLoss(nn.Module):
    """Loss of SegNet, equation 11: ``alpha_4 focal + alpha_5 l1 + alpha_6 auxiliary``.

    The auxiliary term is the focal loss of the auxiliary head. A weight of 0 leaves a term out (Table 7).

    Args:
        focal_weight: alpha_4.
        l1_weight: alpha_5.
        auxiliary_weight: alpha_6.
        gamma: Focusing exponent of the focal loss.

    Raises:
        ValueError: If a weight or gamma is negative, or both weights of the decoder's terms are zero.
    """

    def __init__(
        self,
        focal_weight: float = 0.4,
        l1_weight: float = 0.6,
        auxiliary_weight: float = 0.3,
        gamma: float = 4.0,
    ) -> None:
        super().__init__()
        weights = {"focal_weight": focal_weight, "l1_weight": l1_weight, "auxiliary_weight": auxiliary_weight}
        for name, value in {**weights, "gamma": gamma}.items():
            if value < 0:
                msg = f"{name} must not be negative, got {value}"
                raise ValueError(msg)
        if focal_weight == l1_weight == 0:
            msg = "focal_weight and l1_weight are both 0, so nothing trains the decoder; set one of them above 0"
            raise ValueError(msg)
        self.focal_weight = focal_weight
        self.l1_weight = l1_weight
        self.auxiliary_weight = auxiliary_weight
        self.gamma = gamma

    def forward(self, logits: Tensor, auxiliary_logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the terms and their weighted sum.

        Args:
            logits: Logits of the decoder, of shape (B, 1, H, W).
            auxiliary_logits: Logits of the auxiliary head, of the same shape.
            target: Mask, 1 for anomalous pixels, of the same shape.

        Returns:
            ``focal``, ``l1``, ``auxiliary`` without their weights, and ``loss``, their weighted sum.
        """
        terms = {
            "focal": focal_loss(logits, target, self.gamma),
            "l1": functional.l1_loss(torch.sigmoid(logits), target),
            "auxiliary": focal_loss(auxiliary_logits, target, self.gamma),
        }
        terms["loss"] = (
            self.focal_weight * terms["focal"]
            + self.l1_weight * terms["l1"]
            + self.auxiliary_weight * terms["auxiliary"]
        )
        return terms
