"""The file of a finished pre-training, which further runs on the same images share."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from anomalib_slsg.networks import GPTNet
from anomalib_slsg.networks.weights import ENCODER_KEY
from anomalib_slsg.pretraining.host import Host, ImageCollection
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.utils.files import write_atomically

IRRELEVANT = {"checkpoint", "log_images_every"}  # to what is learnt
ADVICE = "delete it to pre-train anew, or name another file"
CELLS = 16  # a side, of which images are summarised
SAME_IMAGES = 1e-4  # largest difference of summaries: libraries decode and resize nearly alike


def write_result(path: Path, host: Host, options: PretrainingOptions, gpt_net: GPTNet) -> None:
    """Write a pre-trained GPT-Net, and what it was trained with.

    Args:
        path: The file.
        host: The model whose encoder was trained.
        options: How it was trained.
        gpt_net: The result.
    """
    content = {
        "options": _inputs(host, options),
        "images": summarise(host.normal_images),
        ENCODER_KEY: host.model.seg_net.encoder.network.state_dict(),
        "gpt_net": gpt_net.state_dict(),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load_result(path: Path, host: Host, options: PretrainingOptions) -> None:
    """Load the encoder of a pre-trained GPT-Net.

    Args:
        path: The file.
        host: The model whose encoder it is for.
        options: How it would be trained.

    Raises:
        ValueError: If the file is broken, or of a training with other options or images.
    """
    try:
        content = torch.load(path, "cpu", weights_only=True)
        had, images = content["options"], content["images"]
    except Exception as error:  # broken files make torch.load raise errors of many unrelated kinds
        raise ValueError(
            f"pretraining.checkpoint: '{path}' is not a pre-trained GPT-Net; {ADVICE} ({error})"
        ) from error
    has, own = _inputs(host, options), summarise(host.normal_images)
    others = [f"{name}={had.get(name)!r}, not {value!r}" for name, value in has.items() if had.get(name) != value]
    if had == has and not torch.allclose(images, own, rtol=0, atol=SAME_IMAGES):
        others = ["the images are others"]
    if others:
        told = f"is of another pre-training ({', '.join(others)}); {ADVICE}"
        raise ValueError(f"pretraining.checkpoint: '{path}' {told}")
    host.model.seg_net.encoder.network.load_state_dict(content[ENCODER_KEY])


def summarise(images: ImageCollection) -> Tensor:
    """Tell what images look like on the whole.

    Args:
        images: The images.

    Returns:
        Mean and standard deviation over all images of cells of theirs, of shape (2, 3, 16, 16).
    """
    parts = images.in_parts(torch.arange(len(images)))
    cells = torch.cat([adaptive_avg_pool2d(part, CELLS) for part in parts]).double()
    return torch.stack([cells.mean(dim=0), cells.std(dim=0, correction=0)]).float()


def _inputs(host: Host, options: PretrainingOptions) -> dict[str, Any]:
    """What the result depends on, but for the images themselves, under the names of the options."""
    seg_net, images = host.model.seg_net, host.normal_images
    given = {name: value for name, value in dataclasses.asdict(options).items() if name not in IRRELEVANT}
    return {
        "model.backbone": seg_net.encoder.backbone,
        "model.encoder_weights": host.encoder_weights,
        "model.network.stem_pool": seg_net.encoder.stem_pool,
        "model.network.decoder_channels": seg_net.decoder.channels,
        **{f"pretraining.{name}": value for name, value in given.items()},
        "number of images": len(images),
        "size of images": tuple(images.sample(1).shape[-2:]),
    }
