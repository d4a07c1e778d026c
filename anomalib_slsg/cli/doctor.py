"""``slsg doctor``: what this machine has, and whether a model can be fitted on it."""

import contextlib
import io
import platform
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from jsonargparse import ArgumentParser, Namespace

from anomalib_slsg.cli.report import versions

IMAGES, SIDE = 12, 64  # of the self test
SELF_TEST = (
    *("--minutes", "0", "--image_size", str(SIDE), "--model.backbone", "test_resnet"),
    *("--model.encoder_weights", "null", "--model.normality.backbone", "test_resnet"),
    *("--model.normality.encoder_weights", "null"),
)


def add_arguments(parser: ArgumentParser) -> None:
    """There are none."""


def run(_options: Namespace) -> int:
    """Look, and say what was found.

    Returns:
        0, or 2 if the default backbone has no weights here or the self test fails.
    """
    import torch

    from anomalib_slsg.networks.weights import load_encoder_weights, packaged_weights
    from anomalib_slsg.normality.backbone import FrozenBackbone
    from anomalib_slsg.normality.options import NormalityOptions
    from anomalib_slsg.utils.precision import fast_autocast

    print(f"Python {platform.python_version()}, {platform.platform()}")
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    print(f"Devices: {', '.join([*devices, f'processor with {torch.get_num_threads()} threads'])}")
    fast = isinstance(fast_autocast(torch.zeros(1)), torch.autocast)
    print(f"bfloat16: {'fast on this processor, and used' if fast else 'not fast on this processor, and not used'}")
    print(f"Free disk: {shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB in the present folder")
    backbone = NormalityOptions().backbone
    try:
        load_encoder_weights(FrozenBackbone(backbone), "imagenet", "model.encoder_weights")
        print(f"Weights of {backbone}: found, {packaged_weights(backbone) or 'in the cache of the model hub'}")
    except (ValueError, OSError) as error:
        print(f"Weights of {backbone}: {' '.join(str(error).split())}")
        return 2
    return _self_test()


def _self_test() -> int:
    """Fit a tiny model to drawn images and judge them."""
    from anomalib_slsg.cli.main import main

    with TemporaryDirectory() as folder:
        draw_images(Path(folder) / "images" / "good")
        with contextlib.redirect_stdout(io.StringIO()):
            code = main(["train", f"{folder}/images", "--output", f"{folder}/out", *SELF_TEST])
    print(f"Self test: {'a tiny model was fitted and has judged' if code == 0 else 'failed, see above'}")
    return code


def draw_images(folder: Path) -> None:
    """Draw images of a noisy disc."""
    import cv2
    import numpy as np

    from anomalib_slsg.utils.pictures import write_png

    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        image = np.full((SIDE, SIDE, 3), 200, np.uint8)
        cv2.circle(image, (SIDE // 2, SIDE // 2), SIDE // 4, (60, 120, 40), -1)
        noisy = (image + generator.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
        write_png(folder / f"{number}.png", noisy)
