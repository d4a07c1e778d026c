"""Contact sheet of simulated anomalies.

``python -m anomalib_slsg.simulation.preview --images DIR --output FILE.png``
"""

from __future__ import annotations

from pathlib import Path

import cv2
import torch
from jsonargparse import ArgumentParser
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from anomalib_slsg.simulation.foreground import FOREGROUND_IMAGES
from anomalib_slsg.simulation.options import SimulationOptions
from anomalib_slsg.simulation.simulator import AnomalyKind, AnomalySimulator, SimulatedBatch
from anomalib_slsg.utils.files import write_atomically
from anomalib_slsg.utils.images import list_images, read_rgb

TITLES: dict[AnomalyKind, str] = {"texture": "texture", "shuffled": "shuffled grid", "logical": "logical"}
COLUMNS = ("normal", "foreground", "mask", "result", "changed")


def load_images(folder: Path, size: int, number: int) -> Tensor:
    """Read up to ``number`` images, spread evenly over a folder, as (N, 3, size, size) in [0, 1].

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds fewer than two images, or one that cannot be read.
    """
    if not folder.is_dir():
        msg = f"--images: the folder {folder} does not exist"
        raise FileNotFoundError(msg)
    files = list_images(folder)
    if len(files) < 2:
        found = "no images" if not files else f"a single image ({files[0].name})"
        msg = f"--images: {found} below {folder}; at least two are needed, a logical anomaly mixes two normal images"
        raise ValueError(msg)
    number = min(number, len(files))
    chosen = [files[place * len(files) // number] for place in range(number)]
    pixels = [cv2.resize(read_rgb(file), (size, size), interpolation=cv2.INTER_AREA) for file in chosen]
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in pixels]).float() / 255


def draw_sheet(normal: Tensor, batches: dict[AnomalyKind, SimulatedBatch]) -> Figure:
    """Draw one row per kind and image (B, 3, H, W), with the columns of :data:`COLUMNS`."""
    rows = [(kind, place) for kind in batches for place in range(len(normal))]
    figure = Figure(figsize=(2 * len(COLUMNS), 2 * len(rows) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(COLUMNS), squeeze=False)
    for row, (kind, place) in zip(axes, rows, strict=True):
        batch = batches[kind]
        change = (batch.image[place] - normal[place]).abs().amax(dim=0)
        panels = (normal[place], batch.foreground[place, 0], batch.mask[place, 0], batch.image[place], change)
        for axis, panel in zip(row, panels, strict=True):
            picture = panel.permute(1, 2, 0) if panel.ndim == 3 else panel
            axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(TITLES[kind])
    for axis, title in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(title)
    return figure


def preview(images: Path, output: Path, count: int, seed: int, size: int, options: SimulationOptions) -> None:
    """Simulate every kind of anomaly on ``count`` images of a folder and write the sheet.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds fewer than two images or a broken one, or an option is bad.
    """
    for name, value in (("count", count), ("size", size)):
        if value < 1:
            msg = f"--{name} must be at least 1, got {value}"
            raise ValueError(msg)
    if output.suffix.lower() != ".png":
        msg = f"--output must be a .png file, got {output}"
        raise ValueError(msg)
    pool = load_images(images, size, max(count + 1, FOREGROUND_IMAGES))
    simulator = AnomalySimulator(options)
    simulator.fit(pool)
    normal, others = pool[:count], pool.roll(-1, dims=0)[:count]
    generator = torch.Generator().manual_seed(seed)
    sheet = draw_sheet(normal, {kind: simulator.simulate(normal, others, generator, kind) for kind in TITLES})
    write_atomically(output, lambda path: sheet.savefig(path, format="png", dpi=100))


def main(args: list[str] | None = None) -> None:
    """Command line; ``--simulation.*`` takes every option of :class:`SimulationOptions`."""
    parser = ArgumentParser(
        prog="python -m anomalib_slsg.simulation.preview",
        description="Draw a contact sheet of simulated anomalies: normal, foreground, mask, result, change.",
    )
    parser.add_argument("--images", type=Path, required=True, help="folder with normal images, searched recursively")
    parser.add_argument("--output", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--count", type=int, default=4, help="images per kind of anomaly")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    parser.add_argument("--size", type=int, default=256, help="side in pixels that images are scaled to")
    parser.add_class_arguments(SimulationOptions, "simulation")
    parsed = parser.parse_args(args)
    try:
        options = SimulationOptions(**parsed.simulation.as_dict())
        preview(parsed.images, parsed.output, parsed.count, parsed.seed, parsed.size, options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
