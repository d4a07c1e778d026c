"""Perlin noise against a scalar loop; turning and rectangles against what they should be."""

import math

import pytest
import torch

from anomalib_slsg.simulation.perlin import (
    perlin_fields,
    perlin_noise,
    random_gradients,
    rectangle_fields,
    render_perlin,
    rotate,
)

CPU = torch.device("cpu")


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


def test_rectangles_are_positive_inside_and_fall_off_outside() -> None:
    sides = torch.tensor([[0.5, 0.5], [0.2, 0.6], [0.04, 0.35]])
    fields = rectangle_fields((16, 32), sides, torch.Generator().manual_seed(4), CPU)
    draws = torch.Generator().manual_seed(4)
    shares, centres = torch.rand(3, 2, generator=draws), torch.rand(3, 2, generator=draws)
    for field, (low, high), share, centre in zip(fields, sides, shares, centres, strict=True):
        distances = [
            ((torch.arange(length) + 0.5) / length - middle).abs() / (side / 2)
            for length, middle, side in zip((16, 32), centre, low + share * (high - low), strict=True)
        ]
        inside = (distances[0] < 1)[:, None] & (distances[1] < 1)
        assert torch.equal(field > 0, inside)
        row, column = (int(each.argmin()) for each in distances)
        assert field[row, column] == field.max() <= 1
        for line in (field[row], field[:, column]):  # never rising on the way to the edges
            place = int(line.argmax())
            assert (line[: place + 1].diff() >= 0).all()
            assert (line[place:].diff() <= 0).all()


@pytest.mark.parametrize("size", [(64, 64), (51, 80)])
def test_perlin_fields_are_turned_noise_minus_a_threshold(size: tuple[int, int]) -> None:
    """Every second pixel is computed, which smooth noise does not show."""
    periods, threshold = torch.tensor([[1, 2], [4, 4], [2, 8]]), torch.tensor([0.4, -0.2, 0.0])
    fields = perlin_fields(size, periods, threshold, torch.Generator().manual_seed(5), CPU)
    draws = torch.Generator().manual_seed(5)
    gradients = random_gradients(periods, draws)
    degrees = torch.rand(3, generator=draws) * 180 - 90
    expected = rotate(render_perlin(gradients, periods, size).unsqueeze(1), degrees).squeeze(1)
    assert fields.shape == (3, *size)
    assert ((fields + threshold[:, None, None]) - expected).abs().mean(dim=(1, 2)).max() < 0.05
    straight = render_perlin(gradients, periods, size)
    assert ((fields + threshold[:, None, None]) - straight).abs().mean(dim=(1, 2)).min() > 0.1


def test_generator_decides_fields() -> None:
    periods, threshold, sides = torch.full((2, 2), 4), torch.full((2,), 0.4), torch.tensor([[0.2, 0.6]] * 2)
    for draw in (
        lambda generator: perlin_fields((20, 24), periods, threshold, generator, CPU),
        lambda generator: rectangle_fields((20, 24), sides, generator, CPU),
    ):
        first, again, other = (draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first[0], first[1])
