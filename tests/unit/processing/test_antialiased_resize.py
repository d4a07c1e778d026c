"""Antialiased resizing by matrix products, against torchvision's."""

import pytest
import torch
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, Resize

from anomalib_slsg.processing.antialiased_resize import AntialiasedResize, keep_antialiasing

SIZES = [
    ((64, 64), (32, 32)),
    ((90, 161), (32, 48)),
    ((20, 30), (32, 48)),
    ((33, 100), (32, 100)),
    ((32, 32), (32, 32)),
]


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_is_torchvisions(old: tuple[int, int], new: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *old, generator=torch.Generator().manual_seed(0))
    expected = Resize(new, antialias=True)(images)
    torch.testing.assert_close(AntialiasedResize(new)(images), expected, rtol=0, atol=2e-6)


def test_leaves_images_of_the_right_size_as_they_are() -> None:
    images = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(AntialiasedResize((32, 48))(images), images, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_graph_for_one_size_and_batch_serves_others() -> None:
    batch, height, width = (torch.export.Dim(name, min=2, max=500) for name in ("batch", "height", "width"))
    shapes = ({0: batch, 2: height, 3: width},)
    exported = torch.export.export(AntialiasedResize((32, 32)), (torch.rand(2, 3, 64, 80),), dynamic_shapes=shapes)
    images = torch.rand(5, 3, 41, 20)
    torch.testing.assert_close(exported.module()(images), Resize((32, 32), antialias=True)(images), rtol=0, atol=2e-6)


def test_pre_processors_export_what_they_train_with() -> None:
    images = torch.rand(1, 3, 90, 70)
    for transform in (
        Resize((32, 32), antialias=True),
        Compose([Resize((48, 48), antialias=True), CenterCrop(32)]),
        Compose([Compose([Resize((48, 48), antialias=True)]), CenterCrop(32)]),
    ):
        pre_processor = PreProcessor(transform=transform)
        assert not torch.allclose(pre_processor(images), transform(images), atol=1e-2)
        keep_antialiasing(pre_processor)
        torch.testing.assert_close(pre_processor(images), transform(images), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "transform",
    [
        Resize((32, 32), antialias=False),
        Resize((32, 32), interpolation=InterpolationMode.NEAREST),
        Resize(32, antialias=True),
        CenterCrop(16),
        None,
    ],
    ids=["no antialiasing", "nearest", "one side", "crop", "none"],
)
def test_other_transforms_are_left_alone(transform: object) -> None:
    pre_processor = PreProcessor(transform=transform)
    before = pre_processor.export_transform
    keep_antialiasing(pre_processor)
    assert pre_processor.export_transform is before


def test_pillow_s_number_of_bilinear_interpolation_is_known() -> None:
    pre_processor = PreProcessor(transform=Resize((32, 32)))
    pre_processor.transform.interpolation = 2
    keep_antialiasing(pre_processor)
    assert isinstance(pre_processor.export_transform, AntialiasedResize)


@pytest.mark.parametrize(
    ("transform", "told"),
    [
        (Resize(32), True),
        (Resize((32, 32), interpolation=InterpolationMode.BICUBIC), True),
        (Resize((32, 32), interpolation=InterpolationMode.NEAREST), False),
        (Resize(32, antialias=False), False),
    ],
    ids=["one side", "bicubic", "nearest", "no antialiasing"],
)
def test_antialiasing_lost_by_exports_is_told(transform: Resize, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    keep_antialiasing(PreProcessor(transform=transform))
    assert ("exported models resize without the antialiasing of Resize" in caplog.text) == told
