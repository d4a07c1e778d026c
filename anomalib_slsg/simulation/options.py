"""Options of the anomaly simulation: plain data for YAML, command lines and checkpoints."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from anomalib_slsg.utils.options import Options, choice, number, numbers

ForegroundMode = Literal["auto", "object", "whole"]
NoiseKind = Literal["perlin", "rectangle"]
PhotometricSources = Literal["textures", "all"]

REFERENCE_SIZE = 256
"""Side of the square image, in pixels, that :attr:`SimulationOptions.minimum_area` refers to."""

PHOTOMETRIC_OPERATIONS = 9
"""Number of different photometric operations to choose from."""

LARGEST_EXPONENT = 6
"""Largest exponent of the Perlin periods: 2**6 cells of four pixels each at 256 pixels."""


@dataclass(frozen=True)
class SimulationOptions(Options):
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
        minimum_area: Smallest mask in pixels at 256x256, up to a quarter of the image; smaller masks are redrawn.
        minimum_change: A masked pixel is labelled anomalous only when one of its channels changes by more than this,
            in [0, 1). 0 labels the whole mask, as in the paper. Above 0, a label may be smaller than ``minimum_area``.
        photometric_operations: Number of distinct photometric operations on every source that undergoes them, in
            [0, 9].
        photometric_sources: Which sources undergo them: ``"textures"``, or ``"all"``, as in section 3.2. Other sources
            than textures are parts of the products themselves, whose colours tell what is normal.
        grid_cells: Cells per side of the grid whose cells are shuffled.
        colour_jitter: Largest relative change of brightness and saturation of all training images, in [0, 1].

    Raises:
        ValueError: If a value lies outside its range. The message names the option.
    """

    group: ClassVar[str] = "simulation"
    dtd_dir: str | None = None
    download_dtd: bool = False
    foreground: ForegroundMode = choice("auto", get_args(ForegroundMode))
    noise: NoiseKind = choice("perlin", get_args(NoiseKind))
    structural_probability: float = number(0.5, "[0, 1]")
    texture_probability: float = number(0.5, "[0, 1]")
    structural_periods: tuple[int, int] = numbers((0, 3), f"[0, {LARGEST_EXPONENT}]", ascending=True)
    logical_periods: tuple[int, int] = numbers((0, 2), f"[0, {LARGEST_EXPONENT}]", ascending=True)
    structural_threshold: float = number(0.5, "[-1, 1)")
    logical_threshold: float = number(0.4, "[-1, 1)")
    structural_opacity: tuple[float, float] = numbers((0.1, 1.0), "(0, 1]", ascending=True)
    logical_opacity: tuple[float, float] = numbers((0.75, 1.0), "(0, 1]", ascending=True)
    logical_turn_probability: float = number(0.3, "[0, 1]")
    logical_turn_degrees: float = number(180.0, "[0, 180]")
    minimum_area: int = number(49, f"[1, {REFERENCE_SIZE**2 // 4}]")
    minimum_change: float = number(0.0, "[0, 1)")
    photometric_operations: int = number(3, f"[0, {PHOTOMETRIC_OPERATIONS}]")
    photometric_sources: PhotometricSources = choice("textures", get_args(PhotometricSources))
    grid_cells: int = number(8, f"[2, {REFERENCE_SIZE}]")
    colour_jitter: float = number(0.1, "[0, 1]")

    @property
    def procedural(self) -> bool:
        """Whether procedural textures are among the sources, in place of DTD's."""
        wanted = self.structural_probability > 0 and self.texture_probability > 0
        return wanted and self.dtd_dir is None and not self.download_dtd
