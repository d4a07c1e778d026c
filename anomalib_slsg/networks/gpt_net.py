"""GPT-Net, the generative pre-training network (section 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anomalib_slsg.networks.decoder import DECODER_CHANNELS, Decoder
from anomalib_slsg.networks.encoder import ResNetEncoder
from anomalib_slsg.networks.layers import AuxiliaryHead


class GPTNet(nn.Module):
    """Inpaints masked normal images and so teaches the encoder what is where in them (section 3.1).

    Args:
        encoder: The encoder to pre-train; random ResNet-18 if left out.
        decoder_channels: Channels of the four decoder blocks.
    """

    def __init__(
        self, encoder: ResNetEncoder | None = None, decoder_channels: Sequence[int] = DECODER_CHANNELS
    ) -> None:
        super().__init__()
        self.encoder = encoder if encoder is not None else ResNetEncoder()
        self.decoder = Decoder(self.encoder.channels, out_channels=3, channels=decoder_channels)
        self.auxiliary_head = AuxiliaryHead(self.encoder.channels[-1], out_channels=3)

    def forward(self, masked_images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct the images under their masks.

        Args:
            masked_images: Normalised images, zero under the mask, of shape (B, 3, H, W).

        Returns:
            Two reconstructions in [0, 1], float32, of shape (B, 3, H, W): the decoder's, and the auxiliary head's
            from the bottleneck alone.
        """
        features = self.encoder(masked_images)
        return torch.sigmoid(self.decoder(features).float()), torch.sigmoid(self.auxiliary_head(features[-1]).float())
