"""Drawn scenes: repeatable, and wrong exactly where their masks say so."""

from collections import Counter

import cv2
import numpy as np
import pytest

from anomalib_slsg.synthetic_loco.damage import STRUCTURAL
from anomalib_slsg.synthetic_loco.sample import GOOD, LOGICAL, STRUCTURAL_TYPE, Request, defect_types, draw
from anomalib_slsg.synthetic_loco.scenes import SCENES, Scene
from anomalib_slsg.synthetic_loco.scenes.board import ConnectorBoard
from anomalib_slsg.synthetic_loco.scenes.tray import Tray

CATEGORIES = list(SCENES)
SIZE = 128


def _request(category: str, kind: str, index: int, **changes: int) -> Request:
    return Request(category, "test", kind, index, **{"size": SIZE, "data_seed": 0, **changes})


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("kind", [GOOD, LOGICAL, STRUCTURAL_TYPE])
def test_equal_requests_give_equal_pixels_in_any_order(category: str, kind: str) -> None:
    requests = [_request(category, kind, index) for index in range(3)]
    forwards = [draw(request) for request in requests]
    backwards = [draw(request) for request in reversed(requests)][::-1]
    for (image, defects), (again, defects_again) in zip(forwards, backwards, strict=True):
        assert np.array_equal(image, again)
        assert [defect.type for defect in defects] == [defect.type for defect in defects_again]
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(defects, defects_again, strict=True))


@pytest.mark.parametrize("category", CATEGORIES)
def test_images_differ_by_number_split_and_seed(category: str) -> None:
    image, _ = draw(_request(category, GOOD, 0))
    others = [
        _request(category, GOOD, 1),
        _request(category, GOOD, 0, data_seed=1),
        Request(category, "train", GOOD, 0, SIZE, 0),
    ]
    for other in others:
        difference = np.abs(image.astype(int) - draw(other)[0])
        assert difference.mean() > 2


@pytest.mark.parametrize("kind", [LOGICAL, STRUCTURAL_TYPE])
@pytest.mark.parametrize("category", CATEGORIES)
def test_image_differs_from_its_intact_twin_where_masks_say(category: str, kind: str) -> None:
    seen = set()
    for index in range(8):
        image, defects = draw(_request(category, kind, index))
        intact, none = draw(_request(category, kind, index), spoiled=False)
        assert none == []
        difference = np.abs(image.astype(int) - intact).max(axis=2)
        union = np.any([defect.mask for defect in defects], axis=0)
        # Shadows reach a little beyond an outline.
        reach = cv2.dilate(union.astype(np.uint8), np.ones((7, 7), dtype=np.uint8)) > 0
        assert difference[reach].sum() > 0.9 * difference.sum(), (index, [defect.type.name for defect in defects])
        for defect in defects:
            changed = difference[defect.mask] > 25
            assert changed.sum() >= 20, (index, defect.type.name)
            assert changed.mean() > 0.1, (index, defect.type.name)
        seen |= {defect.type for defect in defects}
    assert seen == set(SCENES[category].logical if kind == LOGICAL else STRUCTURAL)


@pytest.mark.parametrize("category", CATEGORIES)
def test_defects_are_large_enough_to_be_seen(category: str) -> None:
    logical = [defect.mask.mean() for index in range(15) for defect in draw(_request(category, LOGICAL, index))[1]]
    assert np.mean(np.array(logical) >= 0.02) > 0.6
    assert min(logical) > 0.01
    damage = [defect.mask.mean() for i in range(16) for defect in draw(_request(category, STRUCTURAL_TYPE, i))[1]]
    assert np.mean(np.array(damage) >= 0.004) > 0.7


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("kind", [LOGICAL, STRUCTURAL_TYPE])
def test_one_image_in_five_has_two_defects_of_different_types(category: str, kind: str) -> None:
    counts = []
    for index in range(10):
        types = [defect.type for defect in draw(_request(category, kind, index, size=64))[1]]
        assert len(set(types)) == len(types)
        counts.append(len(types))
    assert counts == [1, 1, 1, 1, 2] * 2


@pytest.mark.parametrize("category", CATEGORIES)
def test_smallest_images_have_masks_that_hold_something(category: str) -> None:
    for kind in (LOGICAL, STRUCTURAL_TYPE):
        for index in range(15):
            _, defects = draw(_request(category, kind, index, size=64, data_seed=3))
            assert defects
            assert all(defect.mask.any() for defect in defects)


@pytest.mark.parametrize(("seed", "index"), [(2, 39), (7, 24), (7, 56), (11, 24)])
def test_cracks_lie_on_the_bottle(seed: int, index: int) -> None:
    """They start beside their place and missed it here: an anomaly that is not there, with an empty mask."""
    request = _request("bottle", STRUCTURAL_TYPE, index, size=64, data_seed=seed)
    image, defects = draw(request)
    intact, _ = draw(request, spoiled=False)
    assert "crack" in {defect.type.name for defect in defects}
    for defect in defects:
        assert defect.mask.sum() > 5
        assert (image[defect.mask] != intact[defect.mask]).any()


@pytest.mark.parametrize("category", CATEGORIES)
def test_names_of_defect_types_are_unique(category: str) -> None:
    names = [defect.name for defect in defect_types(category)]
    assert len(set(names)) == len(names)


def _spoil_in_any_order(piece: Scene, rng: np.random.Generator) -> set[str]:
    names = [piece.logical[i].name for i in rng.permutation(len(piece.logical))]
    return {name for name in names if piece.spoil(name, rng) is not None}


def test_missing_and_extra_part_of_a_tray_do_not_cancel() -> None:
    both = 0
    for number in range(100):
        rng = np.random.default_rng(number)
        tray = Tray.sample(rng)
        usual = Counter(part.kind for part in tray.parts)
        applied = _spoil_in_any_order(tray, rng)
        changes = Counter(part.kind for part in tray.parts)
        changes.subtract(usual)
        expected = [-1] * ("missing_part" in applied) + [1] * ("extra_part" in applied)
        assert sorted(change for change in changes.values() if change) == expected
        both += len(expected) == 2
    assert both > 50


def test_board_stays_wrong_after_several_defects() -> None:
    both = 0
    for number in range(100):
        rng = np.random.default_rng(number)
        board = ConnectorBoard.sample(rng)
        applied = _spoil_in_any_order(board, rng)
        crossing = sum(cable.left != cable.right for cable in board.cables)
        assert crossing == 2 * ("swapped_cables" in applied) + len(applied & {"extra_cable", "wrong_terminal"})
        wrong = sum(cable.left == cable.right and cable.colour != board.marks[cable.left] for cable in board.cables)
        assert wrong == ("wrong_colour" in applied)
        both += len(applied) > 1
    assert both > 50


def test_image_size_changes_the_resolution_and_not_the_scene() -> None:
    small, _ = draw(_request("tray", GOOD, 0, size=64))
    large, _ = draw(_request("tray", GOOD, 0, size=256))
    reduced = large.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(reduced - small).mean() < 6
