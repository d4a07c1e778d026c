"""Batch-norm statistics: averages over whole images replace what was gathered under masks."""

import pytest
import torch
from torch import Tensor, nn

from anomalib_slsg.networks.statistics import reestimate_batch_norm


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(), nn.Conv2d(4, 5, 1))
    network.append(nn.BatchNorm2d(5))
    return network.double()


def _batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(b, 3, 6, 7, dtype=torch.float64, generator=generator) * (1 + b) + b for b in (4, 4, 3)]


def _normalise(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=(0, 2, 3), keepdim=True)
    scale = (x.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + layer.eps).sqrt()
    return centred / scale * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)


def _batch_statistics(network: nn.Sequential, batches: list[Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Means of the batches' means and unbiased variances, with batch statistics in the layers before."""
    means, variances = [], []
    for batch in batches:
        x = batch
        for module in network[:layer]:
            x = _normalise(module, x) if isinstance(module, nn.BatchNorm2d) else module(x)
        values = x.transpose(0, 1).flatten(1)
        means.append(values.mean(dim=1))
        variances.append(values.var(dim=1))
    return torch.stack(means).mean(dim=0), torch.stack(variances).mean(dim=0)


@pytest.mark.parametrize("layer", [1, 4])
def test_statistics_are_the_average_over_the_batches(layer: int) -> None:
    network, batches = _network(), _batches()
    network(10 + 20 * batches[0])  # what GPT-Net left
    reestimate_batch_norm(network, iter(batches))
    mean, variance = _batch_statistics(network, batches, layer)
    torch.testing.assert_close(network[layer].running_mean, mean)
    torch.testing.assert_close(network[layer].running_var, variance)


def test_weights_momentum_and_gradients_are_untouched_and_the_network_left_in_evaluation_mode() -> None:
    network, batches = _network(), _batches()
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    momenta = [layer.momentum for layer in network if isinstance(layer, nn.BatchNorm2d)]
    reestimate_batch_norm(network, batches)
    assert not any(module.training for module in network.modules())
    assert [layer.momentum for layer in network if isinstance(layer, nn.BatchNorm2d)] == momenta == [0.3, 0.1]
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_networks_without_batch_norm_pass() -> None:
    network = nn.Conv2d(3, 2, 1)
    reestimate_batch_norm(network, [torch.randn(1, 3, 4, 4)])
    assert not network.training
