"""The GAN: who is trained by which loss, and continuing from a saved state."""

import copy
import io
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch import Tensor, nn

from anomalib_slsg.networks import DNet, GPTNet, ResNetEncoder
from anomalib_slsg.pretraining import gan
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.losses import discriminator_loss
from anomalib_slsg.pretraining.masking import inpainting_mask
from anomalib_slsg.pretraining.options import PretrainingOptions


@pytest.fixture(autouse=True)
def _small_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "DNet", partial(DNet, (8, 8, 8, 8)))


def _gan(precision: Precision | None = None, seed: int = 0, **options: Any) -> InpaintingGAN:
    torch.manual_seed(seed)
    gpt_net = GPTNet(ResNetEncoder("regnetx_002"), decoder_channels=(32, 16, 16, 8))
    gpt_net.encoder.requires_grad_(False)  # as Slsg leaves it
    return InpaintingGAN(gpt_net, PretrainingOptions(**options), precision or Precision(), torch.device("cpu"))


def _batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 32, 48, generator=generator)
    return images, (images - 0.45) / 0.22, inpainting_mask(2, (32, 48), generator)


def _unchanged(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])}


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def _two_steps(training: InpaintingGAN) -> dict[str, Tensor]:
    """Train; timm's residual branches start at zero and let gradients through from the second step on."""
    training.step(*_batch(0))
    return training.step(*_batch(1))


def test_steps_train_both_networks_whole() -> None:
    training = _gan()
    generator, discriminator = _parameters(training.gpt_net), _parameters(training.d_net)
    losses = _two_steps(training)
    assert _unchanged(training.gpt_net, generator) == set()
    assert _unchanged(training.d_net, discriminator) == set()
    assert losses.keys() == {"generator", "discriminator", "adversarial", "l1", "auxiliary"}
    assert all(torch.isfinite(value) and not value.requires_grad for value in losses.values())
    total = 1.0 * losses["adversarial"] + 0.8 * losses["l1"] + 1.0 * losses["auxiliary"]
    torch.testing.assert_close(losses["generator"], total)


def test_each_network_has_the_gradients_of_its_own_loss_alone() -> None:
    """Equations 9 and 10, differentiated on copies of the networks."""
    training = _gan(adversarial_weight=0.7, l1_weight=0.3, auxiliary_weight=0.2)
    gpt_net, d_net = copy.deepcopy(training.gpt_net), copy.deepcopy(training.d_net)
    images, normalised, mask = _batch()
    training.step(images, normalised, mask)

    reconstruction, auxiliary = gpt_net(normalised * (1 - mask))
    # batch norm makes one function of D-Net if each batch that it judges is of one kind, as in the generator's turn
    loss = discriminator_loss(d_net(reconstruction.detach()), d_net(images))
    expected = torch.autograd.grad(loss, list(d_net.parameters()))
    for parameter, gradient in zip(training.d_net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)
        assert parameter.requires_grad

    # the generator is judged by the D-Net that has just been trained
    d_net.load_state_dict({**d_net.state_dict(), **_parameters(training.d_net)})
    adversarial = 0.5 * (d_net(reconstruction) - 1).square().mean()
    l1, l2 = (reconstruction - images).abs().mean(), (auxiliary - images).square().mean()
    expected = torch.autograd.grad(0.7 * adversarial + 0.3 * l1 + 0.2 * l2, list(gpt_net.parameters()))
    for parameter, gradient in zip(training.gpt_net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_encoder_sees_nothing_under_the_mask() -> None:
    training, other = _gan(), _gan()
    images, normalised, mask = _batch()
    changed = torch.where(mask > 0, normalised + 5, normalised)
    assert training.step(images, normalised, mask) == other.step(images, changed, mask)


def test_without_adversarial_term_d_net_rests() -> None:
    """Fig. 10."""
    training = _gan(adversarial_weight=0.0)
    generator, discriminator = _parameters(training.gpt_net), _parameters(training.d_net)
    losses = _two_steps(training)
    assert "discriminator" not in losses
    assert losses["adversarial"] == 0
    assert _unchanged(training.d_net, discriminator) == discriminator.keys()
    assert _unchanged(training.gpt_net, generator) == set()


@pytest.mark.slow
def test_learns_to_reconstruct() -> None:
    training = _gan()
    images = torch.linspace(0, 1, 48).expand(2, 3, 32, 48)
    mask = _batch()[2]
    losses = [training.step(images, 4 * images - 2, mask)["l1"].item() for _ in range(20)]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])


@pytest.mark.parametrize("adversarial_weight", [1.0, 0.0])
def test_saved_state_continues_identically(adversarial_weight: float) -> None:
    training = _gan(adversarial_weight=adversarial_weight)
    training.step(*_batch(1))
    file = io.BytesIO()
    torch.save(training.state_dict(), file)
    file.seek(0)
    other = _gan(seed=5, adversarial_weight=adversarial_weight)
    other.load_state_dict(torch.load(file, weights_only=True))
    for seed in (2, 3):
        losses, other_losses = training.step(*_batch(seed)), other.step(*_batch(seed))
        assert losses == other_losses
    for name, tensor in training.gpt_net.state_dict().items():
        assert torch.equal(tensor, other.gpt_net.state_dict()[name]), name
    for name, tensor in training.d_net.state_dict().items():
        assert torch.equal(tensor, other.d_net.state_dict()[name]), name


def _scaling() -> Precision:
    """The precision whose gradients are scaled; float16 itself is for GPUs, the scaler's way is the same."""
    precision, bfloat16 = MixedPrecision("bf16-mixed", "cpu"), MixedPrecision("bf16-mixed", "cpu")
    precision.precision = "16-mixed"
    precision.forward_context = bfloat16.forward_context  # type: ignore[method-assign]
    return precision


@pytest.mark.parametrize("scaled", [False, True], ids=["bf16", "scaled gradients"])
def test_low_precision_trains_single_precision_weights(scaled: bool) -> None:
    training = _gan(_scaling() if scaled else MixedPrecision("bf16-mixed", "cpu"))
    assert bool(training.state_dict()["scaler"]) == scaled
    generator, discriminator = _parameters(training.gpt_net), _parameters(training.d_net)
    losses = _two_steps(training)
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(parameter.dtype == torch.float32 for parameter in training.gpt_net.parameters())
    assert len(_unchanged(training.gpt_net, generator)) < 0.05 * len(generator)
    assert len(_unchanged(training.d_net, discriminator)) < 0.05 * len(discriminator)


def test_steps_that_overflow_are_left_out_and_halve_the_scale() -> None:
    training = _gan(_scaling())
    images, normalised, mask = _batch()
    generator, discriminator = _parameters(training.gpt_net), _parameters(training.d_net)
    before = training.state_dict()["scaler"]["scale"]
    training.step(images, torch.full_like(normalised, float("inf")), mask)
    assert _unchanged(training.gpt_net, generator) == generator.keys()
    assert _unchanged(training.d_net, discriminator) == discriminator.keys()
    scale = training.state_dict()["scaler"]["scale"]
    assert scale == before / 2
    other = _gan(_scaling(), seed=5)
    other.load_state_dict(training.state_dict())
    assert other.state_dict()["scaler"]["scale"] == scale
