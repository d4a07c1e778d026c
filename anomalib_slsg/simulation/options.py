"""Options of the anomaly simulation: plain data for YAML, command lines and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from anomalib_slsg.utils.validation import check_choice, check_number, check_pair

ForegroundMode = Literal["auto", "object", "whole"]
NoiseKind = Literal["perlin", "rectangle"]

REFERENCE_SIZE = 256
"""Side of the square image, in pixels, that :attr:`SimulationOptions.minimum_area` refers to."""

PHOTOMETRIC_OPERATIONS = 9
"""Number of different photometric operations to choose from."""

LARGEST_EXPONENT = 6
"""Largest exponent of the Perlin periods: 2**6 cells of four pixels each at 256 pixels."""


@dataclass
class SimulationOptions:
    """How simulated anomalies are made (paper section 3.2); every ablation of Table 5 is a value here.

    Pairs may be given as lists. Lengths and areas in pixels refer to 256x256 images and scale with the image.

    Args:
        dtd_dir: Folder with texture images (DTD, or any other; searched recursively) for heterologous structural
            anomalies. ``None``: procedural colour textures.
        download_dtd: Fetch DTD (about 600 MB) into ``dtd_dir``, or ``./datasets/dtd`` if that is not set, unless the
            folder exists. Without a network that is an error, in place of other textures than were asked for.
        foreground: Where anomalies may lie. ``"auto"`` decides once per data set between object and whole image;
            ``"object"`` always looks for an object on a plain background; ``"whole"`` uses the whole image
            (Table 5 "w/o Foreground").
        noise: Shape of the masks: ``"perlin"``, or ``"rectangle"`` (Table 5 "Rect. Noise").
        structural_probability: Share of structural anomalies, in [0, 1]; the rest is logical. 0 is Table 5
            "w/o Structural", 1 is "w/o Logical".
        texture_probability: Share of textures among structural anomalies, in [0, 1]; the rest takes the image's own
            shuffled grid cells.
        structural_periods: Smallest and largest exponent of 2 of the Perlin lattice cells per side, structural.
        logical_periods: The same for logical anomalies; fewer cells give larger regions.
        structural_threshold: Noise above it belongs to the mask, in [-1, 1); structural.
        logical_threshold: The same for logical anomalies; lower gives larger regions.
        structural_opacity: Range of delta of equation 1, in (0, 1], drawn per image; low values give nearly
            transparent anomalies.
        logical_opacity: The same for logical anomalies.
        logical_turn_probability: Share of logical sources that are turned, in [0, 1]. The paper turns every source,
            and does not say how far; parts that keep their direction teach more where products lie aligned.
        logical_turn_degrees: Turned sources are turned by a uniform angle between minus and plus this, in [0, 180].
        logical_flip_probability: Share of logical sources that are mirrored left to right, in [0, 1].
        logical_moved_probability: Share of logical anomalies whose source is the image itself, moved by up to half its
            sides: a part disappears behind what is beside it, or appears twice. In [0, 1]; 0 as in the paper.
        minimum_area: Smallest mask in pixels at 256x256, up to a quarter of the image; smaller masks are redrawn.
        minimum_change: A masked pixel is labelled anomalous only when one of its channels changes by more than this,
            in [0, 1). 0 labels the whole mask, as in the paper. Above 0, a label may be smaller than ``minimum_area``.
        photometric_operations: Number of distinct photometric operations on every texture, in [0, 9]. Other sources
            keep their colours; section 3.2 changes brightness and contrast of any.
        grid_cells: Cells per side of the grid whose cells are shuffled.

    Raises:
        ValueError: If a value lies outside its range. The message names the option.
    """

    dtd_dir: str | None = None
    download_dtd: bool = False
    foreground: ForegroundMode = "auto"
    noise: NoiseKind = "perlin"
    structural_probability: float = 0.5
    texture_probability: float = 0.5
    structural_periods: tuple[int, int] = (0, 3)
    logical_periods: tuple[int, int] = (0, 2)
    structural_threshold: float = 0.5
    logical_threshold: float = 0.4
    structural_opacity: tuple[float, float] = (0.1, 1.0)
    logical_opacity: tuple[float, float] = (0.75, 1.0)
    logical_turn_probability: float = 0.3
    logical_turn_degrees: float = 180.0
    logical_flip_probability: float = 0.0
    logical_moved_probability: float = 0.0
    minimum_area: int = 49
    minimum_change: float = 0.0
    photometric_operations: int = 3
    grid_cells: int = 8

    def __post_init__(self) -> None:
        """Turn lists into tuples and check every value."""
        self._check_choice("foreground", get_args(ForegroundMode))
        self._check_choice("noise", get_args(NoiseKind))
        for name in ("structural", "texture", "logical_turn", "logical_flip", "logical_moved"):
            self._check_number(f"{name}_probability", 0, 1)
        for name in ("structural_threshold", "logical_threshold"):
            self._check_number(name, -1, 1, open_high=True)
        for name in ("structural_periods", "logical_periods"):
            self._check_pair(name, 0, LARGEST_EXPONENT, whole=True)
        for name in ("structural_opacity", "logical_opacity"):
            self._check_pair(name, 0, 1, open_low=True)
        self._check_number("logical_turn_degrees", 0, 180)
        self._check_number("minimum_change", 0, 1, open_high=True)
        self._check_number("minimum_area", 1, REFERENCE_SIZE**2 // 4, whole=True)
        self._check_number("photometric_operations", 0, PHOTOMETRIC_OPERATIONS, whole=True)
        self._check_number("grid_cells", 2, REFERENCE_SIZE, whole=True)

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        check_choice(f"simulation.{name}", getattr(self, name), choices)

    def _check_number(
        self, name: str, low: float, high: float, *, whole: bool = False, open_high: bool = False
    ) -> None:
        check_number(f"simulation.{name}", getattr(self, name), low, high, whole=whole, open_high=open_high)

    def _check_pair(self, name: str, low: float, high: float, *, whole: bool = False, open_low: bool = False) -> None:
        option = f"simulation.{name}"
        setattr(self, name, check_pair(option, getattr(self, name), low, high, whole=whole, open_low=open_low))
