"""The encoder shared by GPT-Net and SegNet: any timm CNN, ending at stride 16."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from anomalib_slsg.networks.precise_stem import keep_stem_precise

STRIDES = (2, 4, 8, 16)
STRIDE = STRIDES[-1]
EXAMPLE_SIDE = 64  # pixels of images that a network is tried on


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
        raise ValueError(
            f"the encoder halves the image four times, so its height and width must be multiples of {STRIDE}; "
            f"got {height}x{width}. Set model.image_size to [{fitting[0]}, {fitting[1]}], or resize to that in your "
            "pre-processor"
        )


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
        ValueError: If timm does not know the backbone, it lacks one of the four strides, or its feature maps are not
            of the sizes that strides make them.
    """

    def __init__(self, backbone: str = "resnet18", stem_pool: bool = False) -> None:
        super().__init__()
        self.backbone, self.stem_pool = backbone, stem_pool
        network = build_features(backbone)
        channels, reductions = network.feature_info.channels(), network.feature_info.reduction()
        remove_pool = isinstance(getattr(network, "maxpool", None), nn.Module) and not stem_pool
        if remove_pool:
            reductions = [reductions[0], *(reduction // 2 for reduction in reductions[1:])]
        missing = [stride for stride in STRIDES if stride not in reductions]
        if missing:
            raise ValueError(
                f"backbone '{backbone}' has no features at stride {missing[0]} (it has {sorted(set(reductions))}); "
                "choose a CNN whose stem halves the image once, such as resnet18 or tf_efficientnet_lite0"
            )
        places = deepest_of_strides(reductions, STRIDES)
        indices = network.feature_info.out_indices  # some networks leave out their first stage by default
        self.network = build_features(backbone, tuple(indices[place] for place in places))
        if remove_pool:
            self.network.maxpool = nn.Identity()
        _drop_idle_stages(self.network)
        keep_stem_precise(self.network)
        self.channels: tuple[int, ...] = tuple(channels[place] for place in places)
        self.check_size(EXAMPLE_SIDE, EXAMPLE_SIDE)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the feature pyramid.

        Args:
            images: Normalised images of shape (B, 3, H, W), H and W multiples of 16.

        Returns:
            Four feature maps (B, C_i, H / s, W / s) for s = 2, 4, 8, 16.
        """
        return self.network(images)

    @torch.no_grad()
    def check_size(self, height: int, width: int) -> None:
        """Refuse sizes of which this backbone makes other feature maps than the decoder joins.

        Args:
            height: Height in pixels.
            width: Width in pixels.

        Raises:
            ValueError: If they are no multiples of 16, or a feature map is of another shape.
        """
        check_image_size(height, width)
        training, example = self.training, torch.zeros(1, 3, height, width)
        example = example.to(next(self.parameters()))
        try:
            shapes = [tuple(feature.shape[1:]) for feature in self.eval()(example)]
        except RuntimeError:  # some backbones join maps themselves
            shapes = []
        finally:
            self.train(training)
        sizes = [(height // stride, width // stride) for stride in STRIDES]
        if shapes != [(channels, *size) for channels, size in zip(self.channels, sizes, strict=True)]:
            raise ValueError(
                f"backbone '{self.backbone}' makes no feature maps of halves, quarters, eighths and sixteenths of "
                f"{height}x{width} pixels; choose a size of multiples of 32, or another backbone, such as resnet18"
            )


def _drop_idle_stages(network: Any) -> None:
    """Remove the stages behind the last feature map, which timm's EfficientNet family builds and runs for nothing."""
    information = network.feature_info.get_dicts()
    if "stage" in information[-1] and isinstance(getattr(network, "blocks", None), nn.Sequential):
        del network.blocks[information[-1]["stage"] :]


def deepest_of_strides(reductions: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Find the deepest feature map of each stride.

    Args:
        reductions: Strides of a network's feature maps, from the first to the deepest.
        strides: Those that are wanted.

    Returns:
        Their places among the maps.

    Raises:
        ValueError: If there is no map of a stride.
    """
    return [len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides]


def build_features(backbone: str, out_indices: tuple[int, ...] | None = None) -> Any:
    """Build a timm network that gives feature maps, with random weights.

    Args:
        backbone: timm's name of it.
        out_indices: Which maps it gives; timm's own choice if left out.

    Returns:
        The network.

    Raises:
        ValueError: If timm has no such network, or it gives no feature maps.
    """
    try:
        return timm.create_model(backbone, pretrained=False, features_only=True, out_indices=out_indices)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"backbone '{backbone}' is not a timm model with features_only: {error}") from error
