"""SegNet: size, shapes and the ablations of Table 6."""

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from anomalib_slsg.networks import NetworkOptions, SegNet, SGBlock
from tests.support.models import SG_SWITCHES
from tests.support.paths import CONFIGS


def _giga_multiply_accumulates(network: torch.nn.Module, compute: str) -> tuple[float, object]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = getattr(network, compute)(torch.rand(1, 3, 256, 256))
    return counter.get_total_flops() / 2e9, output


@pytest.mark.slow
def test_size_is_the_papers() -> None:
    """Section 4.8: 20.46 "MB" of parameters and 23 (23.1 in the release) "GFlops", which are multiply-accumulates."""
    network = SegNet().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(20.46, rel=0.05)
    inference, probabilities = _giga_multiply_accumulates(network, "forward")
    training, (logits, auxiliary_logits) = _giga_multiply_accumulates(network, "logits")  # type: ignore[misc]
    assert inference == pytest.approx(23.1, rel=0.05)
    assert training == pytest.approx(23.1, rel=0.05)
    assert training > inference
    assert probabilities.shape == logits.shape == auxiliary_logits.shape == (1, 1, 256, 256)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_fast_network_does_a_quarter_of_the_arithmetic() -> None:
    options = yaml.safe_load((CONFIGS / "model" / "fast.yaml").read_text())["model"]["init_args"]["network"]
    networks = SegNet(options=NetworkOptions(**options)), SegNet()
    fast, papers = (_giga_multiply_accumulates(network.eval(), "forward")[0] for network in networks)
    assert fast / papers == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("size", [(96, 160), (16, 48), (64, 64)], ids=str)
def test_output_is_a_probability_for_each_pixel(size: tuple[int, int]) -> None:
    network = SegNet("regnetx_002").eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        output = network(images)
        logits, auxiliary_logits = network.logits(images)
    assert output.shape == auxiliary_logits.shape == (2, 1, *size)
    assert output.min() >= 0
    assert output.max() <= 1
    assert output.std() > 0
    torch.testing.assert_close(output, torch.sigmoid(logits))


def test_low_precision_ends_at_the_probability() -> None:
    network = SegNet("regnetx_002").eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = network(torch.randn(1, 3, 32, 32))
        logits, auxiliary_logits = network.logits(torch.randn(1, 3, 32, 32))
    assert output.dtype == logits.dtype == auxiliary_logits.dtype == torch.float32


ABLATIONS = {
    "experiment 1": {"attention": False, "graph": False, "bottleneck_skip": False},
    "experiment 2": {"attention": False, "graph": False},
    **SG_SWITCHES,
}


@pytest.mark.parametrize("options", ABLATIONS.values(), ids=ABLATIONS.keys())
def test_table_6_switches_reach_the_network_and_train_it_whole(options: dict) -> None:
    network = SegNet("regnetx_002", NetworkOptions(**options))
    block = network.sg_block
    assert isinstance(block, SGBlock) == (options.get("attention", True) or options.get("graph", True))
    if isinstance(block, SGBlock):
        switches = {"num_neighbors": 9, "attention": True, "graph": True, "eliminate_position": True}
        expected = {**switches, **{name: value for name, value in options.items() if name in switches}}
        assert {name: getattr(block, name) for name in switches} == expected
    logits, auxiliary_logits = network.logits(torch.randn(2, 3, 32, 64))
    (logits.square().mean() + auxiliary_logits.square().mean()).backward()
    idle = {
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not torch.isfinite(parameter.grad).all())
    }
    assert idle == set()


def _logits(network: SegNet, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.logits(images)[0]


def test_bottleneck_skip_carries_the_sg_blocks_output() -> None:
    torch.manual_seed(0)
    network, images = SegNet("regnetx_002").eval(), torch.randn(1, 3, 32, 32)
    assert network.squeeze is not None
    assert network.squeeze.weight.shape == (16, 152, 1, 1)
    seen: list[Tensor] = []
    handle = network.squeeze.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    before = _logits(network, images)
    handle.remove()
    with torch.no_grad():
        torch.testing.assert_close(seen[0], network.sg_block(network.encoder(images)[-1]))
        network.squeeze.bias.add_(1.0)
    assert not torch.allclose(before, _logits(network, images))
    assert SegNet("regnetx_002", NetworkOptions(bottleneck_skip=False)).squeeze is None


@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_100"])
def test_any_timm_cnn_serves(backbone: str) -> None:
    network = SegNet(backbone).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 32, 48)).shape == (1, 1, 32, 48)


def test_kept_stem_pool_halves_the_deepest_channels() -> None:
    network = SegNet(options=NetworkOptions(stem_pool=True)).eval()
    assert network.sg_block.update.out_channels == 256  # type: ignore[union-attr]
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 32)).shape == (1, 1, 64, 32)


def test_untrained_output_is_the_rarity_of_anomalies() -> None:
    """Started at 0.5, training ends with maps that stay below 0.5 wherever features end at ReLU's zero."""
    torch.manual_seed(0)
    net = SegNet().eval()
    with torch.no_grad():
        probabilities = net(torch.randn(2, 3, 64, 64))
        logits, auxiliary_logits = net.logits(torch.randn(2, 3, 64, 64))
    assert 0.02 < probabilities.mean().item() < 0.12
    for output in (logits, auxiliary_logits):
        assert 0.02 < torch.sigmoid(output).mean().item() < 0.12


def test_both_heads_start_at_the_anomalies_rarity() -> None:
    """As the focal loss's paper (reference 52) does; anomalous pixels are about one in twenty while training."""
    network = SegNet("regnetx_002")
    for head in (network.decoder.head, network.auxiliary_head.to_pixels):
        assert head.bias is not None
        torch.testing.assert_close(torch.sigmoid(head.bias), torch.full_like(head.bias, 0.05))
