"""Options of the pre-training, as plain data for YAML, the command line and checkpoints."""

from dataclasses import dataclass
from typing import ClassVar

from anomalib_slsg.pretraining.masking import REFERENCE_SIDE
from anomalib_slsg.utils.options import Options, number, numbers


@dataclass(frozen=True)
class PretrainingOptions(Options):
    """How GPT-Net pre-trains the encoder (sections 3.1, 3.4 and 4.2).

    Args:
        epochs: Passes over the training images; 0 leaves the pre-training out (Table 4, column "ImageNet").
        batch_size: Images per step.
        generator_learning_rate: Adam's rate for GPT-Net.
        discriminator_learning_rate: Adam's rate for D-Net.
        patch_size: Side of the grid mask's patches in pixels (Table 4: 4, 8, 16).
        mask_ratio: Share of masked patches, in (0, 1) (Table 4: 0.6, 0.8, 0.9).
        large_masks: Large masks on each image; 0 for none (Table 4, column "No").
        large_mask_sides: Smallest and largest side of the large masks, in pixels of a 256x256 image.
        adversarial_weight: alpha_1 of equation 10; 0 trains without D-Net (Fig. 10).
        l1_weight: alpha_2 of equation 10.
        auxiliary_weight: alpha_3 of equation 10.
        checkpoint: File of a pre-trained GPT-Net. If it exists it is loaded and pre-training is skipped; if not, it is
            written at the end, so that further runs on the same images share it. One of a pre-training with other
            options or images is refused.
        log_images_every: Epochs between two pictures of reconstructions; 0 for none.

    Raises:
        ValueError: If a value lies outside its range. The message names the option.
    """

    group: ClassVar[str] = "pretraining"
    epochs: int = number(40, "[0, inf)")
    batch_size: int = number(6, "[1, inf)")
    generator_learning_rate: float = number(1e-3, "(0, inf)")
    discriminator_learning_rate: float = number(6e-4, "(0, inf)")
    patch_size: int = number(8, "[1, inf)")
    mask_ratio: float = number(0.8, "(0, 1)")
    large_masks: int = number(2, "[0, inf)")
    large_mask_sides: tuple[int, int] = numbers((40, 150), f"[1, {REFERENCE_SIDE}]", ascending=True)
    adversarial_weight: float = number(1.0, "[0, inf)")
    l1_weight: float = number(0.8, "[0, inf)")
    auxiliary_weight: float = number(1.0, "[0, inf)")
    checkpoint: str | None = None
    log_images_every: int = number(5, "[0, inf)")

    def __post_init__(self) -> None:
        """Check every value, and that something is learnt."""
        super().__post_init__()
        if self.l1_weight == self.auxiliary_weight == 0:
            raise ValueError("pretraining.l1_weight must be above 0 when auxiliary_weight is 0, got 0")
