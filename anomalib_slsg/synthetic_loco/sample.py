"""One image of the data set with the masks of its defects, drawn from its number alone."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_slsg.synthetic_loco.camera import Camera
from anomalib_slsg.synthetic_loco.damage import STRUCTURAL
from anomalib_slsg.synthetic_loco.drawing import Canvas, Image
from anomalib_slsg.synthetic_loco.scenes import SCENES, DefectType, Scene
from anomalib_slsg.synthetic_loco.shapes import Points

GOOD, LOGICAL, STRUCTURAL_TYPE = "good", "logical_anomalies", "structural_anomalies"
# Every fifth anomalous image has two defects.
_DOUBLE_EVERY = 5
# Least area of a damage that lies on the piece, in square units; most have hundreds.
_LEAST_DAMAGE = 25


@dataclass(frozen=True)
class Request:
    """Which image to draw; equal requests give equal images.

    Attributes:
        category: Key of ``SCENES``.
        split: ``train``, ``validation`` or ``test``.
        kind: ``good``, ``logical_anomalies`` or ``structural_anomalies``.
        index: Number of the image within split and kind, from 0.
        size: Side of the image, in pixels.
        data_seed: Seed of the whole data set.
    """

    category: str
    split: str
    kind: str
    index: int
    size: int
    data_seed: int


@dataclass(frozen=True)
class Defect:
    """A defect of an image: its type and where it is, shape (size, size)."""

    type: DefectType
    mask: NDArray[np.bool_]


def defect_types(category: str) -> list[DefectType]:
    """All defect types of a category, logical ones first; the order gives the pixel values of the masks."""
    return [*SCENES[category].logical, *STRUCTURAL]


def draw(request: Request, *, spoiled: bool = True) -> tuple[Image, list[Defect]]:
    """Draw an image and the masks of its defects.

    Args:
        request: Which image.
        spoiled: False draws the same piece before anything went wrong with it.

    Returns:
        RGB image, shape (size, size, 3), and its defects (none for good images).
    """
    names = (request.category, request.split, request.kind)
    key = [request.data_seed, *(zlib.crc32(name.encode()) for name in names), request.index]
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(key).spawn(3)]
    piece_rng, camera_rng, defect_rng = streams
    scene = SCENES[request.category].sample(piece_rng)
    camera = Camera.sample(camera_rng)
    canvas = Canvas(_station(request.category, request.size).copy())
    marked: list[tuple[DefectType, list[Points]]] = []
    if spoiled and request.kind == LOGICAL:
        marked = _spoil(scene, request.index, defect_rng)
    scene.paint(canvas)
    limits = None
    if spoiled and request.kind == STRUCTURAL_TYPE:
        limits = canvas.area(*scene.surface())
        marked = _damage(scene, canvas, limits, request.index, defect_rng)
    defects = []
    for defect, outlines in marked:
        area = canvas.area(*outlines) & ~canvas.area(*scene.covering(defect.name))
        defects.append(Defect(defect, camera.photograph_mask(area if limits is None else area & limits, request.size)))
    return camera.photograph(canvas.pixels, request.size), defects


@lru_cache(maxsize=4)
def _station(category: str, size: int) -> Image:
    """Draw once what all images of a category share (a shared array: read only)."""
    canvas = Canvas.blank(size)
    SCENES[category].paint_station(canvas)
    canvas.pixels.setflags(write=False)
    return canvas.pixels


def _order(number: int, index: int, rng: np.random.Generator) -> list[int]:
    """Which type an image shows (each in its turn, the turns shifting), then the others at random."""
    first = (index + index // number) % number
    return [first, *(int(other) for other in rng.permutation(number) if other != first)]


def _spoil(scene: Scene, index: int, rng: np.random.Generator) -> list[tuple[DefectType, list[Points]]]:
    wanted = 2 if index % _DOUBLE_EVERY == _DOUBLE_EVERY - 1 else 1
    marked: list[tuple[DefectType, list[Points]]] = []
    for number in _order(len(scene.logical), index, rng):
        outlines = scene.spoil(scene.logical[number].name, rng) if len(marked) < wanted else None
        if outlines is not None:
            marked.append((scene.logical[number], outlines))
    return marked


def _damage(
    scene: Scene, canvas: Canvas, limits: Image, index: int, rng: np.random.Generator
) -> list[tuple[DefectType, list[Points]]]:
    """Damage the drawn piece once or twice, the places well apart, and nothing beyond the limits."""
    intact = canvas.pixels.copy()
    wanted = 2 if index % _DOUBLE_EVERY == _DOUBLE_EVERY - 1 else 1
    types = list(STRUCTURAL)
    places: list[Points] = []
    marked = []
    for number in _order(len(types), index, rng)[:wanted]:
        before = canvas.pixels.copy()
        while True:
            place = _free_place(scene.surface(), places, rng)
            outlines = STRUCTURAL[types[number]](canvas, place, rng)
            if np.count_nonzero(canvas.area(*outlines) & limits) >= _LEAST_DAMAGE * canvas.scale**2:
                break
            np.copyto(canvas.pixels, before)  # a crack starts beside its place and may miss a narrow piece
        places.append(place)
        marked.append((types[number], outlines))
    np.copyto(canvas.pixels, intact, where=(limits == 0)[..., None])
    return marked


def _free_place(surface: list[Points], taken: list[Points], rng: np.random.Generator) -> Points:
    """Choose a place in the middle part of the piece: of eight, the one that is farthest from those taken."""
    low, high = np.concatenate(surface).min(axis=0), np.concatenate(surface).max(axis=0)
    choices: list[Points] = []
    while len(choices) < 8:
        choice = rng.uniform(low + 0.1 * (high - low), high - 0.1 * (high - low))
        if any(cv2.pointPolygonTest(outline.astype(np.float32), choice.tolist(), False) > 0 for outline in surface):
            choices.append(choice)
    if not taken:
        return choices[0]
    distances = [min(float(np.linalg.norm(choice - other)) for other in taken) for choice in choices]
    return choices[int(np.argmax(distances))]
