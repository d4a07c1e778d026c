"""The anomaly simulator beside anomalib's ``PerlinAnomalyGenerator``, on the same batch and with the same textures.

``python -m benchmarks.speed.simulation`` times both in one interleaved run: every image gets an anomaly, textures come
from the same folder, JPEG files of the size usual in DTD, and go through three random augmentations. Rows land in
``benchmarks/results/simulation_speed.csv``.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from jsonargparse import ArgumentParser

from anomalib_slsg.simulation import AnomalySimulator, SimulationOptions
from anomalib_slsg.simulation.texture import procedural_textures
from benchmarks.common.paths import RESULTS
from benchmarks.common.progress import progress_bar
from benchmarks.speed.measurements import Measurement, Results
from benchmarks.speed.timing import Call, interleave, timed

TEXTURES, TEXTURE_SIZE = 32, (480, 640)
AUGMENTATIONS = 3
OURS, TEXTURES_ONLY, THEIRS = "AnomalySimulator", "AnomalySimulator, textures only", "PerlinAnomalyGenerator"
TURN = 3


def calls(batch: int, size: int, textures: Path) -> dict[object, Call]:
    """Give what is timed.

    Args:
        batch: Images at a time.
        size: Their side.
        textures: Folder of texture images.

    Returns:
        Calls by name; each simulates an anomaly in every image.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * batch, 3, size, size, generator=generator)
    simulator = AnomalySimulator(SimulationOptions(dtd_dir=str(textures), photometric_operations=AUGMENTATIONS))
    simulator.fit(images)
    simulator.prepare((size, size))
    normal, others = images.chunk(2)
    return {
        OURS: partial(simulator, normal, others, generator),
        TEXTURES_ONLY: partial(simulator, normal, others, generator, "texture"),
        THEIRS: partial(PerlinAnomalyGenerator(textures, probability=1.0), normal),
    }


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8, help="images at a time")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each")
    parser.add_argument("--results", type=Path, default=RESULTS / "simulation_speed.csv", help="file of rows")
    parsed = parser.parse_args()
    torch.manual_seed(0)
    with TemporaryDirectory() as folder, progress_bar() as progress:
        drawn = procedural_textures(TEXTURES, TEXTURE_SIZE, torch.Generator().manual_seed(0))
        for index, texture in enumerate((255 * drawn).round().byte().permute(0, 2, 3, 1).numpy()):
            cv2.imwrite(f"{folder}/{index}.jpg", texture)
        durations = interleave(calls(parsed.batch, parsed.size, Path(folder)), parsed.rounds, TURN, progress)
    results = Results(parsed.results)
    rows = {
        name: timed(Measurement(f"simulation {parsed.size}", str(name), "torch", "fp32", parsed.batch), seconds)
        for name, seconds in durations.items()
    }
    results.add(*rows.values())
    print(f"Machine: {results.machine}")
    for name, row in rows.items():
        times = (rows[THEIRS].median_ms or 0) / (row.median_ms or 1)
        print(f"{name}: {row.median_ms} ms for {row.batch} images (95 %: {row.p95_ms}), {times:.1f} times as fast")


if __name__ == "__main__":
    main()
