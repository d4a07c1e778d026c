"""Options of SegNet's loss and of the whole training; conversion of options to plain data and back."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.normality.options import CalibrationOptions, NormalityOptions
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.simulation.options import SimulationOptions
from anomalib_slsg.training.optimizer import OptimizerOptions
from anomalib_slsg.utils.options import Options, number
from anomalib_slsg.utils.validation import check_number

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


@dataclass(frozen=True)
class TrainingOptions:
    """The options of ``Slsg`` that decide what is trained, and how; a checkpoint's come back with it.

    Groups may be given as dictionaries, as checkpoints hold them.

    Raises:
        ValueError: If an option is out of range. The message names it.
    """

    backbone: str = "tf_efficientnet_lite0"
    network: NetworkOptions = NetworkOptions()
    pretraining: PretrainingOptions = PretrainingOptions()
    simulation: SimulationOptions = SimulationOptions()
    loss: LossOptions = LossOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    normality: NormalityOptions = NormalityOptions()
    calibration: CalibrationOptions = CalibrationOptions()
    seed: int | None = None

    def __post_init__(self) -> None:
        """Make groups of dictionaries, and check the seed."""
        for each in dataclasses.fields(self):
            if isinstance(each.default, Options):
                object.__setattr__(self, each.name, as_options(type(each.default), getattr(self, each.name)))
        if self.seed is not None:
            check_number("model.seed", self.seed, "[0, inf)", whole=True)


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
