"""The default post-processor: what the network gives is a probability already."""

from typing import Any

from anomalib.post_processing import PostProcessor
from torch import Tensor

from anomalib_slsg.utils.validation import check_number


class ProbabilityPostProcessor(PostProcessor):
    """Thresholds that stay as they are, and no normalisation, whether or not validation runs (section 4.9).

    anomalib's :class:`PostProcessor` would replace the thresholds by ones that it learns from the validation set.

    Args:
        image_threshold: Image score, from 0 to 1, above which an image is anomalous. Left out it is that of the
            checkpoint which is loaded, 0.5 without one.
        pixel_threshold: The same of the map's pixels, for masks.

    Raises:
        ValueError: If a threshold is out of range.
    """

    def __init__(self, image_threshold: float | None = None, pixel_threshold: float | None = None) -> None:
        super().__init__(enable_normalization=False)
        # anomalib stores a threshold as a sensitivity, which is 1 - threshold without normalisation
        self._given: dict[str, float] = {}
        for level, threshold in (("image", image_threshold), ("pixel", pixel_threshold)):
            if threshold is not None:
                check_number(f"post_processor.{level}_threshold", threshold, "[0, 1]")
                self._given[f"{level}_sensitivity"] = 1 - threshold
        super().load_checkpoint_config(self._given)

    @property
    def image_threshold(self) -> Tensor:
        """Image score above which an image is anomalous; learnt where a checkpoint's post-processor normalises."""
        return super().image_threshold if self.enable_normalization else self.normalized_image_threshold

    @property
    def pixel_threshold(self) -> Tensor:
        """Probability above which a pixel is anomalous; learnt where a checkpoint's post-processor normalises."""
        return super().pixel_threshold if self.enable_normalization else self.normalized_pixel_threshold

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Restore what a checkpoint has, but for thresholds that were given."""
        super().load_checkpoint_config({**config, **self._given})

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Learn nothing."""

    def on_validation_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Learn nothing."""
