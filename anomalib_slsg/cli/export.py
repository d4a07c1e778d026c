"""``slsg export``: writes a checkpoint for other programs."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from jsonargparse import ArgumentParser, Namespace

from anomalib_slsg.cli.folders import new_folder

FORMATS = ("openvino", "onnx", "torch")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint (.ckpt)")
    parser.add_argument("--format", choices=FORMATS, required=True, help="what for")
    parser.add_argument("--int8", action="store_true", help="round SegNet to 8 bits, for OpenVINO")
    parser.add_argument("--calibrate", type=Path, default=None, metavar="FOLDER", help="good images, for --int8")
    parser.add_argument("--output", type=Path, default=None, help="folder of the model; else results/<model>_<format>")


def run(options: Namespace) -> int:
    """Export.

    Returns:
        0.

    Raises:
        OSError: If there is no such file, or the model cannot be written.
        ValueError: If options contradict each other, or the file is no checkpoint.
    """
    from anomalib_slsg.cli.models import checkpoint_in
    from anomalib_slsg.deployment.whole_files import LOADERS

    if options.int8 and options.format != "openvino":
        raise ValueError("--int8 is for --format openvino only")
    if options.int8 != (options.calibrate is not None):
        raise ValueError("--int8 and --calibrate belong together: the folder's good images show which values occur")
    datamodule = None
    if options.calibrate is not None:
        from anomalib_slsg.cli.data import good_images

        datamodule = good_images(options.calibrate)
    model = checkpoint_in(options.model)
    output = new_folder(options.output or Path("results") / f"{options.model.stem}_{options.format}")
    with TemporaryDirectory(prefix=".export.", dir=output) as folder:  # anomalib puts the file two folders deeper
        if options.format == "torch":
            file = model.to_torch(folder)
        elif options.format == "onnx":
            file = model.to_onnx(folder)
        else:
            from anomalib.deploy import CompressionType

            compression = CompressionType.INT8_PTQ if options.int8 else None
            file = model.to_openvino(folder, compression_type=compression, datamodule=datamodule)
        for each in file.parent.iterdir():
            shutil.move(each, output / each.name)
    target = output / file.name
    print(f"The model is '{target}'. Load it with {LOADERS[target.suffix]}.")
    print(f"Try it: slsg predict {target} IMAGES")
    return 0
