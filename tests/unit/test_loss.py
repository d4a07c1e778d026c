"""Losses: equations 8-11 by hand, and the focal loss against its definition."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anomalib_slsg.loss import SegmentationLoss, focal_loss
from anomalib_slsg.options import LossOptions
from anomalib_slsg.pretraining.losses import discriminator_loss, generator_loss


def _slow_focal_loss(logits: Tensor, target: Tensor, gamma: float) -> float:
    total = 0.0
    for logit, label in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        of_truth = probability if label == 1 else 1 - probability
        total -= (1 - of_truth) ** gamma * math.log(of_truth)
    return total / logits.numel()


def _maps(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 1, 5, 4, dtype=torch.float64, generator=generator)
    return logits, (torch.rand(2, 1, 5, 4, generator=generator) < 0.3).double()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_focal_loss_is_its_definition(gamma: float) -> None:
    logits, target = _maps()
    assert focal_loss(logits, target, gamma).item() == pytest.approx(_slow_focal_loss(logits, target, gamma), rel=1e-12)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: focal_loss(values, target, gamma), logits)


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    logits, target = _maps()
    expected = functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(focal_loss(logits, target, gamma=0), expected)


def test_default_focus_is_the_papers() -> None:
    logits, target = _maps()
    assert focal_loss(logits, target).item() == pytest.approx(_slow_focal_loss(logits, target, 4.0), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_extreme_logits_have_finite_gradients(label: float, gamma: float) -> None:
    logits = torch.tensor([-1e4, -200.0, -90.0, 0.0, 90.0, 200.0, 1e4], requires_grad=True)
    loss = focal_loss(logits, torch.full_like(logits, label), gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    # a hopelessly wrong pixel is pulled with full force, a right one is left alone
    right, wrong = (logits.grad[-1], logits.grad[0]) if label else (logits.grad[0], logits.grad[-1])
    assert right.abs() < 1e-6
    assert wrong.item() == pytest.approx((-1 if label else 1) / 7, rel=1e-4)


def test_segmentation_loss_is_equation_11() -> None:
    logits, target = _maps(0)
    auxiliary_logits, _ = _maps(1)
    terms = SegmentationLoss(LossOptions(0.7, 0.2, 0.5, focal_gamma=3.0))(logits, auxiliary_logits, target)
    focal, auxiliary = _slow_focal_loss(logits, target, 3.0), _slow_focal_loss(auxiliary_logits, target, 3.0)
    l1 = sum(
        abs(1 / (1 + math.exp(-logit)) - label)
        for logit, label in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True)
    )
    l1 /= logits.numel()
    assert terms.keys() == {"focal", "l1", "auxiliary", "loss"}
    assert terms["focal"].item() == pytest.approx(focal)
    assert terms["l1"].item() == pytest.approx(l1)
    assert terms["auxiliary"].item() == pytest.approx(auxiliary)
    assert terms["loss"].item() == pytest.approx(0.7 * focal + 0.2 * l1 + 0.5 * auxiliary)


def test_segmentation_loss_by_hand() -> None:
    """Undecided everywhere: p = 1/2, so (1/2)^4 log 2 for the focal terms and 1/2 for l1."""
    zeros = torch.zeros(1, 1, 2, 2)
    terms = SegmentationLoss()(zeros, zeros, torch.ones(1, 1, 2, 2))
    focal = math.log(2) / 16
    assert terms["loss"].item() == pytest.approx(0.4 * focal + 0.6 * 0.5 + 0.3 * focal)


@pytest.mark.parametrize("left_out", ["focal_weight", "l1_weight", "auxiliary_weight"])
def test_weight_zero_leaves_a_term_out(left_out: str) -> None:
    """Table 7."""
    logits, target = _maps(0)
    auxiliary_logits, _ = _maps(1)
    options = LossOptions(**{left_out: 0.0})
    terms = SegmentationLoss(options)(logits, auxiliary_logits, target)
    weights = {"focal": options.focal_weight, "l1": options.l1_weight, "auxiliary": options.auxiliary_weight}
    assert weights[left_out.removesuffix("_weight")] == 0
    assert terms["loss"].item() == pytest.approx(sum(weight * terms[name].item() for name, weight in weights.items()))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"focal_weight": -0.1}, r"loss\.focal_weight must lie in \[0, inf\), got -0\.1"),
        ({"l1_weight": -1.0}, r"loss\.l1_weight must lie in \[0, inf\)"),
        ({"auxiliary_weight": -1.0}, r"loss\.auxiliary_weight must lie in \[0, inf\)"),
        ({"focal_weight": 0.0, "l1_weight": 0.0}, r"loss\.focal_weight and loss\.l1_weight are both 0"),
        ({"focal_gamma": -1.0}, r"loss\.focal_gamma must lie in \[0, inf\), got -1"),
    ],
)
def test_senseless_weights_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossOptions(**weights)


def test_generator_terms_are_equations_8_and_10() -> None:
    judgements = torch.tensor([0.0, 0.5, 2.0, 1.0]).view(1, 1, 2, 2)
    images = torch.zeros(1, 3, 2, 2)
    reconstruction, auxiliary = images.clone(), images.clone()
    reconstruction[0, 0, 0, 0] = 0.6
    auxiliary[0, 1, 1, 1] = 0.3
    terms = generator_loss(judgements, reconstruction, auxiliary, images)
    assert terms.adversarial.item() == pytest.approx(0.5 * (1 + 0.25 + 1 + 0) / 4)
    assert terms.l1.item() == pytest.approx(0.6 / 12)
    assert terms.auxiliary.item() == pytest.approx(0.3**2 / 12)


def test_discriminator_loss_is_equation_9() -> None:
    loss = discriminator_loss(torch.tensor([0.2, 0.4]), torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx(0.5 * (0.04 + 0.16) / 2 + 0.5 * (0 + 0.25) / 2)
    assert discriminator_loss(torch.zeros(3), torch.ones(3)).item() == 0
