"""Reading of photographs: modes, depths, and broken files."""

import importlib
import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from anomalib.data import ImageItem, NumpyImageItem, PredictDataset
from anomalib.data.datasets.image.folder import FolderDataset
from anomalib.data.utils.synthetic import SyntheticAnomalyDataset
from anomalib.visualization import ImageVisualizer
from PIL import Image

from anomalib_slsg.data import reading
from anomalib_slsg.data.reading import read_deep_images
from anomalib_slsg.utils.images import read_header, read_image
from tests.support.trees import claim_png

RAMP = np.linspace(0, 1, 64)[None].repeat(16, axis=0)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def _save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def _tensor(path: Path) -> torch.Tensor:
    image = read_image(path, as_tensor=True)
    assert isinstance(image, torch.Tensor)
    return image


def test_colours_come_back_as_array_and_tensor(tmp_path: Path) -> None:
    path = _save(Image.fromarray(COLOURS), tmp_path / "rgb.png")
    array, tensor = read_image(path), read_image(str(path), as_tensor=True)
    assert isinstance(array, np.ndarray)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (3, 16, 24)
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(array, COLOURS / 255)
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), COLOURS / 255, atol=1e-6)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = (RAMP * 255).round().astype(np.uint8)
    for mode, image in {"L": Image.fromarray(grey), "LA": Image.fromarray(grey).convert("LA")}.items():
        tensor = _tensor(_save(image, tmp_path / f"{mode}.png"))
        np.testing.assert_allclose(tensor.numpy(), np.broadcast_to(grey / 255, (3, 16, 64)), atol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "YCbCr"])
def test_other_modes_show_the_same_colours(tmp_path: Path, mode: str) -> None:
    quarters = np.zeros((16, 16, 3), np.uint8)
    quarters[:8, :8], quarters[:8, 8:], quarters[8:, :8] = (200, 30, 40), (20, 180, 60), (10, 50, 220)
    suffix = {"CMYK": "tif", "YCbCr": "tif"}.get(mode, "png")
    whole = Image.fromarray(quarters)
    path = _save(whole.quantize(4) if mode == "P" else whole.convert(mode), tmp_path / f"image.{suffix}")
    with Image.open(path) as image:
        assert image.mode == mode
    np.testing.assert_allclose(_tensor(path).permute(1, 2, 0).numpy(), quarters / 255, atol=3 / 255)


def test_transparency_does_not_change_colours(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    image.putalpha(Image.fromarray(COLOURS[..., 0]))
    tensor = _tensor(_save(image, tmp_path / "rgba.png"))
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), COLOURS / 255, atol=1e-6)


