"""The encoder shared by GPT-Net and SegNet: any timm CNN, ending at stride 16."""

from typing import Any

import timm
from torch import Tensor, nn

from anomalib_slsg.networks.precise_stem import keep_stem_precise

STRIDES = (2, 4, 8, 16)


class ResNetEncoder(nn.Module):
    """Feature pyramid of a timm CNN with the strides 2, 4, 8 and 16 (section 4.2: ResNet-18).

    ResNets lose the max-pool after their stem, so that their last stage, 512 channels wide in ResNet-18, works at
    stride 16: a 256x256 image gives the 16x16 nodes of the SG block. Networks without such a max-pool end at the
    deepest stage of stride 16; deeper stages are not built.

    The weights are random; :mod:`anomalib_slsg.networks.weights` loads others, because fetching may need a network
    connection and building must not.

    Args:
        backbone: Name of a timm model that supports ``features_only``.
        stem_pool: Keep the max-pool of a ResNet's stem: a quarter of the arithmetic, half the channels at stride 16.

    Raises:
        ValueError: If timm does not know the backbone or it lacks one of the four strides.
    """

    def __init__(self, backbone: str = "resnet18", stem_pool: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        network = _build(backbone)
        channels, reductions = network.feature_info.channels(), network.feature_info.reduction()
        remove_pool = isinstance(getattr(network, "maxpool", None), nn.Module) and not stem_pool
        if remove_pool:
            reductions = [reductions[0], *(reduction // 2 for reduction in reductions[1:])]
        missing = [stride for stride in STRIDES if stride not in reductions]
        if missing:
            msg = (
                f"backbone '{backbone}' has no features at stride {missing[0]} (it has {sorted(set(reductions))}); "
                "choose a CNN whose stem halves the image once, such as resnet18 or tf_efficientnet_lite0"
            )
            raise ValueError(msg)
        deepest_of_stride = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES]
        self.network = _build(backbone, out_indices=tuple(deepest_of_stride))
        if remove_pool:
            self.network.maxpool = nn.Identity()
        _drop_idle_stages(self.network)
        keep_stem_precise(self.network)
        self.channels: tuple[int, ...] = tuple(channels[index] for index in deepest_of_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the feature pyramid.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            Four feature maps (B, C_i, H / s, W / s) for s = 2, 4, 8, 16.
        """
        return self.network(images)


def _drop_idle_stages(network: Any) -> None:
    """Remove the stages behind the last feature map, which timm's EfficientNet family builds and runs for nothing."""
    information = network.feature_info.get_dicts()
    if "stage" in information[-1] and isinstance(getattr(network, "blocks", None), nn.Sequential):
        del network.blocks[information[-1]["stage"] :]


def _build(backbone: str, out_indices: tuple[int, ...] | None = None) -> Any:
    try:
        return timm.create_model(backbone, pretrained=False, features_only=True, out_indices=out_indices)
    except (RuntimeError, AttributeError, TypeError) as error:
        msg = f"backbone '{backbone}' is not a timm model with features_only: {error}"
        raise ValueError(msg) from error
