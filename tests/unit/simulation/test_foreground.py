"""Objects on a plain background are found, textures are left whole, and the state survives saving."""

import os
from pathlib import Path

import pytest
import torch

from anomalib_slsg.simulation.foreground import Foreground
from anomalib_slsg.simulation.texture import procedural_textures
from anomalib_slsg.utils.images import read_rgb


def shared_images(category: str, number: int) -> torch.Tensor:
    """Real normal images, or a skip with its reason."""
    root = Path(os.environ.get("SLSG_SHARED", Path(__file__).resolve().parents[4] / "shared"))
    files = sorted((root / "data" / category / "train" / "good").glob("*.png"))
    if not files:
        pytest.skip(f"no images of {category} below {root} (set SLSG_SHARED)")
    chosen = files[:: max(1, len(files) // number)][:number]
    pixels = [read_rgb(file) for file in chosen]
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in pixels]).float() / 255


def rings(size: tuple[int, int] = (128, 96), number: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark rings with an inside of the background's colour, and the discs that they enclose."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    distance = ((y - size[0] / 2) ** 2 + (x - size[1] / 2) ** 2).sqrt()
    ring = (distance < 36) & (distance > 24)
    generator = torch.Generator().manual_seed(0)
    background = torch.tensor([0.8, 0.85, 0.9])[:, None, None]
    images = torch.where(ring, torch.tensor([0.3, 0.2, 0.2])[:, None, None], background).expand(number, -1, -1, -1)
    noise = 0.01 * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0, 1), (distance < 36).float()[None, None]


def overlap(found: torch.Tensor, true: torch.Tensor) -> float:
    """Smallest intersection over union of a batch."""
    true = true.expand_as(found)
    union = torch.maximum(found, true).sum(dim=(1, 2, 3))
    return float(((found * true).sum(dim=(1, 2, 3)) / union).min())


def test_object_is_found_and_its_hole_filled() -> None:
    images, disc = rings()
    foreground = Foreground()
    foreground.fit(images)
    assert bool(foreground.is_object)
    found = foreground(images)
    assert found.shape == (6, 1, 128, 96)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert overlap(found, disc) > 0.85


def test_textures_are_foreground_everywhere() -> None:
    for texture in procedural_textures(16, (96, 96), torch.Generator().manual_seed(0)):
        images = texture.expand(4, -1, -1, -1)
        foreground = Foreground()
        foreground.fit(images)
        assert foreground(images).min() == 1


def test_modes_override_the_decision() -> None:
    images, _ = rings()
    whole, forced = Foreground("whole"), Foreground("object")
    assert whole(images).min() == 1
    forced.fit(images)
    assert forced(images).mean() < 0.6


def test_image_without_an_object_is_foreground_everywhere() -> None:
    images, _ = rings()
    foreground = Foreground()
    foreground.fit(images)
    plain = torch.full_like(images[:1], 0.5)
    assert foreground(torch.cat((plain, images[:1]))).mean(dim=(1, 2, 3)).tolist() == [
        1.0,
        pytest.approx(0.36, abs=0.1),
    ]


def test_unfitted_foreground_says_so() -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        Foreground()(torch.rand(1, 3, 32, 32))


def test_decision_and_threshold_are_part_of_the_state() -> None:
    images, _ = rings()
    fitted = Foreground()
    fitted.fit(images)
    parent = torch.nn.Sequential(Foreground())
    parent.load_state_dict(torch.nn.Sequential(fitted).state_dict())
    assert torch.equal(parent(images), fitted(images))


@pytest.mark.parametrize(
    ("category", "share"), [("mvtec_ad/bottle", (0.6, 0.7)), ("mvtec_loco/juice_bottle", (0.28, 0.42))]
)
def test_real_bottles_are_objects(category: str, share: tuple[float, float]) -> None:
    images = shared_images(category, 24)
    foreground = Foreground()
    foreground.fit(images[::2])
    assert bool(foreground.is_object)
    shares = foreground(images).mean(dim=(1, 2, 3))
    assert share[0] < shares.min()
    assert shares.max() < share[1]
    # the middle of either bottle belongs to it, and the corners do not
    found = foreground(images)
    assert found[:, 0, 140:150, 105:115].min() == 1
    assert found[:, 0, :5, :5].max() == 0


def test_where_anomalies_may_lie_is_said(caplog: pytest.LogCaptureFixture) -> None:
    images, _ = rings()
    with caplog.at_level("INFO"):
        Foreground().fit(images)
        Foreground("whole").fit(images)
        Foreground("object").fit(torch.full((4, 3, 64, 64), 0.5))
    first, second, third = caplog.messages
    assert "simulation.foreground=auto: simulated anomalies may lie on the object, " in first
    assert "% of an image" in first
    assert second == "simulation.foreground=whole: simulated anomalies may lie anywhere in the image."
    assert third.endswith("may lie anywhere in most images, in which no object is found.")
