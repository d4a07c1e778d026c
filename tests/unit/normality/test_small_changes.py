"""Changes that mean nothing are small, of the kinds that are named, and drawn from the generator."""

import torch

from anomalib_slsg.normality.small_changes import EXPOSURE, KINDS, SHIFT, small_changes


def _changed(images: torch.Tensor, seed: int = 0) -> list[torch.Tensor]:
    return list(small_changes(images, torch.Generator().manual_seed(seed)))


def test_each_kind_does_what_it_says() -> None:
    images = 0.2 + 0.5 * torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    exposed, balanced, compressed, shifted = changes = _changed(images)
    for change in changes[:-1]:  # some images stay where they are
        assert (change - images).abs().amax(dim=(1, 2, 3)).min() > 0
    assert (shifted - images).abs().max() > 0
    assert len(changes) == KINDS
    for change in changes:
        assert change.shape == images.shape
        assert change.min() >= 0
        assert change.max() <= 1
    factors = (exposed / images).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert {round(factor, 3) for factor in factors[:, 0].tolist()} == {round(1 - EXPOSURE, 3), round(1 + EXPOSURE, 3)}
    ratios = (balanced / images).flatten(2)
    torch.testing.assert_close(ratios, ratios[..., :1].expand_as(ratios))
    assert ratios[..., 0].std(dim=1).min() > 0  # channels apart
    assert (compressed - images).abs().mean() < 0.15  # of noise, which nothing compresses well
    smooth = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert (_changed(smooth)[2] - smooth).abs().mean() < 0.01
    reach = 1  # of SHIFT in 256 pixels, and at least one
    assert reach > SHIFT * 64 / 256
    for image, other in zip(images, shifted, strict=True):
        places = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
        inner = other[:, 2:-2, 2:-2]
        assert any(torch.equal(inner, image.roll(place, dims=(1, 2))[:, 2:-2, 2:-2]) for place in places)


def test_the_same_seed_gives_the_same_changes() -> None:
    images = torch.rand(4, 3, 32, 48)
    for one, same in zip(_changed(images), _changed(images), strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(_changed(images)[1], _changed(images, seed=1)[1])