def test_bilevel_is_black_and_white(tmp_path: Path) -> None:
    tensor = _tensor(_save(Image.fromarray(RAMP > 0.5), tmp_path / "bilevel.png"))
    assert set(tensor.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_keeps_its_gradient(tmp_path: Path, suffix: str) -> None:
    deep = Image.fromarray((RAMP * 65535).round().astype(np.uint16))
    tensor = _tensor(_save(deep, tmp_path / f"deep.{suffix}"))
    np.testing.assert_allclose(tensor.numpy(), np.broadcast_to(RAMP, (3, 16, 64)), atol=0.5 / 255 + 1e-4)
    assert (tensor[0, 0].diff() > 0).all()


def test_big_endian_and_32_bit_grey_keep_their_gradient(tmp_path: Path) -> None:
    values = (RAMP * 65535).round()
    big_endian = Image.frombytes("I;16B", (64, 16), values.astype(">u2").tobytes())
    for name, image in {"big.tif": big_endian, "int.tif": Image.fromarray(values.astype(np.int32))}.items():
        tensor = _tensor(_save(image, tmp_path / name))
        np.testing.assert_allclose(tensor[0].numpy(), RAMP, atol=0.5 / 255 + 1e-4)


@pytest.mark.parametrize("scale", [1.0, 255.0, 65535.0])
def test_float_images_keep_their_gradient(tmp_path: Path, scale: float) -> None:
    path = _save(Image.fromarray((RAMP * scale).astype(np.float32)), tmp_path / "float.tiff")
    with Image.open(path) as image:
        assert image.mode == "F"
    np.testing.assert_allclose(_tensor(path)[2].numpy(), RAMP, atol=0.5 / 255 + 1e-4)


@pytest.mark.parametrize("largest", [1.0, 255.0])
def test_overshoot_does_not_change_the_scale(tmp_path: Path, largest: float) -> None:
    """Interpolation and flat-field correction exceed the range by a little, in some images of a set."""
    values = (RAMP * largest).astype(np.float32)
    values[0, -1] *= 1.01
    images = {"float.tif": Image.fromarray(values)}
    if largest > 1:
        images["int.tif"] = Image.fromarray(np.ceil(values).astype(np.int32))
    for name, image in images.items():
        tensor = _tensor(_save(image, tmp_path / name))
        np.testing.assert_allclose(tensor[0].numpy(), RAMP, atol=1 / 255 + 1e-4)


def test_dark_deep_images_are_dark(tmp_path: Path) -> None:
    """What a file shows must not depend on what else is in it: 16 bits are 16 bits, however few are in use."""
    for largest in (200, 300):
        dark = (RAMP * largest).round().astype(np.uint16)
        for suffix in ("png", "tif"):
            assert _tensor(_save(Image.fromarray(dark), tmp_path / f"dark{largest}.{suffix}")).max() <= 1.5 / 255


COLOUR_RAMP = np.stack([RAMP, RAMP[:, ::-1], RAMP / 2], axis=-1)
DEEP_TIFFS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "planar colours": (
        (COLOUR_RAMP * 65535).astype(np.uint16).transpose(2, 0, 1),
        {"photometric": "rgb", "planarconfig": "separate"},
    ),
    "min is white": (((1 - RAMP) * 65535).round().astype(np.uint16), {"photometric": "miniswhite"}),
    "12 bits": ((RAMP * 4095).round().astype(np.uint16), {"extratags": [(281, 3, 1, 4095, True)]}),
    "signed": ((RAMP * 32767).round().astype(np.int16), {}),
    "large unsigned": ((RAMP * 65535).round().astype(np.uint32), {}),
    "big file": ((RAMP * 65535).round().astype(np.uint16), {"bigtiff": True, "byteorder": ">"}),
    **{f"grey {kind}": (RAMP.astype(kind), {}) for kind in ("float16", "float64")},
    **{f"{kind} colours": (COLOUR_RAMP.astype(kind), {"photometric": "rgb"}) for kind in ("float16", "float32")},
}


@pytest.mark.parametrize("name", DEEP_TIFFS)
def test_tiffs_that_pillow_does_not_read_show_their_gradient(tmp_path: Path, name: str) -> None:
    values, options = DEEP_TIFFS[name]
    tifffile.imwrite(tmp_path / "deep.tif", values, **options)
    expected = COLOUR_RAMP if "colours" in name else RAMP[..., None].repeat(3, axis=-1)
    np.testing.assert_allclose(_tensor(tmp_path / "deep.tif").permute(1, 2, 0).numpy(), expected, atol=1 / 255)


