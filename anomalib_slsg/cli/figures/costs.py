"""What inference costs: section 4.8."""

import platform
import statistics
import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anomalib_slsg.cli.figures.made import Made
from anomalib_slsg.cli.figures.subject import OWN, SEGNET, Subject
from anomalib_slsg.report.figures.speed import PAPER, draw_speed, speed_table
from anomalib_slsg.torch_model import SlsgModel

REPEATS = {1: 10, 16: 2}  # timed calls by batch size


def speed(subject: Subject) -> Made:
    """Make the table of section 4.8: the checkpoint, and its SegNet alone if it has another opinion, too."""
    image = subject.normal(1)
    networks = {OWN: subject.model.model}
    networks |= {name: network for name, network in subject.opinions.items() if name == SEGNET}
    columns = {name: _costs(network, image) for name, network in networks.items()}
    cuda = subject.device.type == "cuda"
    device = (
        torch.cuda.get_device_name()
        if cuda
        else f"a processor ({platform.machine()}, threads: {torch.get_num_threads()})"
    )
    return Made(draw_speed(columns, device), speed_table(columns, device))


@torch.no_grad()
def _costs(network: SlsgModel, image: Tensor) -> dict[str, str]:
    with FlopCounterMode(display=False) as counter:
        network(image)
    milliseconds = [1000 * _median(network, image, batch) / batch for batch in REPEATS]
    values = (
        "x".join(map(str, dict.fromkeys(image.shape[:1:-1]))),
        *(f"{value:.1f}" for value in milliseconds),
        f"{_parameters(network) / 1e6:.2f}",
        f"{counter.get_total_flops() / 2 / 1e9:.1f}",
    )
    return dict(zip(PAPER, values, strict=True))


def _median(network: nn.Module, image: Tensor, batch: int) -> float:
    images, seconds = image.repeat(batch, 1, 1, 1), []
    for _ in range(REPEATS[batch]):
        start = time.perf_counter()
        network(images).anomaly_map.cpu()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _parameters(network: SlsgModel) -> int:
    """Count those of SegNet, its auxiliary head among them, and of normality's backbone."""
    parts: list[nn.Module] = [network.seg_net] if network.segments else []
    if network.normality is not None:
        parts.append(network.normality.backbone)
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
