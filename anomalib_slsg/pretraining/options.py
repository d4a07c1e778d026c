"""Options of the pre-training, as plain data for YAML, the command line and checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass

from anomalib_slsg.pretraining.masking import REFERENCE_SIDE
from anomalib_slsg.utils.validation import check_number, check_pair


@dataclass
class PretrainingOptions:
    """How GPT-Net pre-trains the encoder (sections 3.1, 3.4 and 4.2).

    Attributes:
        epochs: Passes over the training images.
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
            written at the end, so that further runs on the same images share it.
        log_images_every: Epochs between two pictures of reconstructions; 0 for none.
    """

    epochs: int = 40
    batch_size: int = 6
    generator_learning_rate: float = 1e-3
    discriminator_learning_rate: float = 6e-4
    patch_size: int = 8
    mask_ratio: float = 0.8
    large_masks: int = 2
    large_mask_sides: Sequence[int] = (40, 150)
    adversarial_weight: float = 1.0
    l1_weight: float = 0.8
    auxiliary_weight: float = 1.0
    checkpoint: str | None = None
    log_images_every: int = 5

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: If an option is out of range, naming it.
        """
        for name in ("epochs", "batch_size", "patch_size"):
            self._check_number(name, 1, whole=True)
        for name in ("generator_learning_rate", "discriminator_learning_rate"):
            self._check_number(name, 0, open_low=True)
        for name in ("large_masks", "log_images_every"):
            self._check_number(name, 0, whole=True)
        for name in ("adversarial_weight", "l1_weight", "auxiliary_weight"):
            self._check_number(name, 0)
        check_number("pretraining.mask_ratio", self.mask_ratio, 0, 1, open_low=True, open_high=True)
        self.large_mask_sides = check_pair(
            "pretraining.large_mask_sides", self.large_mask_sides, 1, REFERENCE_SIDE, whole=True
        )
        if self.l1_weight == self.auxiliary_weight == 0:
            msg = "pretraining.l1_weight must be above 0 when auxiliary_weight is 0, got 0"
            raise ValueError(msg)

    def _check_number(self, name: str, low: float, *, whole: bool = False, open_low: bool = False) -> None:
        check_number(f"pretraining.{name}", getattr(self, name), low, whole=whole, open_low=open_low)
