"""Figures of what losses do, for which networks are trained: Fig. 9 and 10."""

import dataclasses
from functools import partial

import torch
from torch import Tensor

from anomalib_slsg.cli.figures.brief_training import PICTURE, scaled_to, train_gpt_nets, train_segnet
from anomalib_slsg.cli.figures.made import Made
from anomalib_slsg.cli.figures.subject import Subject
from anomalib_slsg.networks.seg_net import SegNet
from anomalib_slsg.options import LossOptions
from anomalib_slsg.pretraining.gan import draw_masks
from anomalib_slsg.report.figures.losses import draw_losses
from anomalib_slsg.report.figures.reconstructions import draw_reconstructions
from anomalib_slsg.utils.progress import progress_bar
from anomalib_slsg.utils.seeding import stream

SIDE, IMAGES = 128, 64  # longest side in pixels, and number, of the images that networks are trained with
SEGNET_STEPS = 60  # of each network
GPT_NET_STEPS = (60, 40)  # with the l1 loss, then of each network
EXAMPLES, RECONSTRUCTED = 4, 4
WEIGHTS = ("l1_weight", "focal_weight", "auxiliary_weight")  # that Fig. 9 leaves out, in its order


def losses(subject: Subject) -> Made:
    """Make Fig. 9, of further checkpoints that were trained without a loss each, or of networks trained here."""
    _ = subject.seg_net
    places = subject.tests(EXAMPLES)
    if not places:
        raise ValueError("the data have no anomalous test images")
    examples = [subject.example(place) for place in places]
    given = _given(subject)
    if given is not None:
        images = torch.stack([example.image for example in examples])
        return Made(draw_losses(examples, _maps(subject, given, images), "All are checkpoints."))
    normal = subject.normal(IMAGES, SIDE)
    images = torch.nn.functional.interpolate(
        torch.stack([example.image for example in examples]), normal.shape[-2:], mode="area"
    )
    own = subject.model.options.loss
    whole = LossOptions(focal_gamma=own.focal_gamma) if 0 in (getattr(own, name) for name in WEIGHTS) else own
    choices = [*(dataclasses.replace(whole, **{name: 0.0}) for name in WEIGHTS), whole]
    with progress_bar(transient=True) as progress:
        task = progress.add_task("Training SegNet without each loss", total=SEGNET_STEPS * len(choices))
        advance = partial(progress.advance, task)
        networks = [train_segnet(subject.model, choice, normal, SEGNET_STEPS, advance) for choice in choices]
    told = (
        f"Each network was trained here, from the checkpoint's encoder, for only {SEGNET_STEPS} steps with images of "
        f"{_size(normal)} pixels: the figure shows tendencies."
    )
    return Made(draw_losses(examples, _maps(subject, networks, images), told))


def reconstructions(subject: Subject) -> Made:
    """Make Fig. 10."""
    _ = subject.seg_net
    normal = subject.normal(IMAGES + RECONSTRUCTED, SIDE)
    shown = normal[:: max(1, len(normal) // RECONSTRUCTED)][:RECONSTRUCTED]
    options = subject.model.options
    mask = draw_masks(scaled_to(shown, options.pretraining), shown, stream(options.seed or 0, PICTURE))
    together, apart = GPT_NET_STEPS
    with progress_bar(transient=True) as progress:
        task = progress.add_task("Training GPT-Net with and without D-Net", total=together + 2 * apart)
        trained = train_gpt_nets(subject.model, normal, together, apart, partial(progress.advance, task))
    l1, adversarial = (reconstruct(shown, mask) for reconstruct in trained)
    told = (
        f"Both go on for {apart} steps from the same GPT-Net, which was trained here with the l1 loss for {together} "
        f"steps, on images of {_size(normal)} pixels. That is far too short for the adversarial loss: a tendency only."
    )
    return Made(draw_reconstructions(shown, shown * (1 - mask), l1, adversarial, told))


def _given(subject: Subject) -> list[SegNet] | None:
    """SegNets of checkpoints without each loss and of one with all, if there are such."""
    models = [subject.model, *subject.others.values()]
    left_out = {tuple(getattr(model.options.loss, name) == 0 for name in WEIGHTS): model for model in models[::-1]}
    wanted = [tuple(name == other for other in WEIGHTS) for name in WEIGHTS] + [(False,) * len(WEIGHTS)]
    found = [left_out[each] for each in wanted if each in left_out and left_out[each].model.segments]
    return [model.model.seg_net for model in found] if len(found) == len(wanted) else None


def _maps(subject: Subject, networks: list[SegNet], images: Tensor) -> list[list]:
    network = subject.model.model
    with torch.no_grad(), network.fast_autocast():
        maps = [each(network.normalise(images))[:, 0].float().cpu().numpy() for each in networks]
    return [list(each) for each in maps]


def _size(images: Tensor) -> str:
    return f"{images.shape[-1]}x{images.shape[-2]}"
