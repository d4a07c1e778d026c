"""The losses of the pre-training: equations 8-10 (section 3.4)."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class GeneratorTerms(NamedTuple):
    """Terms of equation 10, without their weights."""

    adversarial: Tensor
    l1: Tensor
    auxiliary: Tensor


def generator_loss(judgements: Tensor, reconstruction: Tensor, auxiliary: Tensor, images: Tensor) -> GeneratorTerms:
    """Terms of the generator's loss (equations 8 and 10).

    Args:
        judgements: D-Net's judgements of the reconstruction.
        reconstruction: Images reconstructed by the decoder, in [0, 1], of shape (B, 3, H, W).
        auxiliary: Images reconstructed from the bottleneck alone, of the same shape.
        images: The images without masks, of the same shape.

    Returns:
        The least-squares adversarial term of equation 8, the l1 term, and the l2 term of the auxiliary head.
    """
    return GeneratorTerms(
        adversarial=0.5 * (judgements - 1).square().mean(),
        l1=functional.l1_loss(reconstruction, images),
        auxiliary=functional.mse_loss(auxiliary, images),
    )


def discriminator_loss(reconstructed_judgements: Tensor, real_judgements: Tensor) -> Tensor:
    """Least-squares loss of D-Net (equation 9).

    Args:
        reconstructed_judgements: D-Net's judgements of reconstructions, detached from the generator.
        real_judgements: D-Net's judgements of the images.

    Returns:
        The scalar loss.
    """
    return 0.5 * reconstructed_judgements.square().mean() + 0.5 * (real_judgements - 1).square().mean()
