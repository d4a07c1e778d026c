"""Equation 1, and what every simulated batch must hold."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from anomalib_slsg.simulation import AnomalySimulator, SimulationOptions
from anomalib_slsg.simulation.options import NoiseKind
from anomalib_slsg.simulation.simulator import AnomalyKind, superimpose

KINDS: tuple[AnomalyKind, ...] = ("texture", "shuffled", "logical")
WHOLE = SimulationOptions(foreground="whole")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(number: int = 8, size: tuple[int, int] = (64, 96)) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(2, number, 3, *size, generator=seeded(7))
    return images[0], images[1]


def small_objects(number: int, side: int, size: int = 128) -> torch.Tensor:
    """Bright squares on a black background."""
    images = torch.zeros(number, 3, size, size)
    images[:, :, 60 : 60 + side, 40 : 40 + side] = 0.9
    return images


def test_superimpose_is_equation_1() -> None:
    image, source = batch(2, (6, 5))
    mask = (torch.rand(2, 1, 6, 5, generator=seeded()) > 0.5).float()
    delta = torch.tensor([0.3, 1.0])[:, None, None, None]
    expected = torch.empty_like(image)
    for place in range(2):
        for row in range(6):
            for column in range(5):
                m, d = float(mask[place, 0, row, column]), float(delta[place])
                i, n = image[place, :, row, column], source[place, :, row, column]
                expected[place, :, row, column] = (1 - m) * i + m * (d * n + (1 - d) * i)
    torch.testing.assert_close(superimpose(image, source, mask, delta), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_sources_that_undergo_photometric_operations(kind: AnomalyKind) -> None:
    """Section 3.2 changes brightness and contrast of any source; by default, only textures change."""
    images, others = batch()
    options = replace(WHOLE, photometric_operations=0)
    plain, textures, every = (
        AnomalySimulator(chosen)(images, others, seeded(), kind).source
        for chosen in (
            options,
            replace(options, photometric_operations=3),
            replace(options, photometric_operations=3, photometric_sources="all"),
        )
    )
    assert all(torch.equal(one, other) for one, other in zip(plain, textures, strict=True)) == (kind != "texture")
    assert not any(torch.equal(one, other) for one, other in zip(plain, every, strict=True))


@pytest.mark.parametrize("noise", ["perlin", "rectangle"])
@pytest.mark.parametrize("kind", KINDS)
def test_images_change_inside_the_mask_only(kind: AnomalyKind, noise: NoiseKind) -> None:
    images, others = batch()
    given = images.clone()
    result = AnomalySimulator(replace(WHOLE, noise=noise))(images, others, seeded(), kind)
    assert result.image.shape == images.shape
    assert result.mask.shape == result.foreground.shape == (8, 1, 64, 96)
    assert set(result.mask.unique().tolist()) == {0.0, 1.0}
    assert result.logical.tolist() == [kind == "logical"] * 8
    outside = (result.mask == 0).expand_as(images)
    assert torch.equal(result.image[outside], images[outside])
    assert ((result.image != images).any(dim=1, keepdim=True) & (result.mask == 1)).any(dim=(1, 2, 3)).all()
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    assert torch.equal(images, given)
    assert torch.equal(result.mask, ((result.noise > 0) & (result.foreground == 1)).float().maximum(result.mask))
    source = torch.stack(list(result.source))
    moved, whole_way = (result.image - images)[~outside], (source - images)[~outside]
    assert (moved * whole_way >= -1e-6).all()
    assert (moved.abs() <= whole_way.abs() + 1e-6).all()


def test_opaque_unturned_logical_source_is_the_other_image() -> None:
    images, others = batch()
    options = replace(WHOLE, logical_opacity=(1.0, 1.0), logical_turn_probability=0.0)
    result = AnomalySimulator(options)(images, others, seeded(), "logical")
    inside = (result.mask == 1).expand_as(images)
    assert torch.equal(result.image[inside], others[inside])


def test_logical_source_is_turned_when_asked() -> None:
    images, others = batch()
    turned = AnomalySimulator(replace(WHOLE, logical_turn_probability=1.0))(images, others, seeded(), "logical")
    straight = AnomalySimulator(replace(WHOLE, logical_turn_probability=0.0))(images, others, seeded(), "logical")
    assert torch.equal(turned.mask, straight.mask)
    assert not torch.equal(turned.image, straight.image)


def test_opaque_shuffled_source_holds_pixels_of_the_image_itself() -> None:
    images, others = batch(2)
    result = AnomalySimulator(replace(WHOLE, structural_opacity=(1.0, 1.0)))(images, others, seeded(), "shuffled")
    for place in range(2):
        assert torch.isin(result.image[place], images[place]).all()


@pytest.mark.parametrize("noise", ["perlin", "rectangle"])
@pytest.mark.parametrize(("side", "size"), [(24, 128), (2, 128), (128, 128)])
def test_masks_have_the_minimum_area_within_the_foreground(noise: NoiseKind, side: int, size: int) -> None:
    images = small_objects(16, side, size) if side < size else batch(16, (size, size))[0]
    options = SimulationOptions(noise=noise, structural_threshold=0.9, minimum_area=100)
    simulator = AnomalySimulator(replace(options, foreground="whole" if side == size else "object"))
    simulator.fit(images)
    for seed in range(4):
        result = simulator(images, images.roll(1, 0), seeded(seed))
        assert result.mask.sum(dim=(1, 2, 3)).min() >= 100 * size**2 / 256**2
        assert (result.mask <= result.foreground).all()
        # an object that cannot hold a mask gives way to the whole image
        assert bool((result.foreground == 1).all()) == (side != 24)


@pytest.mark.parametrize("noise", ["perlin", "rectangle"])
def test_masks_may_be_as_small_as_the_minimum_area(noise: NoiseKind) -> None:
    images, others = batch(16, (128, 128))
    options = replace(WHOLE, noise=noise, structural_threshold=0.75, minimum_area=400)
    areas = [
        AnomalySimulator(options)(images, others, seeded(seed), "shuffled").mask.sum(dim=(1, 2, 3))
        for seed in range(20)
    ]
    assert 100 <= torch.cat(areas).min() < 130


def test_logical_masks_are_larger() -> None:
    images, others = batch(64)
    simulator = AnomalySimulator(WHOLE)
    areas = {kind: simulator(images, others, seeded(), kind).mask.mean() for kind in ("shuffled", "logical")}
    assert areas["logical"] > 1.2 * areas["shuffled"]


def test_rectangle_masks_are_rectangles() -> None:
    images, others = batch(16)
    result = AnomalySimulator(replace(WHOLE, noise="rectangle"))(images, others, seeded(), "logical")
    for mask in result.mask[:, 0]:
        rows, columns = mask.amax(dim=1), mask.amax(dim=0)
        assert torch.equal(mask, rows[:, None] * columns)


def test_same_seed_same_batch() -> None:
    images, others = batch()
    simulator = AnomalySimulator(WHOLE)
    first, again, other = (simulator(images, others, seeded(seed)) for seed in (3, 3, 4))
    fresh = AnomalySimulator(WHOLE)(images, others, seeded(3))
    for left, right in ((first, again), (first, fresh)):
        assert all(map(torch.equal, [*left[:-1], *left.source], [*right[:-1], *right.source]))
    assert not torch.equal(first.mask, other.mask)


def test_shares_of_kinds() -> None:
    images, others = (images.expand(200, -1, -1, -1) for images in batch(1, (16, 16)))
    options = replace(WHOLE, structural_probability=0.25, texture_probability=0.0, minimum_area=1)
    share = AnomalySimulator(options)(images, others, seeded()).logical.float().mean()
    assert 0.65 < share < 0.85
    assert not AnomalySimulator(replace(options, structural_probability=1.0))(images, others, seeded()).logical.any()
    assert AnomalySimulator(replace(options, structural_probability=0.0))(images, others, seeded()).logical.all()


def test_only_visible_changes_are_labelled_when_asked() -> None:
    images, others = batch()
    options = replace(WHOLE, minimum_change=0.3)
    result = AnomalySimulator(options)(images, others, seeded())
    whole = AnomalySimulator(WHOLE)(images, others, seeded())
    change = (whole.image - images).abs().amax(dim=1, keepdim=True)
    assert torch.equal(result.image, whole.image)
    assert torch.equal(result.mask, whole.mask * (change > 0.3))
    assert 0 < result.mask.sum() < whole.mask.sum()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    images, others = batch()
    result = AnomalySimulator(WHOLE)(images.to(dtype), others.to(dtype), seeded())
    assert result.image.dtype == result.mask.dtype == result.foreground.dtype == dtype
    assert torch.equal(result.mask.float(), AnomalySimulator(WHOLE)(images, others, seeded()).mask)


def test_surrounding_autocast_changes_nothing() -> None:
    images, others = batch()
    simulator = AnomalySimulator(WHOLE)
    plain = simulator(images, others, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        cast = simulator(images, others, seeded())
    assert torch.equal(plain.mask, cast.mask)
    assert torch.equal(plain.image, cast.image)


class ReadBacks(TorchDispatchMode):
    """Records operations that make the host wait for a device's values."""

    names = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "_unique2")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.names:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("noise", ["perlin", "rectangle"])
