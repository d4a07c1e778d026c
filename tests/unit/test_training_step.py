"""What SegNet is taught: that normal images are normal and where simulated ones are not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from anomalib.data import ImageBatch

from anomalib_slsg import Slsg
from anomalib_slsg.simulation import SimulationOptions

SIDE, NUMBER = 32, 4


@pytest.fixture
def model(give_images: Callable[[Slsg, int], Slsg]) -> Slsg:
    """A model that is about to train, without changes of colour."""
    model = Slsg(
        backbone="test_efficientnet",
        encoder_weights=None,
        simulation=SimulationOptions(foreground="whole"),
        colour_jitter=0,
        auto_bfloat16=False,
        seed=0,
    )
    return give_images(model, SIDE)


def _watch(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[tuple[Any, ...], Any]]:
    """Arguments and results of all calls of a method."""
    calls: list[tuple[tuple[Any, ...], Any]] = []
    method = getattr(owner, name)

    def watched(*arguments: Any) -> Any:
        result = method(*arguments)
        calls.append((arguments, result))
        return result

    monkeypatch.setattr(owner, name, watched)
    return calls


def test_images_and_labels_belong_together(model: Slsg, monkeypatch: pytest.MonkeyPatch) -> None:
    simulations = _watch(monkeypatch, model.simulator, "simulate")
    passes = _watch(monkeypatch, model.model.seg_net, "logits")
    losses = _watch(monkeypatch, model.loss, "forward")
    batch = ImageBatch(image=torch.rand(NUMBER, 3, SIDE, SIDE), image_path=[f"{n}.png" for n in range(NUMBER)])
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
    model.colour_jitter = 0.1
    simulations = _watch(monkeypatch, model.simulator, "simulate")
    passes = _watch(monkeypatch, model.model.seg_net, "logits")
    image = 0.25 + 0.5 * torch.rand(NUMBER, 3, SIDE, SIDE)
    model.training_step(ImageBatch(image=image, image_path=[f"{n}.png" for n in range(NUMBER)]), 0)
    (((base, *_), _),) = simulations
    (((inputs,), _),) = passes
    halves = inputs[:NUMBER], model.model.normalise(base)
    for half in halves:
        change = (half - model.model.normalise(image)).abs().flatten(1).amax(dim=1)
        assert (change > 1e-3).all()
    assert not torch.allclose(*halves, atol=1e-3)
