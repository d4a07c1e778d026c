"""The steps of both trainings on random images, as ``Slsg`` and ``GenerativePretraining`` do them."""

from collections.abc import Callable

import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from anomalib_slsg.loss import SegmentationLoss
from anomalib_slsg.networks import GPTNet, SegNet
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.masking import inpainting_mask
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.simulation import AnomalySimulator
from anomalib_slsg.simulation.augmentation import colour_jitter
from benchmarks.common.slsg import untrained_network


def idle_gradients(seg_net: SegNet, step: Callable[[], object]) -> int:
    """Count multiply-accumulates of gradients towards the frozen encoder's maps, which nothing needs."""
    counts: list[int] = []
    skips = [*reversed(seg_net.encoder.channels[:-1]), 0]
    handles = []
    for block, frozen in zip(seg_net.decoder.blocks, skips):
        layer = block[0][0]  # takes the encoder's map beside the decoder's own
        per_output = frozen * layer.kernel_size[0] * layer.kernel_size[1]
        handles.append(
            layer.register_forward_hook(lambda *call, cost=per_output: counts.append(call[-1].numel() * cost))
        )
    step()
    for handle in handles:
        handle.remove()
    return sum(counts)


def segmentation_step(
    batch: int, size: int, backbone: str, bfloat16: bool
) -> tuple[SegNet, Callable[[], None], Callable[[], object]]:
    """Give SegNet, its training step as ``Slsg`` does it, and the simulation alone."""
    model = untrained_network(backbone, bfloat16).to(memory_format=torch.channels_last)
    model.seg_net.encoder.requires_grad_(False)
    model.train()
    model.seg_net.encoder.eval()
    loss, simulator = SegmentationLoss(), AnomalySimulator()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, size, size, generator=generator)
    simulator.fit(images)
    simulator.prepare((size, size))
    normal, others = images[:batch], images[batch : 2 * batch]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=1e-3, momentum=0.9, weight_decay=3e-5)

    def simulate() -> tuple[Tensor, Tensor]:
        simulated = simulator(colour_jitter(normal, 0.1, generator), others, generator)
        inputs = torch.cat([colour_jitter(normal, 0.1, generator), simulated.image])
        return inputs, torch.cat([torch.zeros_like(simulated.mask), simulated.mask])

    def step() -> None:
        inputs, target = simulate()
        inputs = model.normalise(inputs).contiguous(memory_format=torch.channels_last)
        with model.fast_autocast():
            logits, auxiliary = model.seg_net.logits(inputs)
        optimizer.zero_grad(set_to_none=True)
        loss(logits, auxiliary, target)["loss"].backward()
        optimizer.step()

    return model.seg_net, step, simulate


def pretraining_step(batch: int, size: int, backbone: str, bfloat16: bool) -> tuple[Callable[[], None], list[Tensor]]:
    """Give a step of the pre-training as ``GenerativePretraining`` does it, and the weights that it trains."""
    model = untrained_network(backbone, bfloat16)
    options = PretrainingOptions()
    gpt_net = GPTNet(model.seg_net.encoder, model.seg_net.decoder.channels)
    gan = InpaintingGAN(gpt_net, options, Precision(), torch.device("cpu"), model.fast_autocast)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, size, size, generator=generator)

    def step() -> None:
        mask = inpainting_mask(batch, (size, size), generator)
        gan.step(images, model.normalise(images), mask)

    return step, [*gan.gpt_net.parameters(), *gan.d_net.parameters()]
