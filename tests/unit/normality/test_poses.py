"""Which poses are normal, told by held-out normal images, and what measures learn of them."""

import logging

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch, ImageItem
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.nn.functional import pixel_unshuffle
from torch.utils.data import Dataset

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.normality.backbone import Features
from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.normality.description import describe
from anomalib_slsg.normality.gaussian import SHRINKAGE, Gaussian
from anomalib_slsg.normality.places import Whole
from anomalib_slsg.normality.poses import TIMES, TURNS, Posed, in_all_poses, mirrored, turned

SIDE = 16
WAYS = 8  # in which things vary


def _products(number: int, photographed: str, seed: int = 0) -> Tensor:
    """Images (number, 3, SIDE, SIDE) of asymmetric things that vary, as they lie before the camera."""
    generator = torch.Generator().manual_seed(seed)
    thing, *ways = torch.rand(1 + WAYS, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(7))
    weights = 0.1 * torch.randn(number, WAYS, generator=generator)
    images = 0.25 + 0.5 * thing + torch.einsum("nw,wchs->nchs", weights, torch.stack(ways) - 0.5)
    images += 0.02 * torch.randn(images.shape, generator=generator)
    draws = torch.randint(0, 4, (number,), generator=generator).tolist()
    if photographed == "turned":
        images = torch.stack([image.rot90(draw, (1, 2)) for image, draw in zip(images, draws, strict=True)])
    if photographed == "mirrored":
        flips = ((), (1,), (2,), (1, 2))
        images = torch.stack([image.flip(flips[draw]) for image, draw in zip(images, draws, strict=True)])
    return images.clamp(0, 1)


class _Photographs(Dataset):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ImageItem:
        return ImageItem(image=self.images[index])


def _features(images: Tensor) -> Features:
    """All pixels of each cell."""
    return Features(pixel_unshuffle(images, 2), pixel_unshuffle(images, 4), pixel_unshuffle(images, 8))


@pytest.mark.parametrize("photographed", ["aligned", "mirrored", "turned"])
@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_images_tell_which_poses_are_normal(
    photographed: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    images = NormalImages(_Photographs(_products(40, photographed, seed)), ImageBatch.collate)
    with caplog.at_level(logging.INFO):
        found = describe(images, _features, torch.Generator().manual_seed(seed))
    if photographed == "aligned":
        assert found.posed is None
        assert "Normality" not in caplog.text
        return
    assert found.posed is not None
    assert {len(level) for level in found.posed} == {len(found.image_of_posed)} == {40 * TIMES[photographed]}
    assert f"Normality: {photographed} images are normal, so {40 * TIMES[photographed]} of them" in caplog.text
    # each knows the image that it was made of: mirroring and quarter turns keep what an image holds
    sums = found.normal.fine.sum(dim=(1, 2, 3))[found.image_of_posed[: 3 * 40]]
    torch.testing.assert_close(found.posed.fine[: 3 * 40].sum(dim=(1, 2, 3)), sums, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("number", [12, 30])
def test_a_few_images_of_a_part_on_a_wide_background_are_not_normal_when_mirrored(number: int) -> None:
    """Most places look the same in all poses, and a fit of so few images gains there by any more of them."""
    generator = torch.Generator().manual_seed(0)
    images = 0.4 + 0.05 * torch.randn(number, 3, SIDE, SIDE, generator=generator)
    images[:, :, :4, 4:8] += 0.2
    found = describe(NormalImages(_Photographs(images), ImageBatch.collate), _features, generator)
    assert found.posed is None


def test_few_images_tell_nothing() -> None:
    images = NormalImages(_Photographs(_products(9, "turned")), ImageBatch.collate)
    assert describe(images, _features, torch.Generator().manual_seed(0)).posed is None


@pytest.mark.parametrize("size", [(SIDE, SIDE), (6, 10)], ids=str)
def test_poses_are_turns_and_mirror_images(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size)
    generator = torch.Generator().manual_seed(0)
    left, down, both = mirrored(images, generator)
    assert (left[..., 0] == images[..., -1]).all()
    assert (down[..., 0, :] == images[..., -1, :]).all()
    torch.testing.assert_close(both, left.flip(2))
    found = list(turned(images, generator))
    assert len(found) == TURNS
    assert {tuple(each.shape) for each in found} == {tuple(images.shape)}
    torch.testing.assert_close(found[1], both, atol=1e-5, rtol=0)  # by half a turn
    if size == (SIDE, SIDE):
        torch.testing.assert_close(found[0], images.rot90(1, (2, 3)), atol=1e-5, rtol=0)
        torch.testing.assert_close(found[2], images.rot90(3, (2, 3)), atol=1e-5, rtol=0)


def test_likelihoods_are_those_of_normal_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    normal, new = (torch.randn(number, 4, 2, 3, generator=generator) * 3 + 1 for number in (20, 5))
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = Gaussian.fit(normal, scale, 1).log_likelihoods(new)
    expected = np.zeros(5)
    for y, x in np.ndindex(2, 3):
        cells = normal[:, :, y, x].double().numpy()
        widened = np.cov(cells.T) + SHRINKAGE * np.diag(scale.double().numpy() ** 2)
        density = multivariate_normal(cells.mean(axis=0), widened)
        expected += (density.logpdf(new[:, :, y, x].double().numpy()) + 4 / 2 * np.log(2 * np.pi)) / 6
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_poses_of_some_images_only() -> None:
    normal, further = torch.arange(3.0), Posed(torch.tensor([10.0, 12.0, 20.0, 22.0]), torch.tensor([0, 2, 0, 2]))
    assert in_all_poses(normal, further).tolist() == [0, 1, 2, 10, 12, 20, 22]
    chosen = torch.tensor([False, True, True])
    assert in_all_poses(normal, further, chosen).tolist() == [1, 2, 12, 22]
    assert in_all_poses(normal, None, chosen).tolist() == [1, 2]


def test_measures_know_what_they_saw_in_a_pose_and_judge_images_without_their_own_poses() -> None:
    features, image = _products(40, "aligned").repeat(1, 4, 1, 1), torch.arange(40)
    features = features + 0.05 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    plain, whole, same = Whole(), Whole(), Whole()
    plain.fit(features)
    whole.fit(features, posed=Posed(features.flip(3), image))
    new = features[:10].flip(3)
    assert (plain(new) > 2).all()
    assert (whole(new) < 0).all()
    same.fit(features, posed=Posed(features.clone(), image))
    assert same.median > 0.5 * plain.median  # images that knew themselves would be at no distance

    first, second = Composition(), Composition()
    other = features * 0.5 + 0.3 * features.flip(1)
    first.fit(features)
    second.fit(features, posed=Posed(other, image))
    assert first(other[:10]).min() > second(other[:10]).max()