def test_forward_reads_nothing_back(noise: NoiseKind) -> None:
    images = small_objects(16, 40)
    simulator = AnomalySimulator(SimulationOptions(noise=noise, photometric_operations=9, minimum_change=0.1))
    simulator.fit(images)
    simulator.prepare((128, 128))
    with ReadBacks() as recorder:
        (images[0, 0, 0, 0] > 0).item()
    assert recorder.found
    with ReadBacks() as recorder:
        simulator(images, images.roll(1, 0), seeded())
    assert recorder.found == []


def test_bad_batches() -> None:
    images, others = batch(2)
    simulator = AnomalySimulator(WHOLE)
    with pytest.raises(ValueError, match="others must have"):
        simulator(images, others[:1])
    with pytest.raises(ValueError, match="floating point"):
        simulator((images * 255).to(torch.uint8), others)
    with pytest.raises(ValueError, match="images must be"):
        simulator(images[:, :1], others[:, :1])


def test_texture_folder_is_opened_late(tmp_path: Path) -> None:
    images, others = batch(2)
    simulator = AnomalySimulator(replace(WHOLE, dtd_dir=str(tmp_path / "nowhere")))
    simulator(images, others, seeded(), "logical")
    with pytest.raises(FileNotFoundError, match=r"simulation\.dtd_dir"):
        simulator.prepare((64, 96))


