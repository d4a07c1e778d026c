"""Hits and misses of several models side by side, from the maps that ``run.py --keep_maps`` wrote.

``python -m benchmarks.accuracy.pictures --category tray --output tray.png`` draws, for each type of anomaly, the image
that the first model finds best and the one that it finds worst, and the normal image that alarms it most. Above each
map stands the share of the normal test images whose maps have a lower peak.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from anomalib.data import AnomalibDataModule
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from numpy.typing import NDArray

from anomalib_slsg.metrics.anomaly_maps import read_map
from anomalib_slsg.utils.files import write_atomically
from benchmarks.accuracy.data import make_datamodule
from benchmarks.accuracy.job import AccuracyJob
from benchmarks.accuracy.jobs import AccuracyJobs
from benchmarks.accuracy.matrix import read_matrix
from benchmarks.accuracy.rows import Rows

MATRIX = Path(__file__).parent / "short.yaml"
MODELS = ["SLSG Lite0 default", "PatchCore Lite0", "PaDiM Lite0"]
PEAK_SHARE = 100 / 256**2  # of a map's pixels, as in SLSG's image score
NORMAL = "normal"


class Picture(NamedTuple):
    """A test image.

    Args:
        path: Its file.
        pixels: (H, W, 3) in [0, 1].
        mask: (H, W), true where it is defective.
        normal: Whether it has no anomaly.
    """

    path: Path
    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    normal: bool

    @property
    def kind(self) -> str:
        """The type of anomaly, or ``NORMAL``."""
        return NORMAL if self.normal else self.path.parent.name


def read_pictures(datamodule: AnomalibDataModule) -> list[Picture]:
    """Read all test images."""
    datamodule.prepare_data()
    datamodule.setup()
    pictures = []
    for item in datamodule.test_data:
        pixels = item.image.permute(1, 2, 0).numpy()
        mask = np.zeros(pixels.shape[:2], bool) if item.gt_mask is None else item.gt_mask.squeeze().numpy().astype(bool)
        pictures.append(Picture(Path(item.image_path), pixels, mask, not item.gt_label))
    return pictures


def maps_of(job: AccuracyJob, pictures: list[Picture]) -> list[NDArray[np.floating]]:
    """Read a model's maps.

    Raises:
        FileNotFoundError: If there are none.
    """
    folder = job.maps_folder / job.key["category"] / "test"
    if not folder.is_dir():
        msg = (
            f"there are no maps of '{job.label}' in {folder}: run benchmarks.accuracy.run with --keep_maps, "
            "the same --work and a new file as --results, which has no row yet"
        )
        raise FileNotFoundError(msg)
    return [read_map(folder / picture.path.parent.name / f"{picture.path.stem}.tiff") for picture in pictures]


def peak(values: NDArray[np.floating]) -> float:
    """Average the highest pixels of a map."""
    number = max(1, round(PEAK_SHARE * values.size))
    return float(np.partition(values, -number, axis=None)[-number:].mean())


def choose(pictures: list[Picture], peaks: NDArray[np.floating]) -> list[tuple[str, int]]:
    """Choose rows: the most alarming normal image, then the best and the worst found of each type of anomaly.

    Args:
        pictures: Test images.
        peaks: The first model's, one for each image.

    Returns:
        Titles and places in ``pictures``.
    """
    kinds = [picture.kind for picture in pictures]
    rows = []
    for kind in sorted(set(kinds), key=lambda name: (name != NORMAL, name)):
        places = [place for place, name in enumerate(kinds) if name == kind]
        ordered = sorted(places, key=lambda place: -peaks[place])
        if kind == NORMAL:
            rows.append(("normal, highest", ordered[0]))
        else:
            rows += [(f"{kind}, best", ordered[0]), (f"{kind}, worst", ordered[-1])][: len(ordered)]
    return rows


def draw(pictures: list[Picture], maps: dict[str, list[NDArray[np.floating]]]) -> Figure:
    """Draw the chosen images with the maps of every model; the first one chooses."""
    peaks = {name: np.array([peak(values) for values in each]) for name, each in maps.items()}
    lowest = {name: float(np.median([np.median(values) for values in each])) for name, each in maps.items()}
    ranges = {name: (low, max(float(np.quantile(peaks[name], 0.95)), low + 1e-6)) for name, low in lowest.items()}
    rows = choose(pictures, next(iter(peaks.values())))
    normal = np.array([picture.normal for picture in pictures])
    figure = Figure(figsize=(2 * (1 + len(maps)), 2.2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1 + len(maps), squeeze=False)
    for line, (title, place) in zip(axes, rows, strict=True):
        line[0].imshow(pictures[place].pixels)
        if pictures[place].mask.any():
            line[0].contour(pictures[place].mask, levels=[0.5], colors="red", linewidths=1)
        line[0].set_ylabel(title.replace("_", " "), fontsize=8)
        line[0].set_title(pictures[place].path.name, fontsize=8)
        for axis, (name, each) in zip(line[1:], maps.items(), strict=True):
            low, high = ranges[name]
            axis.imshow(each[place], cmap="inferno", vmin=low, vmax=high)
            share = np.mean(peaks[name][normal] < peaks[name][place])
            axis.set_title(f"{name}\nabove {share:.0%} of normal", fontsize=8)
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def find_jobs(listed: list[AccuracyJob], data: str, category: str, models: list[str]) -> dict[str, AccuracyJob]:
    """Find the jobs whose maps are to be drawn.

    Args:
        listed: All jobs of the matrix.
        data: Name of the data.
        category: Their category.
        models: Names of models, or of those that are tested with parts left out.

    Returns:
        A job for each model.

    Raises:
        ValueError: If one of the names is not in the matrix.
    """
    chosen = [job for job in listed if (job.key["data"], job.key["category"]) == (data, category)]
    if not chosen:
        known = sorted({f"--data '{job.key['data']}' --category '{job.key['category']}'" for job in listed})
        msg = f"--data '{data}' --category '{category}' is not in the matrix, which has {', '.join(known)}"
        raise ValueError(msg)
    jobs = {
        name: replace(job, key={**job.key, "model": name})
        for job in chosen
        for name in (*job.model.get("left_out", {}), job.key["model"])
    }
    if unknown := sorted(set(models) - jobs.keys()):
        msg = f"--models: {unknown} are not among {sorted(jobs)}"
        raise ValueError(msg)
    return {name: jobs[name] for name in models}


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=MATRIX, help="the matrix of run.py")
    parser.add_argument("--image_size", type=int, help="side of the images, in place of the matrix's")
    parser.add_argument("--data_root", type=Path, default=Path("datasets"), help="folder above the data sets")
    parser.add_argument("--work", type=Path, default=Path("results") / "accuracy", help="the folder of run.py")
    parser.add_argument("--data", type=str, default="SyntheticLOCO", help="name of the data")
    parser.add_argument("--category", type=str, required=True, help="their category")
    parser.add_argument("--models", type=list[str], default=MODELS, help="names in the matrix; the first one chooses")
    parser.add_argument("--seed", type=int, default=1, help="of the training")
    parser.add_argument("--output", type=Path, required=True, help="PNG file to write")
    parsed = parser.parse_args()
    matrix = read_matrix(parsed.config, parsed.image_size)
    matrix["seeds"] = [parsed.seed]
    nothing = Rows(parsed.work / "no rows")  # so that every job is listed
    listed = AccuracyJobs(nothing, parsed.work, parsed.data_root).generate_jobs(matrix)
    jobs = find_jobs(listed, parsed.data, parsed.category, parsed.models)
    pictures = read_pictures(make_datamodule(next(iter(jobs.values())).data, parsed.data_root))
    figure = draw(pictures, {name: maps_of(job, pictures) for name, job in jobs.items()})
    write_atomically(parsed.output, lambda path: figure.savefig(path, format="png", dpi=100))


if __name__ == "__main__":
    main()
