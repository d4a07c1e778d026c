"""Time and memory of sPRO over the number of images.

``python -m benchmarks.speed.spro`` writes ``benchmarks/results/spro.csv`` and ``benchmarks/figures/spro.png``. Each
number of images is measured in a process of its own, on one core: maps of 256x256, masks of 1600x1280, all read from
files.
"""

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure

from benchmarks.common.charts import save_chart
from benchmarks.common.files import write_rows
from benchmarks.common.own_process import in_own_process
from benchmarks.common.paths import RESULTS

TASK = "benchmarks.speed.spro_task"
ONE_CORE = {"OMP_NUM_THREADS": "1"}
MAP_SIZE, MASK_SIZE = 256, (1280, 1600)
GROUPS = ("good", "logical_anomalies", "structural_anomalies")
# Different maps and masks; files of all images are links to these, so that the trees fit on any disk.
VARIANTS = 60
DEFECTS = [
    {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 20000, "relative_saturation": False},
    {"defect_name": "scratch", "pixel_value": 254, "saturation_threshold": 1.0, "relative_saturation": True},
]


def write_variants(folder: Path, generator: np.random.Generator) -> None:
    """Draw maps with a bright blob on smooth noise, and masks of the blob and of a bar across it."""
    height, width = MASK_SIZE
    cv2.imwrite(str(folder / "image.png"), np.full((height, width), 128, np.uint8))
    for variant in range(VARIANTS):
        x, y = (int(generator.integers(300, side - 300)) for side in (width, height))
        blob, bar = np.zeros((2, height, width), np.uint8)
        cv2.circle(blob, (x, y), int(generator.integers(40, 200)), 255, -1)
        cv2.rectangle(bar, (x - 150, y - 10), (x + 150, y + 10), 254, -1)
        for number, mask in enumerate((blob, bar)):
            cv2.imwrite(str(folder / f"mask{variant}_{number}.png"), mask)
        noise = cv2.GaussianBlur(generator.random((MAP_SIZE, MAP_SIZE)).astype(np.float32), (0, 0), 3)
        shown = cv2.resize(cv2.GaussianBlur(blob.astype(np.float32) / 255, (0, 0), 60), (MAP_SIZE, MAP_SIZE))
        np.save(folder / f"map{variant}.npy", noise + 0.2 * shown)


def write_tree(root: Path, variants: Path, number: int) -> None:
    """Write a tree of ``number`` test images, a third of them good, as links to the variants."""
    (root / "data" / "part").mkdir(parents=True)
    (root / "data" / "part" / "defects_config.json").write_text(json.dumps(DEFECTS))
    for index in range(number):
        group, name = GROUPS[index % 3], f"{index // 3:04d}"
        _link(variants / "image.png", root / "data" / "part" / "test" / group / f"{name}.png")
        _link(variants / f"map{index % VARIANTS}.npy", root / "maps" / "part" / "test" / group / f"{name}.npy")
        for mask in range(0 if group == "good" else 2):
            folder = root / "data" / "part" / "ground_truth" / group / name
            _link(variants / f"mask{index % VARIANTS}_{mask}.png", folder / f"{mask:03d}.png")


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.hardlink_to(source)


def draw(rows: list[dict[str, float]]) -> Figure:
    """Draw time per image and peak memory over the number of images."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    images = [row["images"] for row in rows]
    panels = {"milliseconds per image": 40, "peak memory growth in MiB": 400}
    for axes, (column, target) in zip(figure.subplots(1, 2), panels.items()):
        axes.plot(images, [row[column] for row in rows], marker="o")
        axes.axhline(target, color="grey", linestyle=":", label="target")
        axes.set(xlabel="images", ylabel=column, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=list[int], default=[100, 200, 500, 1000, 2000], help="numbers of images")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each number; the median counts")
    parser.add_argument("--results", type=Path, default=RESULTS / "spro.csv", help="file of rows")
    parsed = parser.parse_args()
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        variants = Path(name) / "variants"
        variants.mkdir()
        write_variants(variants, np.random.default_rng(0))
        for number in parsed.images:
            root = Path(name) / str(number)
            write_tree(root, variants, number)
            runs = [in_own_process(TASK, {"root": str(root)}, ONE_CORE) for _ in range(parsed.repeats)]
            seconds, mebibytes = (float(np.median([run[name] for run in runs])) for name in ("seconds", "peak_mib"))
            row = {"images": number, "milliseconds per image": round(1e3 * seconds / number, 1)}
            rows.append({**row, "peak memory growth in MiB": round(mebibytes)})
            print(rows[-1], flush=True)
    write_rows(parsed.results, list(rows[0]), rows)
    save_chart(draw(rows), parsed.results)


if __name__ == "__main__":
    main()
