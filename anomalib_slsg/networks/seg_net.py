"""SegNet, the anomaly segmentation network (sections 3.2-3.4)."""

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn

from anomalib_slsg.networks.decoder import Decoder
from anomalib_slsg.networks.encoder import ResNetEncoder
from anomalib_slsg.networks.folding import fold_batch_norm, fold_pairs
from anomalib_slsg.networks.layers import AuxiliaryHead
from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.networks.precise_stem import to_dtype_but_stem
from anomalib_slsg.networks.sg_block import SGBlock
from anomalib_slsg.utils.precision import full_precision

ANOMALOUS_SHARE = 0.05  # of the pixels of a training batch, roughly
RARITY = math.log(ANOMALOUS_SHARE / (1 - ANOMALOUS_SHARE))  # as log odds
BOTTLENECK_SKIP_CHANNELS = 16  # to which X' is squeezed for the other blocks; the paper does not say


class SegNet(nn.Module):
    """Encoder, SG block at the bottleneck and one-class classification decoder (section 3, Fig. 2).

    Args:
        backbone: Name of a timm CNN.
        options: The parts that it has, and their sizes.
    """

    def __init__(self, backbone: str = "resnet18", options: NetworkOptions = NetworkOptions()) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(backbone, stem_pool=options.stem_pool)
        channels = self.encoder.channels[-1]
        self.sg_block: nn.Module = nn.Identity()
        if options.attention or options.graph:
            self.sg_block = SGBlock(
                channels, options.num_neighbors, options.attention, options.graph, options.eliminate_position
            )
        skip_channels = BOTTLENECK_SKIP_CHANNELS if options.bottleneck_skip else 0
        self.squeeze = nn.Conv2d(channels, skip_channels, kernel_size=1) if skip_channels else None
        self.decoder = Decoder(
            self.encoder.channels,
            out_channels=1,
            channels=options.decoder_channels,
            bottleneck_skip_channels=skip_channels,
        )
        self.auxiliary_head: nn.Module = AuxiliaryHead(channels, out_channels=1)
        # The heads start at the prior log odds of an anomaly, as in the focal loss's paper (reference 52), so that
        # features learn to raise them. If they started at 0.5, features would learn to lower them, and since ReLU
        # features cannot fall below zero, no pixel would exceed the bias's own probability.
        for layer in (self.decoder.head, self.auxiliary_head.to_pixels):
            nn.init.constant_(cast("Tensor", layer.bias), RARITY)

    def forward(self, images: Tensor) -> Tensor:
        """Segment anomalies.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            Probability that a pixel is anomalous, of shape (B, 1, H, W), float32.
        """
        return torch.sigmoid(self.log_odds(images))

    def log_odds(self, images: Tensor) -> Tensor:
        """Segment anomalies, for inference.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            Log odds that a pixel is anomalous, of shape (B, 1, H, W), float32.
        """
        return self._decode(*self._relate(images)).float()

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Segment anomalies for training.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            Logits of the decoder and of the auxiliary head, each of shape (B, 1, H, W), float32.
        """
        features, related = self._relate(images)
        return self._decode(features, related).float(), self.auxiliary_head(related).float()

    def for_inference(self, dtype: torch.dtype | None = None) -> "SegNet":
        """Copy the network in its fastest form, which only :meth:`forward` and :meth:`log_odds` can use.

        Args:
            dtype: Type of the weights that autocast would turn into it at every call; ``None`` leaves them.

        Returns:
            The copy, with batch normalisation folded into the convolutions and without the auxiliary head.
        """
        folded = copy.deepcopy(self).requires_grad_(False)
        folded.encoder = fold_batch_norm(self.encoder)
        fold_pairs(folded.decoder)
        folded.auxiliary_head = nn.Identity()
        if dtype is not None:
            for part in (folded.encoder, folded.squeeze, folded.decoder.up, folded.decoder.blocks):
                if part is not None:
                    to_dtype_but_stem(part, dtype)
        return folded.to(memory_format=torch.channels_last)

    def _relate(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.encoder(images)
        # in full precision: rounding would choose other neighbours, and the block is a hundredth of the arithmetic
        with full_precision(images.device):
            related = self.sg_block(features[-1].to(images.dtype))
        return features, related

    def _decode(self, features: list[Tensor], related: Tensor) -> Tensor:
        skip = self.squeeze(related) if self.squeeze is not None else None
        return self.decoder([*features[:-1], related], skip)
