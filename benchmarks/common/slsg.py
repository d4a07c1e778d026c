"""What the benchmarks know of SLSG's options and of the parts of its network; nothing else here names them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from anomalib.data import ImageBatch, ImageItem

from anomalib_slsg import Slsg
from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.normality.fitting import NormalityFitting
from anomalib_slsg.normality.options import CalibrationOptions, NormalityOptions
from anomalib_slsg.normality.places import EXAMPLES
from anomalib_slsg.options import LossOptions
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.simulation.options import SimulationOptions
from anomalib_slsg.torch_model import SlsgModel
from anomalib_slsg.training.optimizer import OptimizerOptions
from benchmarks.common.paths import CONFIGS

# options that the generative pre-training sees, beside its own
PRETRAINING_DEPENDS_ON = ("backbone", "encoder_weights", "auto_bfloat16")
NETWORK_OF_PRETRAINING = ("stem_pool", "decoder_channels")
# buffers that hold what was learnt from normal images
LEARNT_BUFFERS = ("model.normality",)
FITTING_IMAGES = 8  # at a time


def read_config(name: str) -> dict[str, Any]:
    """Read the options of a configuration of this project.

    Args:
        name: Path below ``configs``, without suffix, such as ``model/fast``.

    Returns:
        Options of ``Slsg``.
    """
    model = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["model"]
    return model.get("init_args") or {}


def merge(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change options, group by group."""
    merged = deepcopy(options)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def papers_slsg(size: int, **options: Any) -> Slsg:
    """Give the paper's SLSG for images of this size, with random weights."""
    return Slsg(**merge({**read_config("model/paper"), "encoder_weights": None, "image_size": (size, size)}, options))


def slsg_with_normality(size: int, *measures: str) -> Slsg:
    """Give the default SLSG with random weights, and with some measures of normality fitted to noise."""
    given = NormalityOptions(encoder_weights=None, measures=measures)
    model = Slsg(encoder_weights=None, image_size=(size, size), normality=given).eval()
    normality = model.model.normality
    assert normality is not None
    # as many images as there are examples at each place
    noise: Any = [ImageItem(image=torch.rand(3, size, size)) for _ in range(EXAMPLES)]
    images = NormalImages(noise, ImageBatch.collate)
    NormalityFitting(images, model.model.normalise, model.device).fit(normality, torch.Generator().manual_seed(0))
    return model


def untrained_network(backbone: str, bfloat16: bool) -> SlsgModel:
    """Give the paper's network with random weights.

    Args:
        backbone: Encoder.
        bfloat16: Compute in it.
    """
    nothing = NormalityOptions(measures=())
    return SlsgModel(backbone, normality=nothing, auto_bfloat16=bfloat16)


def slsg_without_pretraining(size: int) -> Slsg:
    """Give SLSG with a ResNet-18 of random weights, whose fit leaves out GPT-Net."""
    nothing = PretrainingOptions(epochs=0)
    options = NormalityOptions(encoder_weights=None)
    size_and_seed: dict[str, Any] = {"image_size": (size, size), "seed": 0}
    return Slsg("resnet18", encoder_weights=None, pretraining=nothing, normality=options, **size_and_seed)


def training_length(options: dict[str, Any], max_steps: int | None) -> tuple[int, int]:
    """Tell how long SLSG is trained.

    Args:
        options: Options of ``Slsg``.
        max_steps: The trainer's, if it has any.

    Returns:
        Epochs of pre-training, and SegNet's iterations.
    """
    epochs = options.get("pretraining", {}).get("epochs", PretrainingOptions().epochs)
    iterations = options.get("optimizer", {}).get("iterations", OptimizerOptions().iterations)
    if iterations == 0:
        return 0, 0
    return epochs, iterations if max_steps is None else max_steps


def draws_textures(options: dict[str, Any]) -> bool:
    """Tell whether options of ``Slsg`` have anomalies simulated with procedural textures, in place of DTD's."""
    return SimulationOptions(**options.get("simulation", {})).procedural


def without_dtd(options: dict[str, Any]) -> dict[str, Any]:
    """Have options of ``Slsg`` take procedural textures."""
    return merge(options, {"simulation": {"dtd_dir": None, "download_dtd": False}})


def sg_block_parts(options: dict[str, Any]) -> dict[str, str]:
    """Tell which parts the SG block has, as the columns of the paper's Table 6 do."""
    network = NetworkOptions(**options.get("network", {}))
    return {
        "Bottleneck Skip": _tick(network.bottleneck_skip),
        "Self-Attention": _tick(network.attention),
        "GCN": _tick(network.graph),
        "Eliminate PS": _tick(network.graph and network.eliminate_position),
        "TopK": str(network.num_neighbors) if network.graph else "",
    }


def loss_terms(options: dict[str, Any]) -> dict[str, str]:
    """Tell which terms the loss has, as the columns of the paper's Table 7 do."""
    loss = LossOptions(**options.get("loss", {}))
    terms = {"L1 loss": loss.l1_weight, "Focal loss": loss.focal_weight, "Aux loss": loss.auxiliary_weight}
    return {name: _tick(weight > 0) for name, weight in terms.items()}


def _tick(there: bool) -> str:
    return "✓" if there else ""


def pretraining_inputs(options: dict[str, Any]) -> list[Any]:
    """Give those of an entry's options of ``Slsg`` on which the result of the pre-training depends."""
    network = options.get("network", {})
    calibration = options.get("calibration", {})
    return [
        options.get("pretraining", {}),
        calibration.get("false_alarm_rate", CalibrationOptions().false_alarm_rate) is None,  # no images are kept for it
        *(options.get(name) for name in PRETRAINING_DEPENDS_ON),
        *(network.get(name) for name in NETWORK_OF_PRETRAINING),
    ]


def with_pretraining_in(file: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Have options of ``Slsg`` write the result of the pre-training to a file, or read it where it is there."""
    return merge(options, {"pretraining": {"checkpoint": str(file)}})


@contextmanager
def left_out(model: Any, parts: Sequence[str]) -> Iterator[None]:
    """Run a trained SLSG without some measures of normality.

    Args:
        model: The model; outside the context it is whole.
        parts: Names of the measures.
    """
    normality = model.model.normality
    kept = {part: getattr(normality, part) for part in parts}
    try:
        for part in parts:
            setattr(normality, part, None)
        yield
    finally:
        for part, module in kept.items():
            setattr(normality, part, module)


def set_bfloat16(model: Slsg, bfloat16: bool) -> None:
    """Have SLSG compute in bfloat16, where processors multiply it, or in 32 bits."""
    model.model.auto_bfloat16 = bfloat16
