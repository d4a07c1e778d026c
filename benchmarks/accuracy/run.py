"""Accuracy of SLSG beside anomalib's models: a matrix of models, data and seeds.

``python -m benchmarks.accuracy.run --config benchmarks/accuracy/paper.yaml --data_root datasets`` trains and tests
every combination that has no row yet in ``benchmarks/results/accuracy.csv`` and appends it there; an interrupted run
goes on where it was, with SLSG even inside a training, and a job that fails ends it and is named. ``short.yaml`` is a
matrix for a machine without GPU. The table ``accuracy.md`` beside it is made of all rows, as is the chart of another
file; ``benchmarks/figures`` has the one that documents show.

While PatchCore chooses its coreset, its arrays are fresh memory at every step. On Linux, with
``THP_MEM_ALLOC_ENABLE=1`` in the environment, PyTorch asks for it in huge pages, and 305 images of 256 px take a third
of the time, 40 minutes on a core instead of some two hours. Arrays just below 32 MiB, those of about 30,000 patches,
fragment the heap where the C library keeps them there, 10 MB more at every step; ``MALLOC_MMAP_THRESHOLD_=4194304``
has it give them back, for runs of PatchCore alone, since SLSG trains slower so.

``--suite mvtec_ad``, ``btad`` or ``mvtec_loco`` measures a whole data set: all of its categories that are there, by
the models of ``suite_models.yaml``. ``accuracy_mvtec_ad.md``, and so on, is the paper's table with columns for them.

anomalib's own benchmark refuses models of other packages; this one uses its job and runner classes.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from benchmarks.accuracy.jobs import AccuracyJobs
from benchmarks.accuracy.matrix import read_matrix
from benchmarks.accuracy.report import report
from benchmarks.accuracy.rows import Rows
from benchmarks.accuracy.runners import make_runner
from benchmarks.accuracy.suite import SUITES, data_of, read_suite
from benchmarks.accuracy.suite_report import suite_report
from benchmarks.common.paths import RESULTS

MATRIX, SUITE_MODELS = (Path(__file__).parent / name for name in ("paper.yaml", "suite_models.yaml"))


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="the matrix, else paper.yaml, with --suite suite_models.yaml")
    parser.add_argument("--suite", choices=SUITES, help="all categories of a data set, in place of the matrix's data")
    parser.add_argument("--image_size", type=int, help="side of the images, in place of the matrix's")
    parser.add_argument("--seeds", type=list[int], help="in place of the matrix's")
    parser.add_argument("--data_root", type=Path, default=Path("datasets"), help="folder above the data sets")
    parser.add_argument("--results", type=Path, default=RESULTS / "accuracy.csv", help="file of rows")
    parser.add_argument("--work", type=Path, default=Path("results") / "accuracy", help="folder for logs and maps")
    parser.add_argument("--only", type=list[str], default=[], help="names of models, data, categories, data/category")
    parser.add_argument("--keep_maps", action="store_true", help="write the raw anomaly maps below the work folder")
    parser.add_argument(
        "--usual_backbones", action="store_true", help="models with the weights that they load by default"
    )
    parser.add_argument(
        "--procedural_textures", action="store_true", help="no DTD: SLSG draws the textures of simulated anomalies"
    )
    parser.add_argument("--accelerator", type=str, default="auto", help="Lightning's accelerator")
    parser.add_argument("--devices", type=int, default=1, help="jobs at a time, each on a device of its own")
    parsed = parser.parse_args()
    config = parsed.config or (SUITE_MODELS if parsed.suite else MATRIX)
    matrix = read_matrix(config, parsed.image_size, parsed.seeds, parsed.procedural_textures)
    suite = read_suite(parsed.suite) if parsed.suite else None
    if suite is not None:
        matrix["data"], missing = data_of(suite, parsed.data_root)
        for sentence in missing:
            print(sentence)
    rows = Rows(parsed.results)
    jobs = AccuracyJobs(
        rows,
        work=parsed.work,
        data_root=parsed.data_root,
        accelerator=parsed.accelerator,
        only=parsed.only,
        keep_maps=parsed.keep_maps,
        usual_backbones=parsed.usual_backbones,
    )
    try:
        make_runner(jobs, parsed.devices).run(matrix)
    finally:
        report(rows, parsed.results)
        if suite is not None:
            file = parsed.results.with_name(f"{parsed.results.stem}_{parsed.suite}.md")
            if suite_report(suite, matrix, rows.read(), file):
                print(f"The paper's table with these results: {file}")


if __name__ == "__main__":
    main()
