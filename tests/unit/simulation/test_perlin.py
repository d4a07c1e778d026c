"""Perlin noise against a scalar loop; turning and rectangles against what they should be."""

import math

import pytest
import torch

from anomalib_slsg.simulation.perlin import (
    PerlinField,
    RectangleField,
    perlin_noise,
    random_gradients,
    render_perlin,
    rotate,
)


def slow_perlin(gradients: torch.Tensor, periods: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Textbook Perlin noise, pixel by pixel and corner by corner."""

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    noise = torch.empty(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row * periods[0] / size[0], column * periods[1] / size[1]
            top, left = math.floor(y), math.floor(x)
            dots = {}
            for below in (0, 1):
                for right in (0, 1):
                    gradient = gradients[top + below, left + right]
                    offset = torch.tensor([y - top - below, x - left - right])
                    dots[below, right] = float((gradient * offset).sum())
            v, u = fade(y - top), fade(x - left)
            upper = dots[0, 0] + u * (dots[0, 1] - dots[0, 0])
            lower = dots[1, 0] + u * (dots[1, 1] - dots[1, 0])
            noise[row, column] = math.sqrt(2) * (upper + v * (lower - upper))
    return noise


@pytest.mark.parametrize("size", [(16, 16), (13, 22)])
def test_matches_slow_perlin(size: tuple[int, int]) -> None:
    periods = torch.tensor([[1, 1], [2, 4], [5, 3]])
    gradients = random_gradients(periods, torch.Generator().manual_seed(3))
    fast = render_perlin(gradients, periods, size)
    for image, (vertical, horizontal) in enumerate(periods.tolist()):
        torch.testing.assert_close(
            fast[image], slow_perlin(gradients[image], (vertical, horizontal), size), atol=1e-5, rtol=0
        )


def test_spans_about_minus_one_to_one() -> None:
    noise = perlin_noise((64, 64), torch.full((64, 2), 8), torch.Generator().manual_seed(0))
    assert noise.shape == (64, 64, 64)
    assert noise.abs().max() <= 1.001
    assert noise.max() > 0.8
    assert noise.min() < -0.8


def test_same_seed_same_noise() -> None:
    periods = torch.tensor([[2, 4]])
    first, again, other = (perlin_noise((8, 8), periods, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("periods", [[[0, 1]], [[1, 2, 3]]])
def test_bad_periods(periods: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="periods must be"):
        perlin_noise((8, 8), torch.tensor(periods))


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (-90, -1), (180, 2)])
def test_rotation_by_right_angles_is_exact(degrees: float, turns: int) -> None:
    maps = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    turned = rotate(maps, torch.tensor([degrees, 0.0]))
    torch.testing.assert_close(turned[0], maps[0].rot90(turns, (1, 2)), atol=1e-4, rtol=0)
    torch.testing.assert_close(turned[1], maps[1], atol=1e-4, rtol=0)


def test_rotation_is_rigid_in_oblong_images() -> None:
    """A disc about the centre stays the disc that it is, whatever the aspect ratio."""
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(90) - 44.5, indexing="ij")
    disc = (y**2 + x**2 < 8**2).float()[None, None]
    turned = rotate(disc, torch.tensor([37.0]))
    assert (turned - disc).abs().mean() < 0.01


def test_rectangle_is_positive_inside_and_falls_off_outside() -> None:
    field = RectangleField(centre=torch.tensor([[0.5, 0.25]]), half_size=torch.tensor([[0.25, 0.125]]))
    rendered = field.render((16, 32))[0]
    expected = torch.zeros(16, 32)
    expected[4:12, 4:12] = 1
    assert torch.equal((rendered > 0).float(), expected)
    assert rendered[0, 0] > rendered[0, 31]


def test_picked_fields_render_as_in_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    field = PerlinField.draw(
        torch.tensor([[1, 2], [4, 4], [2, 8]]), torch.full((3,), 0.4), generator, torch.device("cpu")
    )
    picked = field.pick(torch.tensor([2, 0])).render((20, 20))
    torch.testing.assert_close(picked, field.render((20, 20))[[2, 0]])
