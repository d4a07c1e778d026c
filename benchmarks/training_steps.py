"""One training step against what the machine can do.

``python benchmarks/training.py`` measures, in one run: the rate of a large matrix product, a step of SegNet (4 normal
and 4 simulated images, simulation included) and a step of GPT-Net (6 images). Prints medians, the multiply-accumulates
that a step needs, and the share of the product's rate that it reaches.
"""

import platform
import statistics
import time
from collections.abc import Callable

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from anomalib_slsg.augmentation import colour_jitter
from anomalib_slsg.loss import SegmentationLoss
from anomalib_slsg.networks import GPTNet, SegNet
from anomalib_slsg.precision import cpu_multiplies_bfloat16
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.masking import inpainting_mask
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.simulation import AnomalySimulator
from anomalib_slsg.torch_model import SlsgModel

MATRIX = 4096
GIGA = 1e9


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median duration after two calls to warm up."""
    durations = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        function()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[2:])


def product_rate(dtype: torch.dtype, repeats: int) -> float:
    """Multiply-accumulates per second of a matrix product."""
    left, right = (torch.randn(MATRIX, MATRIX).to(dtype) for _ in range(2))
    return MATRIX**3 / median_seconds(lambda: left @ right, repeats)


def executed(function: Callable[[], object]) -> float:
    """Count multiply-accumulates of convolutions and matrix products, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 2


def idle_gradients(seg_net: SegNet, step: Callable[[], object]) -> float:
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


def segmentation_step(batch: int, size: int, backbone: str) -> tuple[SegNet, Callable[[], None], Callable[[], object]]:
    """Give SegNet, its training step as ``Slsg`` does it, and the simulation alone."""
    model = SlsgModel(SegNet(backbone)).to(memory_format=torch.channels_last)
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


def pretraining_step(batch: int, size: int, backbone: str) -> Callable[[], object]:
    """Give a step of the pre-training as ``GenerativePretraining`` does it."""
    model = SlsgModel(SegNet(backbone))
    options = PretrainingOptions()
    gpt_net = GPTNet(model.seg_net.encoder, model.seg_net.decoder.channels)
    gan = InpaintingGAN(gpt_net, options, Precision(), torch.device("cpu"), model.fast_autocast)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, size, size, generator=generator)

    def step() -> None:
        mask = inpainting_mask(batch, (size, size), generator)
        gan.step(images, model.normalise(images), mask)

    return step


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps")
    parser.add_argument("--backbone", type=str, default="resnet18", help="encoder")
    parser.add_argument("--profile", action="store_true", help="print the most expensive operators of a SegNet step")
    parsed = parser.parse_args()
    dtype = torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    rate = product_rate(dtype, 5)
    print(f"matrix product, {dtype}: {rate / GIGA:.0f} G multiply-accumulates per second")
    seg_net, step, simulate = segmentation_step(4, parsed.size, parsed.backbone)
    gpt_step = pretraining_step(6, parsed.size, parsed.backbone)
    needed = executed(step) - idle_gradients(seg_net, step)
    steps = {"SegNet step (4 + 4 images)": (step, needed), "GPT-Net step (6 images)": (gpt_step, executed(gpt_step))}
    for name, (function, count) in steps.items():
        seconds = median_seconds(function, parsed.repeats)
        share = count / seconds / rate
        print(f"{name}: {seconds:.3f} s, {count / GIGA:.0f} G multiply-accumulates, {share:.0%} of the product's rate")
    share = median_seconds(simulate, parsed.repeats) / median_seconds(step, parsed.repeats)
    print(f"simulation: {share:.1%} of the SegNet step")
    if parsed.profile:
        for function in (step, gpt_step):
            with torch.profiler.profile() as profiler:
                function()
            print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=60))


if __name__ == "__main__":
    main()
