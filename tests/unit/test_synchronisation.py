"""Training steps never wait for the device.

They run on the meta device, whose tensors have no values: whatever reads one on the host raises.
"""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from torch.utils._python_dispatch import TorchDispatchMode

from anomalib_slsg import Slsg
from anomalib_slsg.networks import GPTNet, NetworkOptions, ResNetEncoder
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.masking import inpainting_mask
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.simulation import SimulationOptions
from tests.support.models import about_to_train, numbered, tiny_slsg
from tests.support.watching import watch

META = torch.device("meta")
SIDE = 32


class BlockingCopies(TorchDispatchMode):
    """Records copies between host and device that make one wait for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ == "_to_copy":
            target = kwargs.get("device") or args[0].device
            if torch.device(target).type != args[0].device.type and not kwargs.get("non_blocking"):
                self.found.append(f"{tuple(args[0].shape)} {args[0].dtype} to {target}")
        return func(*args, **kwargs)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Slsg:
    options = SimulationOptions(minimum_change=0.1, photometric_operations=9)
    model = tiny_slsg(
        backbone="regnetx_002", network=NetworkOptions(decoder_channels=(32, 16, 16, 8)), simulation=options
    )
    about_to_train(model, SIDE, monkeypatch)
    model.simulator.prepare((SIDE, SIDE))
    return model


@pytest.fixture
def meta_model(model: Slsg, monkeypatch: pytest.MonkeyPatch) -> Slsg:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # does not know the meta device
    model.to(META)
    model.simulator.prepare((SIDE, SIDE), META)
    return model


def test_the_recorder_sees_blocking_copies() -> None:
    with BlockingCopies() as copies:
        torch.ones(2).to(META, non_blocking=True)
        assert copies.found == []
        torch.ones(2).to(META)
    assert copies.found == ["(2,) torch.float32 to meta"]


@pytest.mark.slow
def test_a_step_of_seg_net(meta_model: Slsg) -> None:
    optimizer = meta_model.configure_optimizers()["optimizer"]
    batch = numbered(torch.empty(4, 3, SIDE, SIDE, device=META))
    meta_model.training_step(batch, 0)  # the first one makes the positions
    with BlockingCopies() as copies:
        for _ in range(3):
            loss = meta_model.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert loss.device == META
    assert copies.found == []


def test_a_step_of_gpt_net(meta_model: Slsg) -> None:
    gpt_net = GPTNet(ResNetEncoder("regnetx_002"), decoder_channels=(32, 16, 16, 8))
    gan = InpaintingGAN(gpt_net, PretrainingOptions(), Precision(), META, nullcontext)
    images = torch.empty(2, 3, SIDE, SIDE, device=META)
    with BlockingCopies() as copies:
        mask = inpainting_mask(2, (SIDE, SIDE), torch.Generator().manual_seed(0), device=META)
        losses = gan.step(images, meta_model.model.normalise(images), mask)
    assert {value.device for value in losses.values()} == {META}
    assert copies.found == []


def test_every_rank_simulates_other_anomalies(model: Slsg, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same images, same step: only the rank differs."""
    simulations = watch(monkeypatch, model.simulator, "forward")
    batch = numbered(torch.full((4, 3, SIDE, SIDE), 0.5))
    for rank in (0, 1, 0):
        monkeypatch.setattr(Slsg, "global_rank", rank)
        model.training_step(batch, 0)
    seen = [simulated.mask for _, simulated in simulations]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
