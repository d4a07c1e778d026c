"""The decoder of GPT-Net and SegNet: four up-sampling blocks, each followed by a Conv block (section 4.2)."""

from collections.abc import Sequence

from torch import Tensor, cat, nn
from torch.nn.functional import interpolate

from anomalib_slsg.networks.layers import ConvBlock, UpsamplingBlock
from anomalib_slsg.utils.precision import full_precision

DECODER_CHANNELS = (256, 128, 64, 32)


class Decoder(nn.Module):
    """Doubles the resolution four times, with U-Net skips from the encoder (section 3.1, point 1).

    Args:
        encoder_channels: Channels of the encoder's maps at strides 2, 4, 8 and 16.
        out_channels: Channels of the output.
        channels: Channels after each of the four blocks.
        bottleneck_skip_channels: Channels of the squeezed bottleneck that all blocks but the first receive too
            (section 3.3, last paragraph); 0 for none.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        out_channels: int,
        channels: Sequence[int] = DECODER_CHANNELS,
        bottleneck_skip_channels: int = 0,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        *skip_channels, bottleneck_channels = encoder_channels
        skips = [*reversed(skip_channels), 0]
        inputs = [bottleneck_channels, *channels[:-1]]
        # the last block halves its width only after up-sampling, so that the sharpest level keeps its input's detail
        upsampled = [*channels[:-1], channels[-2]]
        extras = [0, *[bottleneck_skip_channels] * (len(channels) - 1)]  # the first block decodes the bottleneck itself
        self.up = nn.ModuleList(UpsamplingBlock(i, u) for i, u in zip(inputs, upsampled, strict=True))
        self.blocks = nn.ModuleList(
            ConvBlock(u + s + e, c) for u, s, e, c in zip(upsampled, skips, extras, channels, strict=True)
        )
        self.head = nn.Conv2d(channels[-1], out_channels, kernel_size=3, padding=1)

    def forward(self, features: Sequence[Tensor], bottleneck_skip: Tensor | None = None) -> Tensor:
        """Decode a feature pyramid.

        Args:
            features: Maps at strides 2, 4, 8 and 16; the last one is the bottleneck.
            bottleneck_skip: Squeezed bottleneck (B, bottleneck_skip_channels, H / 16, W / 16), if there is one.

        Returns:
            Output without activation, of shape (B, out_channels, H, W).
        """
        *skips, x = features
        for depth, (up, block) in enumerate(zip(self.up, self.blocks, strict=True)):
            x = up(x)
            parts = [x]
            if depth < len(skips):
                parts.append(skips[-1 - depth])
            if depth > 0 and bottleneck_skip is not None:
                parts.append(interpolate(bottleneck_skip, scale_factor=2 ** (depth + 1), mode="nearest"))
            x = block(cat(parts, dim=1) if len(parts) > 1 else x)
        # in full precision: neighbouring values that half precision makes equal could no longer be told apart
        with full_precision(x.device):
            return self.head(x.to(self.head.weight.dtype))