def test_fitted_foreground_is_saved_with_the_simulator() -> None:
    images = small_objects(4, 40)
    fitted = AnomalySimulator()
    fitted.fit(images)
    loaded = AnomalySimulator()
    loaded.load_state_dict(fitted.state_dict())
    first, second = (simulator(images, images.roll(1, 0), seeded()) for simulator in (fitted, loaded))
    assert torch.equal(first.foreground, second.foreground)
    assert first.foreground.mean() < 0.5


def test_without_other_images_all_anomalies_are_structural() -> None:
    """A logical one of an image and itself changes nothing, but would be labelled."""
    simulator = AnomalySimulator(SimulationOptions(structural_probability=0.2, foreground="whole"))
    images = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = simulator(images, None, torch.Generator().manual_seed(1))
    assert not batch.logical.any()
    changed = (batch.image != images).any(dim=1, keepdim=True)
    assert (changed & (batch.mask == 1)).flatten(1).any(dim=1).all()
    assert simulator(images, images.roll(1, 0), torch.Generator().manual_seed(1)).logical.any()
    with pytest.raises(ValueError, match="logical anomalies need other normal images"):
        simulator(images, None, kind="logical")


def test_textures_are_no_part_of_what_is_exported() -> None:
    simulator = AnomalySimulator(SimulationOptions(foreground="whole"))
    empty = len(pickle.dumps(simulator))
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = simulator(images, None, torch.Generator().manual_seed(1), kind="texture").image
    assert len(pickle.dumps(simulator)) == empty
    for other in (pickle.loads(pickle.dumps(simulator)), simulator):
        other.free_textures()
        assert torch.equal(other(images, None, torch.Generator().manual_seed(1), kind="texture").image, before)
