"""What SegNet is taught: that normal images are normal and where simulated ones are not."""

from dataclasses import replace

import pytest
import torch

from anomalib_slsg import Slsg
from anomalib_slsg.simulation import SimulationOptions
from tests.support.models import about_to_train, numbered, seeded_slsg
from tests.support.watching import watch

SIDE, NUMBER = 32, 4


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Slsg:
    """A model that is about to train, without changes of colour."""
    options = SimulationOptions(foreground="whole", colour_jitter=0)
    return about_to_train(seeded_slsg(0, simulation=options, auto_bfloat16=False), SIDE, monkeypatch)


def test_images_and_labels_belong_together(model: Slsg, monkeypatch: pytest.MonkeyPatch) -> None:
    simulations = watch(monkeypatch, model.simulator, "forward")
    passes = watch(monkeypatch, model.model.seg_net, "logits")
    losses = watch(monkeypatch, model.loss, "forward")
    batch = numbered(torch.rand(NUMBER, 3, SIDE, SIDE))
    loss = model.training_step(batch, 0)

    (((base, others, *_), simulated),) = simulations
    (((inputs,), (logits, auxiliary_logits)),) = passes
    (((*outputs, target), _),) = losses
    assert torch.equal(base, batch.image)
    assert not any(torch.equal(one, other) for one, other in zip(base, others, strict=True))
    torch.testing.assert_close(inputs[:NUMBER], model.model.normalise(batch.image))
    torch.testing.assert_close(inputs[NUMBER:], model.model.normalise(simulated.image))
    assert outputs[0] is logits
    assert outputs[1] is auxiliary_logits
    assert target[:NUMBER].sum() == 0
    assert torch.equal(target[NUMBER:], simulated.mask)
    # what is labelled is what differs from the normal image
    changed = (simulated.image != batch.image).any(dim=1, keepdim=True)
    assert changed.flatten(1).any(dim=1).all()
    assert (simulated.mask[changed] == 1).all()
    assert torch.isfinite(loss)


def test_colours_of_both_halves_change_alone(model: Slsg, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise SegNet could tell a simulated image from the normal one that it was made of by its colours."""
    model.simulator.options = replace(model.simulator.options, colour_jitter=0.1)
    simulations = watch(monkeypatch, model.simulator, "forward")
    passes = watch(monkeypatch, model.model.seg_net, "logits")
    image = 0.25 + 0.5 * torch.rand(NUMBER, 3, SIDE, SIDE)
    model.training_step(numbered(image), 0)
    (((base, *_), _),) = simulations
    (((inputs,), _),) = passes
    halves = inputs[:NUMBER], model.model.normalise(base)
    for half in halves:
        change = (half - model.model.normalise(image)).abs().flatten(1).amax(dim=1)
        assert (change > 1e-3).all()
    assert not torch.allclose(*halves, atol=1e-3)
