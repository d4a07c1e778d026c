"""Random streams: the same place gives the same numbers, another place others."""

import itertools

import torch

from anomalib_slsg.utils.seeding import stream


def _draw(seed: int, *place: int) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=stream(seed, *place)).tolist())


def test_same_place_gives_the_same_numbers() -> None:
    assert _draw(3, 1, 2, 0) == _draw(3, 1, 2, 0)


def test_neighbouring_places_give_different_numbers() -> None:
    """PyTorch seeds with the low 32 bits only, so these must tell places apart."""
    places = list(itertools.product([0, 1, 42], [0, 1, 2, 100], range(40), range(3)))
    assert len({_draw(*place) for place in places}) == len(places)


def test_neighbouring_places_are_not_correlated() -> None:
    draws = torch.stack([torch.rand(64, generator=stream(0, 1, step, 0)) for step in range(60)])
    correlation = torch.corrcoef(draws) - torch.eye(60)
    assert correlation.abs().max() < 0.65
    assert draws[:, 0].std() > 0.2


def test_global_generator_is_untouched() -> None:
    state = torch.get_rng_state()
    _draw(0, 1)
    assert torch.equal(torch.get_rng_state(), state)
