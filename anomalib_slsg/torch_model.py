"""SlsgModel: images in [0, 1] in, probabilities out; what is exported."""

import itertools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from anomalib.data import InferenceBatch
from torch import Tensor, nn

from anomalib_slsg.networks.encoder import check_image_size
from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.networks.seg_net import SegNet
from anomalib_slsg.normality.calibration import Calibration
from anomalib_slsg.normality.joining import Opinion, Verdict
from anomalib_slsg.normality.normality import Normality
from anomalib_slsg.normality.options import NormalityOptions
from anomalib_slsg.utils.precision import exporting, fast_autocast, full_precision

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
REFERENCE_SIDE = 256


class SlsgModel(nn.Module):
    """SegNet and normality, with normalisation in front and the calibrated verdict behind.

    Args:
        backbone: Name of SegNet's timm CNN.
        network: How SegNet is built, and how many pixels make an image's score.
        normality: What measures how unusual images are. It has no effect until it is fitted.
        auto_bfloat16: Compute in bfloat16 on processors that multiply it. Exported graphs are of 32 bits all the same.
        segments: Whether SegNet has a say.

    Raises:
        ValueError: If neither SegNet nor a measure of normality has one.
    """

    mean: Tensor
    standard_deviation: Tensor

    def __init__(
        self,
        backbone: str = "tf_efficientnet_lite0",
        network: NetworkOptions = NetworkOptions(),
        normality: NormalityOptions = NormalityOptions(),
        auto_bfloat16: bool = True,
        segments: bool = True,
    ) -> None:
        super().__init__()
        if not segments and not normality.measures:
            raise ValueError("optimizer.iterations is 0 and normality.measures is empty, so nothing would judge images")
        self.seg_net = SegNet(backbone, network)
        self.normality = Normality(normality) if normality.measures else None
        self.calibration = Calibration()
        self.score_pixels = network.score_pixels
        self.auto_bfloat16 = auto_bfloat16
        self.segments = segments
        # in a tuple, where it is no submodule: checkpoints and optimisers must not see it
        self._inference: tuple[tuple[object, ...], SegNet, nn.Module | None] | None = None
        self.register_load_state_dict_post_hook(_forget_inference)
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
        # scaled before shifted: NNCF would take a shift right after the exported resize's matrix product for its bias
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
            shape (B,). Once calibrated, 0.5 is the threshold of both. What cannot be computed is 1, never normal.

        Raises:
            ValueError: If the height or width is not a multiple of 16.
        """
        return self.conclude(self.judge(images))

    def conclude(self, verdict: Verdict) -> InferenceBatch:
        """Turn what the opinions say into calibrated probabilities.

        Args:
            verdict: What :meth:`judge` returns.

        Returns:
            As :meth:`forward`.
        """
        with full_precision(self.mean.device):
            pixels = verdict.pixels
            assert pixels is not None  # :meth:`judge` sees to it
            return InferenceBatch(
                anomaly_map=_probability(pixels - self.calibration.pixel_shift),
                pred_score=_probability(self.calibration.join(verdict) - self.calibration.image_shift),
            )

    def judge(self, images: Tensor) -> Verdict:
        """Ask the opinions.

        Args:
            images: Images in [0, 1] of shape (B, 3, H, W).

        Returns:
            What they say, before it is calibrated.

        Raises:
            TypeError: If the weights have been made 16 bits wide.
            ValueError: If the height or width is not a multiple of 16.
        """
        if self.mean.dtype.itemsize < torch.float32.itemsize:
            raise TypeError(
                f"SLSG's weights cannot be {self.mean.dtype}: normality measures differences that 16 bits do not hold. "
                "Leave them in float32; torch.autocast and trainer.precision=16-mixed or bf16-mixed are as fast"
            )
        check_image_size(*images.shape[-2:])
        inputs = self.normalise(images).contiguous(memory_format=torch.channels_last)
        seg_net = self.seg_net
        backbone: nn.Module | None = None if self.normality is None else self.normality.backbone
        if not (self.training or torch.is_grad_enabled() or exporting() or torch.compiler.is_compiling()):
            seg_net, backbone = self._folded()
        segnet = normality = None
        if self.segments:
            with self.fast_autocast():
                pixels = seg_net.log_odds(inputs)
            with full_precision(inputs.device):
                segnet = Opinion(_log_odds(self.image_score(pixels)), pixels)
        if self.normality is not None and self.normality.fitted and backbone is not None:
            with full_precision(inputs.device):
                normality = self.normality(inputs, backbone)
        if normality is None and segnet is None:
            segnet = Opinion(torch.zeros_like(images[:, 0, 0, 0]), torch.zeros_like(images[:, :1]))
        elif normality is not None and segnet is None and normality.pixels is None:
            normality = normality._replace(pixels=torch.zeros_like(images[:, :1]))
        return Verdict(segnet, normality)

    def image_score(self, log_odds: Tensor) -> Tensor:
        """Average the probabilities of the most anomalous pixels (section 4.2).

        Args:
            log_odds: Those of pixels, of shape (B, 1, H, W).

        Returns:
            Scores in [0, 1], of shape (B,).
        """
        pixels = log_odds.shape[-2] * log_odds.shape[-1]
        number = max(1, self.score_pixels * pixels // REFERENCE_SIDE**2)
        return torch.sigmoid(log_odds.flatten(1).topk(number, dim=1).values).mean(dim=1)

    def train(self, mode: bool = True) -> "SlsgModel":
        """Switch between training and inference; weights that were changed until here count from here on."""
        self._inference = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the copies for inference out of pickles and copies."""
        return {**self.__dict__, "_inference": None}

    def _folded(self) -> tuple[SegNet, nn.Module | None]:
        """The networks for inference; made anew after training or loading, and on another device or in another type."""
        autocast = self.fast_autocast()
        dtype = torch.bfloat16 if isinstance(autocast, torch.autocast) else None
        backbone = None if self.normality is None else self.normality.backbone
        tensors = itertools.chain(
            self.seg_net.parameters(), self.seg_net.buffers(), () if backbone is None else backbone.parameters()
        )
        state = (dtype, *(tensor.data_ptr() for tensor in tensors))
        inference = self._inference  # another thread may replace it
        if inference is None or inference[0] != state:
            inference = self._inference = None  # frees the old ones first
            faster = None if backbone is None else fold_batch_norm(backbone)
            seg_net = self.seg_net.for_inference(dtype) if self.segments else self.seg_net
            inference = self._inference = state, seg_net, faster
        return inference[1], inference[2]


def _probability(log_odds: Tensor) -> Tensor:
    """The probability of log odds; 1 where they are no number, which no threshold is below. It works in exports."""
    probability = torch.sigmoid(log_odds)
    return torch.where(probability >= 0, probability, 1.0)


def _log_odds(probabilities: Tensor) -> Tensor:
    """Log odds, finite also where rounding has made certainties of probabilities."""
    finite = torch.finfo(probabilities.dtype)
    low, high = probabilities.clamp(min=finite.tiny), probabilities.clamp(max=1 - finite.eps / 2)
    return torch.log(low) - torch.log1p(-high)


def _forget_inference(model: SlsgModel, _incompatible_keys: Any) -> None:
    model._inference = None
