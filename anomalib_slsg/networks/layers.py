"""The building blocks that the paper names in section 4.2: convolution group, Conv block and up-sampling block."""

from torch import Tensor, nn


class ConvolutionGroup(nn.Sequential):
    """Convolution, batch normalisation and ReLU (section 4.2).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the square kernel; the padding keeps the spatial size.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ConvBlock(nn.Sequential):
    """Two stacked convolution groups (section 4.2).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(ConvolutionGroup(in_channels, out_channels), ConvolutionGroup(out_channels, out_channels))


class UpsamplingBlock(nn.Sequential):
    """Bilinear up-sampling by two and a convolution group (section 4.2).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            ConvolutionGroup(in_channels, out_channels),
        )


class AuxiliaryHead(nn.Module):
    """Predicts the full-size output from the bottleneck alone, to train the deepest layers (sections 3.1 and 3.4).

    Every node of the bottleneck emits the ``stride x stride`` pixels that it stands for.

    Args:
        in_channels: Channels of the bottleneck.
        out_channels: Channels of the prediction.
        stride: Side in pixels of the square that one node stands for.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 16) -> None:
        super().__init__()
        hidden_channels = max(in_channels // 2, 32)
        self.features = nn.Sequential(
            ConvolutionGroup(in_channels, in_channels), ConvolutionGroup(in_channels, hidden_channels)
        )
        self.to_pixels = nn.Conv2d(hidden_channels, out_channels * stride * stride, kernel_size=1)
        self.shuffle = nn.PixelShuffle(stride)

    def forward(self, bottleneck: Tensor) -> Tensor:
        """Predict from the bottleneck.

        Args:
            bottleneck: Features of shape (B, C, H / stride, W / stride).

        Returns:
            Prediction without activation, of shape (B, out_channels, H, W).
        """
        return self.shuffle(self.to_pixels(self.features(bottleneck)))
