"""Contact sheet of simulated anomalies.

``python -m anomalib_slsg.simulation.preview --images DIR --output FILE.png``
"""

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
from anomalib_slsg.utils.validation import check_number

TITLES: dict[AnomalyKind, str] = {"texture": "texture", "shuffled": "shuffled grid", "logical": "logical"}
COLUMNS = ("normal", "foreground", "mask", "result", "changed")


def load_images(folder: Path, size: int, number: int) -> Tensor:
    """Read up to ``number`` images, spread evenly over a folder, as (N, 3, size, size) in [0, 1].

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds fewer than two images, or one that cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--images: the folder {folder} does not exist")
    files = list_images(folder)
    if len(files) < 2:
        found = "no images" if not files else f"a single image ({files[0].name})"
        raise ValueError(
            f"--images: {found} below {folder}; at least two are needed, a logical anomaly mixes two normal images"
        )
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


def preview(
    images: Path,
    output: Path,
    count: int = 4,
    seed: int = 0,
    size: int = 256,
    simulation: SimulationOptions = SimulationOptions(),
) -> None:
    """Draw a contact sheet of simulated anomalies: normal, foreground, mask, result, change.

    Args:
        images: Folder with normal images, searched recursively.
        output: PNG file to write.
        count: Images per kind of anomaly.
        seed: Seed of all random numbers.
        size: Side in pixels that images are scaled to.
        simulation: What to simulate.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds fewer than two images or a broken one, or an option is bad.
    """
    check_number("--count", count, "[1, inf)", whole=True)
    check_number("--size", size, "[1, inf)", whole=True)
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output must be a .png file, got {output}")
    pool = load_images(images, size, max(count + 1, FOREGROUND_IMAGES))
    simulator = AnomalySimulator(simulation)
    simulator.fit(pool)
    normal, others = pool[:count], pool.roll(-1, dims=0)[:count]
    generator = torch.Generator().manual_seed(seed)
    sheet = draw_sheet(normal, {kind: simulator(normal, others, generator, kind) for kind in TITLES})
    write_atomically(output, lambda path: sheet.savefig(path, format="png", dpi=100))


def main(args: list[str] | None = None) -> None:
    """Command line of :func:`preview`."""
    parser = ArgumentParser(prog="python -m anomalib_slsg.simulation.preview")
    parser.add_function_arguments(preview, as_group=False, as_positional=False)
    try:
        preview(**parser.instantiate_classes(parser.parse_args(args)).as_dict())
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
