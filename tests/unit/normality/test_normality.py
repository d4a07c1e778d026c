"""What the fitted measures say together."""

import torch
from anomalib.data import ImageBatch, ImageItem
from torch import Tensor
from torch.utils.data import Dataset

from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.normality.fitting import NormalityFitting
from anomalib_slsg.normality.normality import Normality
from tests.support.models import tiny_normality


class _Noise(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> ImageItem:
        return ImageItem(image=torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(index)))


def _fitted(*measures: str, images: Dataset | None = None) -> Normality:
    torch.manual_seed(0)
    normality = Normality(tiny_normality(*measures)).eval()
    normal = NormalImages(images or _Noise(), ImageBatch.collate)
    fitting = NormalityFitting(normal, lambda image: image, torch.device("cpu"))
    fitting.fit(normality, torch.Generator().manual_seed(0))
    return normality


@torch.no_grad()
def test_odds_of_images_and_of_pixels_add_up_and_details_are_of_the_map_alone() -> None:
    normality, images = _fitted(), torch.rand(3, 3, 64, 64)
    found = normality(images, normality.backbone)
    features = normality.backbone(images)
    image, pixels = normality.places(features.fine, (64, 64))
    details = normality.details(features.finest, (64, 64))[1]
    opinions = torch.stack([image, normality.whole(features.coarse), normality.composition(features.fine)])
    torch.testing.assert_close(found.image, opinions.exp().sum(dim=0).log())
    torch.testing.assert_close(found.pixels, pixels + details)
    assert details.std() > 0


@torch.no_grad()
def test_any_measures_do_without_the_others() -> None:
    images = torch.rand(2, 3, 64, 64)
    every = _fitted()

    def evidence(normality: Normality) -> tuple[Tensor, Tensor | None]:
        return normality(images, normality.backbone)

    for measures in (("places",), ("whole",), ("composition",), ("whole", "composition")):
        normality = _fitted(*measures)
        image, pixels = evidence(normality)
        assert image.isfinite().all()
        assert (pixels is not None) == ("places" in measures)
        # as if the others had been left out of a model that has all
        kept = {name: getattr(every, name) for name in ("places", "whole", "composition")}
        for name in kept.keys() - set(measures):
            setattr(every, name, None)
        torch.testing.assert_close(evidence(every)[0], image)
        for name, measure in kept.items():
            setattr(every, name, measure)


class _NoiseAndBlack(_Noise):
    def __getitem__(self, index: int) -> ImageItem:
        item = super().__getitem__(index)
        return item if index != 7 else ImageItem(image=torch.zeros_like(item.image))


def test_an_unusual_image_among_those_that_are_fitted_to_is_known_to_the_others() -> None:
    normality = _fitted(images=_NoiseAndBlack())
    held_out = normality.held_out
    assert held_out is not None
    said = held_out.images
    assert said.shape == (12,)
    assert said.argmax() == 7
    assert said[7] > said.median() + 1
    whole = _fitted("whole").held_out
    assert whole is not None
    assert whole.pixels(torch.tensor([3, 5])) is None
    assert Normality(tiny_normality()).held_out is None


class _NoiseWithASquare(_Noise):
    def __getitem__(self, index: int) -> ImageItem:
        item = super().__getitem__(index)
        if index == 7:
            item.image[:, 16:32, 40:56] = 0
        return item


def test_what_is_held_out_is_what_a_model_of_the_others_says() -> None:
    """Also where in an image: as if the images had not been there, and survives checkpoints."""
    normality, loaded = _fitted(images=_NoiseWithASquare()), Normality(tiny_normality())
    loaded.load_state_dict(normality.state_dict())
    held_out = loaded.held_out
    assert held_out is not None
    pixels = held_out.pixels(torch.tensor([7]))
    assert pixels is not None
    assert pixels.shape == (1, 1, 64, 64)
    row, column = divmod(int(pixels.argmax()), 64)
    assert 12 <= row < 36
    assert 36 <= column < 60
    seen = normality(_NoiseWithASquare()[7].image[None], normality.backbone)
    assert pixels.max() > seen.pixels.max() + 1  # an image that was learnt from is its own nearest example


def test_nothing_is_known_until_it_is_fitted() -> None:
    normality = Normality(tiny_normality())
    assert not normality.fitted
    normality = _fitted("places")
    normality.places = None
    assert not normality.fitted  # though details are
