"""Batch normalisation folded into convolutions, and the copy of SegNet that inference uses."""

import copy
import pickle

import pytest
import torch
from torch import nn

from anomalib_slsg.networks import SegNet
from anomalib_slsg.networks.folding import fold_batch_norm
from anomalib_slsg.torch_model import SlsgModel
from anomalib_slsg.utils import precision
from tests.support.models import tiny_torch_model, with_trained_norms


@pytest.mark.parametrize(
    "backbone", ["test_resnet", "test_efficientnet", "resnet18", "ghostnet_050", "test_vgg", "test_resnet_preact"]
)
def test_folding_changes_nothing_but_leaves_no_norm(backbone: str) -> None:
    torch.manual_seed(0)
    network: nn.Module
    if backbone == "test_vgg":
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 1, 3))
    elif backbone == "test_resnet_preact":
        network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    else:
        network = SegNet(backbone)
    network = with_trained_norms(network)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        folded = network.for_inference() if isinstance(network, SegNet) else fold_batch_norm(network)
        torch.testing.assert_close(folded(images), expected, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(network(images), expected, atol=0, rtol=0)
    norms = [name for name, layer in folded.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    if backbone == "ghostnet_050":  # a convolution's own output is a feature there: all of the encoder stays
        assert norms
        assert all(name.startswith("encoder.") for name in norms)
    else:  # a norm that does not follow a convolution directly stays
        assert len(norms) == {"test_resnet_preact": 2, "test_resnet": 1}.get(backbone, 0)


def test_a_convolution_used_twice_keeps_its_norms() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norms = nn.Conv2d(3, 3, 1), nn.ModuleList(nn.BatchNorm2d(3) for _ in range(2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.norms[1](self.convolution(self.norms[0](self.convolution(images))))

    network = with_trained_norms(Shared())
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(fold_batch_norm(network)(images), network(images))


class Reused(nn.Module):
    """A convolution whose output is used beside the norm, in one of several ways."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.use, self.convolution, self.norm = use, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.convolution(images)
        if self.use == "changed in place":
            output += images
        normalised = self.norm(output)
        if self.use == "residual":
            return (normalised + output,)
        return (normalised, output) if self.use == "given out" else (normalised,)


@pytest.mark.parametrize("use", ["residual", "given out", "changed in place"])
def test_a_convolution_whose_output_is_needed_stays(use: str) -> None:
    network = with_trained_norms(Reused(use))
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        for found, expected in zip(fold_batch_norm(network)(images), network(images), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.fixture
def model() -> SlsgModel:
    model = tiny_torch_model(auto_bfloat16=False)
    with_trained_norms(model.seg_net)
    return model


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> list[SegNet]:
    """The copies that inference makes."""
    made: list[SegNet] = []
    fold = SegNet.for_inference
    monkeypatch.setattr(SegNet, "for_inference", lambda *given: made.append(fold(*given)) or made[-1])
    return made


def _map(model: SlsgModel) -> torch.Tensor:
    return model(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).anomaly_map


def test_inference_folds_once_and_answers_the_same(model: SlsgModel, folds: list[SegNet]) -> None:
    unfolded = _map(model)  # gradients are wanted: nothing is folded
    assert folds == []
    with torch.inference_mode():
        torch.testing.assert_close(_map(model), unfolded.detach(), atol=1e-5, rtol=1e-4)
        assert len(folds) == 1
        _map(model)
    assert len(folds) == 1


@pytest.mark.parametrize("change", ["weight", "statistic", "load", "data", "double"])
def test_inference_sees_changed_weights(model: SlsgModel, change: str) -> None:
    with torch.inference_mode():
        before = _map(model)
    with torch.no_grad():
        if change == "weight":
            model.seg_net.decoder.head.weight.mul_(2)
            model.eval()
        elif change == "statistic":
            model.seg_net.encoder.get_submodule("network").bn1.running_mean.add_(1)
            model.eval()
        elif change == "load":
            model.load_state_dict({name: 0.5 * tensor for name, tensor in model.state_dict().items()})
        elif change == "data":  # which counts no change, as averages of weights are written
            model.seg_net.decoder.head.weight.data.mul_(2)
            model.eval()
        else:
            model.double()
            assert _map(model.float()).dtype == before.dtype
            model.seg_net.decoder.head.weight.mul_(2)
            model.eval()
    with torch.inference_mode():
        changed = _map(model)
    assert not torch.equal(changed, before)
    torch.testing.assert_close(changed, _map(model).detach(), atol=1e-5, rtol=1e-4)


def test_the_copy_is_no_part_of_the_model(model: SlsgModel, folds: list[SegNet]) -> None:
    names = set(model.state_dict())
    size = len(pickle.dumps(model))
    with torch.inference_mode():
        _map(model)
    assert set(model.state_dict()) == names
    assert len(pickle.dumps(model)) == pytest.approx(size, rel=0.01)
    other = copy.deepcopy(model)
    with torch.inference_mode():
        _map(other)
    assert len(folds) == 2  # the other one made its own


def test_training_does_not_use_it(model: SlsgModel, folds: list[SegNet]) -> None:
    with torch.no_grad():
        _map(model)
    (folded,) = folds
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    model.train()
    assert _map(model).requires_grad
    with torch.no_grad():
        mean = model.seg_net.decoder.blocks[0][0][1].running_mean.clone()
        _map(model)
    assert not torch.equal(model.seg_net.decoder.blocks[0][0][1].running_mean, mean)


def test_weights_are_narrow_where_the_processor_multiplies_them(
    monkeypatch: pytest.MonkeyPatch, model: SlsgModel, folds: list[SegNet]
) -> None:
    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: True)
    wide = _map(model).detach()
    model.auto_bfloat16 = True
    with torch.inference_mode():
        narrow = _map(model)
    (network,) = folds
    assert list(network.encoder.parameters())[-1].dtype == torch.bfloat16
    assert {network.decoder.head.weight.dtype, network.sg_block.get_submodule("query").weight.dtype} == {torch.float32}
    assert 0 < (narrow - wide).abs().max() < 0.05