def test_packed_12_bits_keep_their_gradient(tmp_path: Path) -> None:
    """Values whose bits lie side by side, in a file that no library here writes."""
    pairs = (RAMP * 4095).round().astype(np.uint32).reshape(-1, 2)
    packed = (pairs[:, 0] << 12) | pairs[:, 1]
    data = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8).tobytes()
    short, long = 3, 4
    tags = [(256, long, 64), (257, long, 16), (258, short, 12), (259, short, 1), (262, short, 1)]
    tags += [(273, long, 8), (277, short, 1), (278, long, 16), (279, long, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head, number = b"II*\0" + struct.pack("<I", 8 + len(data)), struct.pack("<H", len(tags))
    (tmp_path / "packed.tif").write_bytes(head + data + number + entries + bytes(4))
    np.testing.assert_allclose(_tensor(tmp_path / "packed.tif")[1].numpy(), RAMP, atol=1 / 255)


# values, and what the message says of them
MEANINGLESS = {
    "NaN": (np.where(RAMP > 0.99, np.nan, RAMP).astype(np.float32), "holds NaN or infinity"),
    "infinity": (np.where(RAMP > 0.99, np.inf, RAMP).astype(np.float32), "holds NaN or infinity"),
    "large": ((RAMP * (2**31 - 1)).astype(np.int32), "has values from 0 to 2.14.*e.09"),
    "negative": ((RAMP * 400 - 200).astype(np.float32), "has values from -200 to 200"),
    "bands": (np.zeros((8, 8, 5), np.uint16), "is a TIFF of MINISBLACK with 5 channels; only grey and RGB are read"),
}


@pytest.mark.parametrize(("values", "message"), MEANINGLESS.values(), ids=MEANINGLESS)
def test_values_without_meaning_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    options = {"photometric": "minisblack", "planarconfig": "contig"} if values.ndim == 3 else {}
    tifffile.imwrite(tmp_path / "odd.tif", values, **options)
    with pytest.raises(ValueError, match=f"^'{tmp_path}/odd.tif' {message}"):
        read_image(tmp_path / "odd.tif")


@pytest.mark.parametrize("side", [13_300, 14_000, 65_000])
def test_images_above_the_limit_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    """A file of a few kilobytes may unpack to gigabytes. Here, the header alone says so."""
    path = claim_png(_save(Image.fromarray(COLOURS), tmp_path / "bomb.png"), side)
    with pytest.raises(ValueError, match=f"^'{path}' has .*more than 100 megapixels: cut or shrink it"):
        read_image(path)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_images_stand_as_the_camera_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    smooth = (COLOUR_RAMP[:, :40] * 255).astype(np.uint8)
    path = _save(Image.fromarray(smooth), tmp_path / f"camera.{suffix}", exif=exif)
    turned = {1: smooth, 3: smooth[::-1, ::-1], 6: np.rot90(smooth, -1), 7: np.rot90(smooth, 2).transpose(1, 0, 2)}
    np.testing.assert_allclose(_tensor(path).permute(1, 2, 0).numpy(), turned[orientation] / 255, atol=8 / 255)
    assert read_header(path).shape == turned[orientation].shape[:2]


def test_black_deep_image_is_black(tmp_path: Path) -> None:
    for dtype in (np.uint16, np.float32):
        path = _save(Image.fromarray(np.zeros((8, 8), dtype)), tmp_path / "black.tif")
        assert _tensor(path).abs().max() == 0


def _encoded(suffix: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(COLOURS).save(data, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix))
    return data.getvalue()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "ppm"])
def test_truncated_file_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    whole, path = _encoded(suffix), tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=f"'{path}' is truncated or not a readable image.*repair or remove it"):
        read_image(path)


NO_IMAGES = {"text": b"hello", "header of a PPM": b"P6\n10", "zeros": b"\x89PNG\r\n\x1a\n" + bytes(40)}


@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES.keys())
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"'{path}' is truncated or not a readable image"):
        read_image(path, as_tensor=True)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match=f"'{tmp_path}'"):
        read_image(tmp_path)


