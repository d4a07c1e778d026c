"""Short trainings for figures that show what losses do, with a checkpoint's encoder and options."""

import copy
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from anomalib_slsg.lightning_model import Slsg
from anomalib_slsg.loss import SegmentationLoss
from anomalib_slsg.networks import GPTNet
from anomalib_slsg.networks.seg_net import SegNet
from anomalib_slsg.options import LossOptions
from anomalib_slsg.pretraining.gan import InpaintingGAN, draw_masks
from anomalib_slsg.pretraining.masking import REFERENCE_SIDE
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.training.optimizer import sgd_with_cosine
from anomalib_slsg.utils.seeding import seeded, stream

Reconstruct = Callable[[Tensor, Tensor], Tensor]

WEIGHTS, ORDER, SIMULATION, MASKS, PICTURE = range(5)  # random streams


def train_segnet(model: Slsg, losses: LossOptions, images: Tensor, steps: int, advance: Callable[[], None]) -> SegNet:
    """Train a new SegNet behind a checkpoint's encoder, which stays as it is.

    Args:
        model: The checkpoint's model.
        losses: The losses.
        images: Normal images in [0, 1], of shape (N, 3, H, W).
        steps: How many.
        advance: Called after each step.

    Returns:
        The network, ready to judge.
    """
    options, seed = model.options.optimizer, model.options.seed or 0
    with seeded(stream(seed, WEIGHTS)):
        seg_net = SegNet(model.options.backbone, model.options.network)
    seg_net.encoder.load_state_dict(model.model.seg_net.encoder.state_dict())
    seg_net = seg_net.to(images.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    seg_net.encoder.requires_grad_(False).eval()
    training: Any = sgd_with_cosine(seg_net.parameters(), options, steps)
    optimizer, schedule, loss_of = (
        training["optimizer"],
        training["lr_scheduler"]["scheduler"],
        SegmentationLoss(losses),
    )
    for step in range(steps):
        chosen = _draw(len(images), options.batch_size, seed, step)
        normal = images[chosen]
        others = images[(chosen + 1 + step % max(1, len(images) - 1)) % len(images)] if len(images) > 1 else None
        simulated = model.simulator(normal, others, stream(seed, SIMULATION, step))
        inputs = model.model.normalise(torch.cat([normal, simulated.image]))
        target = torch.cat([torch.zeros_like(simulated.mask), simulated.mask])
        with model.model.fast_autocast():
            logits = seg_net.logits(inputs.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad(set_to_none=True)
        loss_of(*logits, target)["loss"].backward()
        optimizer.step()
        schedule.step()
        advance()
    return seg_net.eval()


def train_gpt_nets(
    model: Slsg, images: Tensor, together: int, apart: int, advance: Callable[[], None]
) -> tuple[Reconstruct, Reconstruct]:
    """Train a GPT-Net that begins with a checkpoint's encoder by the l1 loss, then go on in two ways.

    D-Net would have the last word over a decoder that knows nothing yet; it needs a reconstruction to sharpen.

    Args:
        model: The checkpoint's model.
        images: Normal images in [0, 1], of shape (N, 3, H, W).
        together: Steps until the ways part.
        apart: Steps of each way after that.
        advance: Called after each step.

    Returns:
        What the l1 loss alone makes, and what the adversarial loss makes in addition: functions of images
        (B, 3, H, W) and masks (B, 1, H, W) that reconstruct the images.
    """
    seed, seg_net, given = model.options.seed or 0, model.model.seg_net, model.options.pretraining
    weights = {False: 0.0, True: given.adversarial_weight or PretrainingOptions.adversarial_weight}

    def train(gpt_net: GPTNet, adversarial: bool, first: int, steps: int) -> InpaintingGAN:
        options = dataclasses.replace(scaled_to(images, given), adversarial_weight=weights[adversarial])
        gan = InpaintingGAN(gpt_net, options, Precision(), images.device, model.model.fast_autocast)
        for step in range(first, first + steps):
            batch = images[_draw(len(images), options.batch_size, seed, step)]
            gan.step(batch, model.model.normalise(batch), draw_masks(options, batch, stream(seed, MASKS, step)))
            advance()
        return gan

    with seeded(stream(seed, WEIGHTS)):
        gpt_net = GPTNet(copy.deepcopy(seg_net.encoder), seg_net.decoder.channels)
        start = train(gpt_net, False, 0, together).gpt_net
        one, other = (train(copy.deepcopy(start), each, together, apart) for each in (False, True))
    return partial(_reconstruct, model, one), partial(_reconstruct, model, other)


@torch.no_grad()
def _reconstruct(model: Slsg, gan: InpaintingGAN, images: Tensor, mask: Tensor) -> Tensor:
    with gan.forward_context():
        return gan.gpt_net(model.model.normalise(images) * (1 - mask))[0]


def scaled_to(images: Tensor, options: PretrainingOptions) -> PretrainingOptions:
    """Make the patches that are hidden as much smaller as images (B, 3, H, W) are here than in trainings."""
    patch_size = max(1, options.patch_size * max(images.shape[-2:]) // REFERENCE_SIDE)
    return dataclasses.replace(options, patch_size=patch_size)


def _draw(number: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Choose the images of a step, none twice."""
    return torch.randperm(number, generator=stream(seed, ORDER, step))[:batch_size]
