"""Pictures of the report."""

import base64
import re

import cv2
import numpy as np

from anomalib_slsg.report.pictures import colour, colour_scale, embed, outline, shrink


def test_pictures_fit_what_they_may_take() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)
    large, small = embed(noise, 10**7), embed(noise, 15_000)
    assert large is not None and small is not None
    assert len(small) <= 15_000 < len(large)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(large.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (240, 480, 3)  # the aspect stays


def test_colours_stay_what_they_are() -> None:
    red = embed(np.full((32, 32, 3), (250, 10, 10), np.uint8), 10**6)
    assert red is not None
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(red.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert np.allclose(decoded[16, 16], (10, 10, 250), atol=8)  # OpenCV's order


def test_small_images_stay_and_large_ones_keep_their_average() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
    assert shrink(image, 64) is image
    assert shrink(image, 16).shape == (16, 8, 3)
    assert abs(shrink(image, 16).mean() - image.mean()) < 1


def test_maps_have_one_scale() -> None:
    weak, strong = np.full((8, 8), 51, np.uint8), np.full((8, 8), 255, np.uint8)
    colours = colour_scale(6)
    for heat_map, expected in ((weak, colours[1]), (strong, colours[-1])):
        coloured = colour(heat_map, (10, 20))
        assert coloured is not None
        assert coloured.shape == (240, 480, 3)  # as its image
        assert "#{:02x}{:02x}{:02x}".format(*coloured[5, 5]) == expected


def test_outlines_go_round_what_is_above_the_threshold() -> None:
    heat_map = np.zeros((100, 50), np.uint8)
    heat_map[20:40, 10:30] = 200
    numbers = np.array(re.findall(r"(\d+) (\d+)", outline(heat_map, 0.5)), dtype=int)
    # of 1000, a map's pixel is 20 wide and 10 high; the line goes through the middles of the outermost pixels
    assert numbers.min(axis=0).tolist() == [210, 205]
    assert numbers.max(axis=0).tolist() == [590, 395]
    assert outline(heat_map, 0.9) == ""


def test_outlines_of_noise_are_short() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    assert 0 < len(outline(noise, 0.5)) < 5_000
