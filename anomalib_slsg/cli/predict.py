"""``slsg predict``: judges images with a model of any kind."""

import time
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from anomalib_slsg.cli.folders import new_folder


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint (.ckpt) or export (.pt, .onnx, .xml)")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="images, and folders of them")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results; else results/<images>")
    parser.add_argument("--fail_on_anomaly", action="store_true", help="exit code 3 where an image is anomalous")


def run(options: Namespace) -> int:
    """Judge the images.

    Returns:
        0; 2 if an image could not be read; 3 if one is anomalous and that was asked for.

    Raises:
        OSError: If there are no such files, or results cannot be written.
        ValueError: If there is no image, or the model is of another kind.
    """
    from anomalib_slsg.cli.judging import common_folder, find_images, judge_images
    from anomalib_slsg.cli.models import TrainedModel
    from anomalib_slsg.cli.report import describe_run

    given: list[Path] = options.images
    images = find_images(given)
    model = TrainedModel(options.model)
    first = given[0].resolve()
    output = new_folder(options.output or Path("results") / (first.name if first.is_dir() else first.stem))
    start = time.monotonic()
    judged, broken = judge_images(model, images, common_folder(given), output)
    describe_run(output, options.model, time.monotonic() - start)
    anomalous = sum(image.verdict == "anomalous" for image in judged)
    print(f"{anomalous} of {len(judged)} images are anomalous. See '{output}'; a page of it: slsg report {output}")
    for sentence in broken:
        print(f"Not judged: {sentence}")
    if broken:
        return 2
    return 3 if options.fail_on_anomaly and anomalous else 0
