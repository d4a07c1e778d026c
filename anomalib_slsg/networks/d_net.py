"""D-Net, the Markovian discriminator of the pre-training (sections 3.1 and 4.2)."""

from collections.abc import Sequence

from torch import Tensor, nn


class DNet(nn.Module):
    """Four convolution groups and a one-channel map of judgements, one for each patch of the image (section 4.2).

    Groups are those of reference 43's patch discriminator, with leaky rectifiers, where the paper's other groups have
    plain ones.

    Args:
        channels: Channels of the four groups; each halves the resolution.
    """

    def __init__(self, channels: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for depth, out_channels in enumerate(channels):
            layers.append(nn.Conv2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=depth == 0))
            if depth > 0:  # as in the patch discriminator of reference 43, which does not normalise its first layer
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            in_channels = out_channels
        layers.append(nn.Conv2d(in_channels, 1, kernel_size=3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Judge patches.

        Args:
            images: Real or reconstructed images in [0, 1], of shape (B, 3, H, W).

        Returns:
            Judgements of shape (B, 1, H / 16, W / 16), float32; 1 stands for real, 0 for reconstructed.
        """
        return self.layers(2 * images - 1).float()
