"""SlsgModel: images in [0, 1] in, probabilities out; what is exported."""

import itertools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from anomalib.data import InferenceBatch
from torch import Tensor, nn

from anomalib_slsg.networks import SegNet
from anomalib_slsg.networks.encoder import EXAMPLE_SIDE
from anomalib_slsg.normality.composition import add_composition
from anomalib_slsg.utils.precision import exporting, fast_autocast

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
REFERENCE_SIDE = 256
STRIDE = 16


class SlsgModel(nn.Module):
    """SegNet with normalisation in front and image score behind.

    Args:
        seg_net: The segmentation network; with the paper's settings if left out.
        score_pixels: The image score is the mean of this many of the highest pixels of a 256x256 map (section 4.2);
            scaled with the map's area.
        auto_bfloat16: Compute in bfloat16 on processors that multiply it. Exported graphs are of 32 bits all the same.

    Raises:
        ValueError: If score_pixels is not positive.
    """

    mean: Tensor
    standard_deviation: Tensor

    def __init__(self, seg_net: SegNet | None = None, score_pixels: int = 100, auto_bfloat16: bool = True) -> None:
        super().__init__()
        if score_pixels < 1:
            msg = f"score_pixels must be at least 1, got {score_pixels}"
            raise ValueError(msg)
        self.seg_net = seg_net if seg_net is not None else SegNet()
        self.score_pixels = score_pixels
        self.auto_bfloat16 = auto_bfloat16
        # in a tuple, where it is no submodule: checkpoints and optimisers must not see it
        self._inference: tuple[tuple[object, ...], SegNet] | None = None
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "standard_deviation", torch.tensor(IMAGENET_STANDARD_DEVIATION).view(1, 3, 1, 1), persistent=False
        )

    def normalise(self, images: Tensor) -> Tensor:
        """Shift and scale images to the statistics of ImageNet.

        Args:
            images: Images in [0, 1] of shape (B, 3, H, W).

        Returns:
            Images as the networks take them, of the same shape.
        """
        # scaled first: NNCF takes what is added to a matrix product, the exported resize's, for its bias
        return images / self.standard_deviation - self.mean / self.standard_deviation

    def fast_autocast(self) -> AbstractContextManager:
        """Make the context in which the networks run fastest; see :mod:`anomalib_slsg.utils.precision`."""
        return fast_autocast(self.seg_net.decoder.head.weight) if self.auto_bfloat16 else nullcontext()

    def forward(self, images: Tensor) -> InferenceBatch:
        """Find anomalies.

        Args:
            images: Images in [0, 1] of shape (B, 3, H, W).

        Returns:
            ``anomaly_map``: probability per pixel, of shape (B, 1, H, W); ``pred_score``: image score in [0, 1], of
            shape (B,).

        Raises:
            ValueError: If the height or width is not a multiple of 16.
        """
        check_image_size(images.shape[-2], images.shape[-1])
        inputs = self.normalise(images).contiguous(memory_format=torch.channels_last)
        whole = self.training or torch.is_grad_enabled() or exporting() or torch.compiler.is_compiling()
        seg_net = self.seg_net if whole else self._folded(inputs)
        with self.fast_autocast():
            anomaly_map, evidence = seg_net.examine(inputs)
        score = self.image_score(anomaly_map)
        if evidence is not None:
            score = add_composition(score, evidence)
        return InferenceBatch(anomaly_map=anomaly_map, pred_score=score)

    def _folded(self, inputs: Tensor) -> SegNet:
        """The network for inference, made anew when a weight or statistic has changed since."""
        autocast = self.fast_autocast()
        dtype = torch.bfloat16 if isinstance(autocast, torch.autocast) else None
        tensors = itertools.chain(self.seg_net.parameters(), self.seg_net.buffers())
        state = (dtype, *(_version(tensor) for tensor in tensors))
        inference = self._inference  # another thread may replace it
        if inference is None or inference[0] != state:
            inference = self._inference = None  # frees the old one first
            with autocast:
                network = self.seg_net.for_inference(inputs[:1, :, :EXAMPLE_SIDE, :EXAMPLE_SIDE], dtype)
            inference = self._inference = state, network
        return inference[1]

    def train(self, mode: bool = True) -> "SlsgModel":
        """Switch between training and inference; what is written through ``data`` counts as a change from here on."""
        self._inference = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the copy for inference out of pickles and copies."""
        return {**self.__dict__, "_inference": None}

    def image_score(self, anomaly_map: Tensor) -> Tensor:
        """Average the most anomalous pixels (section 4.2).

        Args:
            anomaly_map: Probabilities of shape (B, 1, H, W).

        Returns:
            Scores of shape (B,).
        """
        pixels = anomaly_map.shape[-2] * anomaly_map.shape[-1]
        number = max(1, self.score_pixels * pixels // REFERENCE_SIDE**2)
        return anomaly_map.flatten(1).topk(number, dim=1).values.mean(dim=1)


def _version(tensor: Tensor) -> tuple[int, int]:
    # tensors made in inference mode count no changes, and cannot be changed outside of it
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def check_image_size(height: int, width: int) -> None:
    """Refuse sizes that the encoder cannot halve four times.

    Args:
        height: Height in pixels.
        width: Width in pixels.

    Raises:
        ValueError: If one of them is not a multiple of 16.
    """
    if height % STRIDE or width % STRIDE:
        fitting = tuple(max(STRIDE, round(side / STRIDE) * STRIDE) for side in (height, width))
        msg = (
            f"the encoder halves the image four times, so its height and width must be multiples of {STRIDE}; "
            f"got {height}x{width}. Set model.image_size to [{fitting[0]}, {fitting[1]}], or resize to that in your "
            "pre-processor"
        )
        raise ValueError(msg)
