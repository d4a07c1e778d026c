"""Figures of what happens in and before SegNet: Fig. 3, 7 and 8."""

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from anomalib_slsg.cli.figures.made import Made
from anomalib_slsg.cli.figures.subject import OWN, Subject
from anomalib_slsg.metrics.ground_truth import GOOD
from anomalib_slsg.networks.sg_block import SGBlock
from anomalib_slsg.report.figures.features import MOST, draw_features, embed
from anomalib_slsg.report.figures.neighbours import draw_neighbours, edges_of, graph_of
from anomalib_slsg.report.figures.simulation import ROWS, draw_simulation
from anomalib_slsg.torch_model import SlsgModel
from anomalib_slsg.utils.progress import progress_bar
from anomalib_slsg.utils.seeding import stream

SEED, SIMULATION = 0, 1  # of random numbers, and their stream
DRAWS = 4  # of each row of Fig. 3
CELLS = 8  # a side, over which features are averaged for Fig. 7
GRAPHS = 4  # images in Fig. 8


def simulation(subject: Subject) -> Made:
    """Make Fig. 3, of three normal images."""
    _ = subject.seg_net  # without it nothing was simulated
    images, simulator = subject.normal(2 * len(ROWS)), subject.model.simulator
    normal, others = images[: len(ROWS)], images.roll(1, dims=0)[: len(ROWS)]
    batches = {}
    for place, kind in enumerate(ROWS):
        generator = stream(SEED, SIMULATION, place)
        draws = [simulator(normal[place, None], others[place, None], generator, kind) for _ in range(DRAWS)]
        batches[kind] = max(draws, key=lambda batch: batch.mask.sum().item())
    return Made(draw_simulation(normal, batches))


def features(subject: Subject) -> Made:
    """Make Fig. 7. Misclassified is what the checkpoint as a whole judges wrongly."""
    _, network = subject.seg_net, subject.model.model
    places = [*subject.tests(MOST), *subject.spread(GOOD, MOST)]
    kinds = ["normal" if subject.groups[place] == GOOD else "real anomaly" for place in places]
    alarms = [bool(subject.judged[OWN].scores[place] > subject.threshold) for place in places]
    normal = subject.normal(MOST)
    with progress_bar(transient=True) as progress, torch.no_grad():
        tests = (subject.example(place).image for place in progress.track(places, description="Features of tests"))
        found = [_first_block(network, image[None]) for image in tests]
        for place in progress.track(range(len(normal)), description="Features of simulations"):
            other = normal[(place + 1) % len(normal), None] if len(normal) > 1 else None
            simulated = subject.model.simulator(normal[place, None], other, stream(SEED, SIMULATION, place)).image
            found.append(_first_block(network, simulated))
            alarms.append(bool(network(simulated).pred_score > subject.threshold))
            kinds.append("simulated")
    return Made(draw_features(embed(torch.stack(found).numpy()), kinds, np.array(alarms)))


def neighbours(subject: Subject) -> Made:
    """Make Fig. 8, of test images spread evenly, each with the richest patch of a quarter of it."""
    seg_net, network = subject.seg_net, subject.model.model
    if not isinstance(seg_net.sg_block, SGBlock) or not seg_net.sg_block.graph:
        raise ValueError("SegNet has no graph (network.graph is off)")
    images = torch.stack([subject.example(place).image for place in subject.tests(GRAPHS, anomalous=False)])
    with torch.no_grad():
        bottleneck = seg_net.encoder(network.normalise(images))[-1]
        chosen = _rich_patches(images, subject.model.simulator.foreground(images), bottleneck.shape[-1])
        rows, graphs = [], []
        for eliminate in (True, False):
            block = copy.deepcopy(seg_net.sg_block)
            block.eliminate_position = eliminate
            indices = block.neighbors(bottleneck)
            rows.append([edges_of(*each) for each in zip(bottleneck, indices, chosen, strict=True)])
            graphs.append(graph_of(bottleneck.cpu(), indices.cpu()))
    return Made(draw_neighbours(images, rows, graphs, (bottleneck.shape[-2], bottleneck.shape[-1])))


def _first_block(network: SlsgModel, image: Tensor) -> Tensor:
    """Average what the decoder's first block makes of an image (1, 3, H, W) over cells; one vector."""
    found: list[Tensor] = []
    block = network.seg_net.decoder.blocks[0]
    hook = block.register_forward_hook(lambda _block, _inputs, output: found.append(output))
    try:
        with network.fast_autocast():
            network.seg_net.log_odds(network.normalise(image))
    finally:
        hook.remove()
    return adaptive_avg_pool2d(found[0].float(), CELLS).flatten().cpu()


def _rich_patches(images: Tensor, foreground: Tensor, columns: int) -> list[int]:
    """Choose for each image the patch of the foreground whose grey values differ most, each in another quarter."""
    side = images.shape[-1] // columns
    grey = images.mean(dim=1, keepdim=True)
    contrast = avg_pool2d(grey.square(), side) - avg_pool2d(grey, side).square()
    contrast = contrast * (avg_pool2d(foreground, side) > 0.99)
    height, width = contrast.shape[-2:]
    for place, each in enumerate(contrast[:, 0]):
        quarter = torch.zeros_like(each)
        top, left = divmod(place % 4, 2)
        quarter[top * height // 2 : (top + 1) * height // 2, left * width // 2 : (left + 1) * width // 2] = 1
        each.add_(1e-6).mul_(quarter)  # also where nothing differs, the quarter counts
    return contrast.flatten(1).argmax(dim=1).tolist()
