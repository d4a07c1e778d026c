"""Options of SegNet's loss; conversion of options to plain data and back; comparison with a checkpoint's."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.normality.options import NormalityOptions
from anomalib_slsg.utils.options import Options, number

Group = TypeVar("Group")


@dataclass(frozen=True)
class LossOptions(Options):
    """Weights of SegNet's loss (equation 11); every ablation of Table 7 is a value here.

    Args:
        focal_weight: alpha_4, not negative (0 for "w/o focal loss").
        l1_weight: alpha_5, not negative (0 for "w/o l1 loss").
        auxiliary_weight: alpha_6, not negative (0 for "w/o auxiliary loss").
        focal_gamma: Focusing exponent of the focal loss, 0 (cross-entropy) or at least 1.

    Raises:
        ValueError: If a value lies outside its range. The message names the option.
    """

    group: ClassVar[str] = "loss"
    focal_weight: float = number(0.4, "[0, inf)")
    l1_weight: float = number(0.6, "[0, inf)")
    auxiliary_weight: float = number(0.3, "[0, inf)")
    focal_gamma: float = number(4.0, "[0, inf)")

    def __post_init__(self) -> None:
        """Check every value, and that the decoder is trained by finite gradients."""
        super().__post_init__()
        if 0 < self.focal_gamma < 1:
            raise ValueError(
                f"loss.focal_gamma must be 0 or at least 1, gradients are infinite between, got {self.focal_gamma}"
            )
        if self.focal_weight == self.l1_weight == 0:
            raise ValueError(
                "loss.focal_weight and loss.l1_weight are both 0, so nothing trains the decoder; set one above 0"
            )


def as_options(kind: type[Group], value: Any) -> Group:
    """Make a group of options of what checkpoints hold of it.

    Args:
        kind: The group's class.
        value: One of it, or a dictionary of its fields.

    Returns:
        The group.
    """
    return kind(**value) if isinstance(value, Mapping) else value


def plain(value: Any) -> Any:
    """Turn options into plain data, which ``torch.load`` reads with ``weights_only`` and loggers write.

    Args:
        value: A value, a mapping or a sequence of values, among them groups of options and OmegaConf's containers.

    Returns:
        The same of dictionaries and tuples.
    """
    if isinstance(value, Options):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


def check_same_network(
    trained: Mapping[str, Any], backbone: str, network: NetworkOptions, normality: NormalityOptions
) -> None:
    """Refuse a checkpoint of another network. Its weights might load all the same.

    Args:
        trained: The options of the checkpoint, as plain data.
        backbone: The backbone of the model that loads it.
        network: Its network's options.
        normality: Its normality's options, of which only the measures that there are count.

    Raises:
        ValueError: If options differ on which the output for given weights depends.
    """
    had = _named_values(
        trained.get("backbone", backbone),
        as_options(NetworkOptions, trained.get("network", network)),
        as_options(NormalityOptions, trained.get("normality", normality)),
    )
    has = _named_values(backbone, network, normality)
    others = [f"model.{name}={had[name]!r}, not {has[name]!r}" for name in had if had[name] != has[name]]
    if others:
        raise ValueError(f"the checkpoint was trained with {', '.join(others)}: give the options of the network again")


def _named_values(backbone: str, network: NetworkOptions, normality: NormalityOptions) -> dict[str, Any]:
    values = {f"network.{name}": value for name, value in dataclasses.asdict(network).items()}
    looked_at = normality.backbone if normality.measures else None
    return {
        "backbone": backbone,
        **values,
        "normality.measures": normality.measures,
        "normality.backbone": looked_at,
    }
