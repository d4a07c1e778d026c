"""SegNet, the anomaly segmentation network (sections 3.2-3.4)."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from anomalib_slsg.networks.decoder import DECODER_CHANNELS, Decoder
from anomalib_slsg.networks.encoder import ResNetEncoder
from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.networks.layers import AuxiliaryHead
from anomalib_slsg.networks.precise_stem import to_dtype_but_stem
from anomalib_slsg.networks.sg_block import SGBlock
from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.normality.places import FeatureDistance, add_evidence
from anomalib_slsg.utils.precision import full_precision

ANOMALOUS_SHARE = 0.05  # of the pixels of a training batch, roughly
RARITY = math.log(ANOMALOUS_SHARE / (1 - ANOMALOUS_SHARE))  # as log odds


class SegNet(nn.Module):
    """Encoder, SG block at the bottleneck and one-class classification decoder (section 3, Fig. 2).

    Args:
        backbone: Name of a timm CNN.
        stem_pool: Keep the max-pool of a ResNet's stem.
        decoder_channels: Channels of the four decoder blocks.
        num_neighbors: Neighbours of each node of the SG block (Table 6: 7, 9, 11).
        attention: Self-attention in the SG block (Table 6, "Self-Attention").
        graph: Graph convolution in the SG block (Table 6, "GCN").
        eliminate_position: Subtract the positional similarity (Table 6, "Eliminate PS").
        residual: Add the SG block's input to its output; off is the paper's X'.
        bottleneck_skip: Feed X' to the deeper decoder blocks too (Table 6, "Bottleneck Skip").
        bottleneck_skip_channels: Channels to which X' is squeezed for that.
        feature_distance: Add the distance of features from those of normal images at the same place to what the
            decoder finds; not in the paper.
        composition: Measure how unusual it is what images are made of; not in the paper.
        initial_encoder: Measure both by the features of a second encoder, which nothing trains.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        stem_pool: bool = False,
        decoder_channels: Sequence[int] = DECODER_CHANNELS,
        num_neighbors: int = 9,
        attention: bool = True,
        graph: bool = True,
        eliminate_position: bool = True,
        residual: bool = False,
        bottleneck_skip: bool = True,
        bottleneck_skip_channels: int = 32,
        feature_distance: bool = False,
        composition: bool = False,
        initial_encoder: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(backbone, stem_pool=stem_pool)
        channels = self.encoder.channels[-1]
        self.sg_block: nn.Module = (
            SGBlock(channels, num_neighbors, attention, graph, eliminate_position, residual)
            if attention or graph
            else nn.Identity()
        )
        self.squeeze = nn.Conv2d(channels, bottleneck_skip_channels, kernel_size=1) if bottleneck_skip else None
        self.decoder = Decoder(
            self.encoder.channels,
            out_channels=1,
            channels=decoder_channels,
            bottleneck_skip_channels=bottleneck_skip_channels if bottleneck_skip else 0,
        )
        self.feature_distance = FeatureDistance(self.encoder.channels[-2:]) if feature_distance else None
        self.composition = Composition(self.encoder.channels[-2:]) if composition else None
        self.auxiliary_head: nn.Module = AuxiliaryHead(channels, out_channels=1)
        # Starting at the anomalies' rarity, as the focal loss's paper (reference 52) does, features gather evidence of
        # anomalies. Started at 0.5, they gather evidence of normality: its absence, which ReLU ends at zero, never
        # exceeds the probability that the head's bias alone stands for.
        for layer in (self.decoder.head, self.auxiliary_head.to_pixels):
            nn.init.constant_(cast("Tensor", layer.bias), RARITY)
        # last, so that the others' random weights are the same with and without it
        self.initial_encoder = None
        if initial_encoder and self.statistics:
            self.initial_encoder = ResNetEncoder(backbone, stem_pool=stem_pool).requires_grad_(False).eval()

    @property
    def statistics(self) -> list[FeatureDistance | Composition]:
        """What is learnt from normal features, fitted or not."""
        return [part for part in (self.feature_distance, self.composition) if part is not None]

    @property
    def measured_encoder(self) -> ResNetEncoder:
        """The one whose features are compared with normal ones."""
        return self.encoder if self.initial_encoder is None else self.initial_encoder

    def train(self, mode: bool = True) -> "SegNet":
        """Set the mode of all but the initial encoder, which stays as it is."""
        super().train(mode)
        if self.initial_encoder is not None:
            self.initial_encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Segment anomalies.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            Probability that a pixel is anomalous, of shape (B, 1, H, W), float32.
        """
        return self.examine(images)[0]

    def examine(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Segment anomalies and judge what images are made of.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            What :meth:`forward` returns, and the evidence of :class:`~anomalib_slsg.normality.composition.Composition`
            that images are anomalous, in log odds, of shape (B,); ``None`` where it is not measured.
        """
        features, related = self._relate(images)
        log_odds = self._decode(features, related).float()
        evidence = None
        if any(part.fitted for part in self.statistics):
            measured = features if self.initial_encoder is None else self.initial_encoder(images)
            with full_precision(images.device):
                if self.feature_distance is not None and self.feature_distance.fitted:
                    distance = self.feature_distance(measured, (images.shape[-2], images.shape[-1]))
                    log_odds = add_evidence(log_odds, distance, RARITY)
                if self.composition is not None and self.composition.fitted:
                    evidence = self.composition(measured)
        return torch.sigmoid(log_odds), evidence

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Segment anomalies for training.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            Logits of the decoder and of the auxiliary head, each of shape (B, 1, H, W), float32.
        """
        features, related = self._relate(images)
        return self._decode(features, related).float(), self.auxiliary_head(related).float()

    def for_inference(self, images: Tensor, dtype: torch.dtype | None = None) -> "SegNet":
        """Copy the network in its fastest form, which only :meth:`forward` and :meth:`examine` can use.

        Args:
            images: Normalised images that show how data flow, of shape (B, 3, H, W).
            dtype: Type of the weights that autocast would turn into it at every call; ``None`` leaves them.

        Returns:
            The copy, with batch normalisation folded into the convolutions and without the auxiliary head. Normal
            features, which are as large as the weights, are shared.
        """
        folded = fold_batch_norm(self, images, shared=self.statistics)
        folded.auxiliary_head = nn.Identity()
        if dtype is not None:
            encoders = folded.encoder, folded.initial_encoder
            for part in (*encoders, folded.squeeze, folded.decoder.up, folded.decoder.blocks):
                if part is not None:
                    to_dtype_but_stem(part, dtype)
        return folded

    def _relate(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.encoder(images)
        # a hundredth of the arithmetic, in which rounding would choose other neighbours
        with full_precision(images.device):
            related = self.sg_block(features[-1].to(images.dtype))
        return features, related

    def _decode(self, features: list[Tensor], related: Tensor) -> Tensor:
        skip = self.squeeze(related) if self.squeeze is not None else None
        return self.decoder([*features[:-1], related], skip)