def test_anomalibs_data_sets_read_with_it(tmp_path: Path) -> None:
    """Its own reader shows 16-bit images white; this also finds out when anomalib moves its readers."""
    for name in reading.ANOMALIB_READERS:
        assert hasattr(importlib.import_module(name), "read_image")
    read_deep_images()
    (tmp_path / "good").mkdir()
    _save(Image.fromarray((RAMP * 65535).round().astype(np.uint16)), tmp_path / "good" / "deep.png")
    folder = FolderDataset("parts", normal_dir="good", root=tmp_path)
    for item in (folder[0], PredictDataset(tmp_path / "good")[0]):
        np.testing.assert_allclose(item.image[0].numpy(), RAMP, atol=0.5 / 255 + 1e-4)
    (tmp_path / "good" / "deep.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"deep\.png' is truncated or not a readable image"):
        folder[0]


SPAWNED = """
import sys
from anomalib.data import PredictDataset
from anomalib.data.datasets.image.folder import FolderDataset
from torch.utils.data import DataLoader
from anomalib_slsg import read_deep_images

read_deep_images()

def main():
    for data in (FolderDataset("parts", normal_dir="good", root=sys.argv[1]), PredictDataset(sys.argv[1] + "/good")):
        loader = DataLoader(data, collate_fn=data.collate_fn, num_workers=1, multiprocessing_context="spawn")
        print(float(next(iter(loader)).image.mean()))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_processes_that_load_data_read_with_it_where_they_are_not_forked(tmp_path: Path) -> None:
    """They are started anew on Windows and macOS, and import the program that made them."""
    (tmp_path / "good").mkdir()
    _save(Image.fromarray(np.full((16, 16), 20_000, np.uint16)), tmp_path / "good" / "deep.png")
    script = tmp_path / "script.py"
    script.write_text(SPAWNED)
    finished = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert list(map(float, finished.stdout.split()[-2:])) == pytest.approx([20_000 / 65_535] * 2, abs=1 / 255)


def test_synthetic_anomalies_of_deep_images_keep_their_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """anomalib makes synthetic test images of normal ones; read as white, brightness alone would tell them apart."""
    read_deep_images()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").mkdir()
    for number in range(4):
        _save(Image.fromarray((np.tile(RAMP, (4, 1)) * 65535).astype(np.uint16)), tmp_path / "good" / f"{number}.png")
    folder = FolderDataset("parts", normal_dir="good", root=tmp_path)
    synthetic = SyntheticAnomalyDataset.from_dataset(folder)
    anomalous = [item for item in synthetic if item.gt_label == 1]
    assert anomalous
    for item in anomalous:
        rows = (item.gt_mask == 0).all(dim=1)  # no pixel of them was changed
        expected = np.broadcast_to(RAMP[0], (int(rows.sum()), 64))
        np.testing.assert_allclose(item.image[0][rows].numpy(), expected, atol=2 / 255)
        assert item.image.mean() < 0.8


def test_heat_maps_show_deep_images_as_they_are(tmp_path: Path) -> None:
    read_deep_images()
    deep = _save(Image.fromarray((RAMP * 65535).round().astype(np.uint16)), tmp_path / "deep.png")
    plain = _save(Image.fromarray((RAMP * 255).round().astype(np.uint8)), tmp_path / "plain.png")
    visualizer = ImageVisualizer(field_size=(64, 16))
    drawn = []
    for path in (str(deep), str(plain)):
        item = ImageItem(image=torch.zeros(3, 8, 8), anomaly_map=torch.zeros(8, 8), image_path=path)
        numpy_item = NumpyImageItem(image=np.zeros((8, 8, 3)), anomaly_map=np.zeros((8, 8)), image_path=path)
        drawn += [np.asarray(visualizer.visualize(each)).astype(int) for each in (item, numpy_item)]
        assert item.image_path == path
    for picture in drawn[:3]:
        np.testing.assert_allclose(picture, drawn[3], atol=1)


@pytest.mark.slow
def test_importing_changes_no_reader_of_anomalib() -> None:
    code = (
        "import importlib\n"
        "from anomalib.data.utils import read_image\n"
        "import anomalib_slsg\n"
        "from anomalib_slsg import Slsg\n"
        "from anomalib_slsg.data.reading import ANOMALIB_READERS\n"
        "from anomalib.visualization.image import item_visualizer, visualizer\n"
        "for name in ANOMALIB_READERS:\n"
        "    assert importlib.import_module(name).read_image is read_image, name\n"
        "assert visualizer.visualize_image_item is item_visualizer.visualize_image_item"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_grey_tiffs_that_call_themselves_planar_are_read_in_order(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 32).astype(np.uint16).reshape(4, 8)
    Image.fromarray(values).save(tmp_path / "planar.tif", tiffinfo={284: 2})
    np.testing.assert_allclose(_tensor(tmp_path / "planar.tif")[0].numpy(), values / 65535, atol=1 / 255)
