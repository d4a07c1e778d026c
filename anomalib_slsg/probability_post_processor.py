"""The default post-processor: what the network gives is a probability already."""

from typing import Any

from anomalib.post_processing import PostProcessor


class ProbabilityPostProcessor(PostProcessor):
    """Thresholds of 0.5 and no normalisation, whether or not validation runs (section 4.9).

    anomalib's :class:`PostProcessor` would replace the thresholds by ones that it learns from the validation set.
    """

    def __init__(self) -> None:
        super().__init__(enable_normalization=False)
        self._image_threshold.fill_(0.5)
        self._pixel_threshold.fill_(0.5)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Learn nothing."""

    def on_validation_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Learn nothing."""
