"""Photometric operations: range, number, distinctness and determinism."""

from collections.abc import Callable

import pytest
import torch
from kornia import enhance
from torch import Tensor

from anomalib_slsg.simulation import photometric
from anomalib_slsg.simulation.options import PHOTOMETRIC_OPERATIONS
from anomalib_slsg.simulation.photometric import OPERATIONS, random_photometric

Operation = Callable[[Tensor, float], Tensor]


def images(number: int = 4) -> torch.Tensor:
    return torch.rand(number, 3, 24, 20, generator=torch.Generator().manual_seed(0))


def test_options_know_the_number_of_operations() -> None:
    assert len(OPERATIONS) == PHOTOMETRIC_OPERATIONS


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.999])
def test_operation_keeps_range_and_input(operation: Operation, amount: float) -> None:
    given = images()
    changed = operation(given, amount)
    assert changed.shape == given.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(given, images())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_changes_images(operation: Operation) -> None:
    muted = 0.2 + 0.5 * images()
    assert (operation(muted, 0.2) - muted).abs().mean() > 0.01


def test_every_image_gets_the_number_of_distinct_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    def adder(place: int) -> Operation:
        return lambda image, _amount: image + 2.0**place

    monkeypatch.setattr(photometric, "OPERATIONS", tuple(adder(place) for place in range(9)))
    sums = random_photometric(torch.zeros(50, 3, 3, 3), 3, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    bits = [int(total).bit_count() for total in sums.tolist()]
    assert bits == [3] * 50
    assert len(set(sums.tolist())) > 10


def test_same_seed_same_images() -> None:
    first, again, other = (random_photometric(images(), 3, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_number_zero_and_bad_numbers() -> None:
    assert torch.equal(random_photometric(images(), 0), images())
    with pytest.raises(ValueError, match="photometric operations"):
        random_photometric(images(), 10)


@pytest.mark.parametrize("amount", [0.0, 0.2, 1 / 3, 0.9])
def test_sharpness_is_kornias(amount: float) -> None:
    batch = torch.rand(2, 3, 20, 17, generator=torch.Generator().manual_seed(3))
    expected = enhance.sharpness(batch, 3 * amount).clamp(0, 1)
    assert any(torch.allclose(operation(batch, amount), expected, rtol=0, atol=2e-6) for operation in OPERATIONS)
