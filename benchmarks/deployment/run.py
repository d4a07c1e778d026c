"""What a trained SLSG loses in each form of deployment.

``python -m benchmarks.deployment.run --checkpoint model.ckpt --data anomalib.data.MVTecAD --data.category bottle``
exports the model as users do and prints image AUROC on the test set, in torch and in OpenVINO. With a folder of one's
own, give the ``--data.seed`` of the training, or most test images are ones that it has seen.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from anomalib.data import AnomalibDataModule
from anomalib.deploy import CompressionType
from jsonargparse import ArgumentParser
from torch import Tensor

from anomalib_slsg import Slsg
from anomalib_slsg.utils.auroc import area_under_roc
from benchmarks.common.slsg import set_bfloat16

Scorer = Callable[[Tensor], float]
# compression of the file and OpenVINO's precision; None leaves it to OpenVINO
OPENVINO_FORMS: dict[str, tuple[CompressionType | None, str | None]] = {
    "openvino, FP32": (None, "f32"),
    "openvino, FP16 file, f32": (CompressionType.FP16, "f32"),
    "openvino, FP32 file, bf16": (None, "bf16"),
    "openvino, INT8": (CompressionType.INT8_PTQ, None),
}


def scorers(
    model: Slsg, datamodule: AnomalibDataModule, size: tuple[int, int] | None, folder: Path
) -> Iterator[tuple[str, Scorer]]:
    """Give each form's image score; the first is the reference.

    Args:
        model: The trained model.
        datamodule: Its images quantise.
        size: Height and width of the test images; left out if they differ.
        folder: Where exports go.

    Yields:
        Name of the form, and what scores a batch of one image.
    """
    for name, bfloat16 in (("torch, fp32", False), ("torch, bf16", True)):
        set_bfloat16(model, bfloat16)
        yield name, lambda image: float(model(image).pred_score)
    for number, (name, (compression, precision)) in enumerate(OPENVINO_FORMS.items()):
        target = folder / str(number)
        with redirect_stdout(sys.stderr):  # PyTorch tells of its exports in between the table's rows
            path = model.to_openvino(target, input_size=size, compression_type=compression, datamodule=datamodule)
        yield name, _openvino_scorer(path, precision)


def _openvino_scorer(path: Path, precision: str | None) -> Scorer:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    compiled = openvino.compile_model(path, "CPU", options)
    return lambda image: float(np.squeeze(compiled(image.numpy())["pred_score"]))


def main() -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a trained model")
    parser.add_subclass_arguments(AnomalibDataModule, "data", required=True)
    parsed = parser.parse_args()
    datamodule: AnomalibDataModule = parser.instantiate_classes(parsed).data
    datamodule.eval_batch_size = 1
    datamodule.prepare_data()
    datamodule.setup()
    model = Slsg.load_from_checkpoint(parsed.checkpoint, map_location="cpu", visualizer=False).eval()
    images = [(batch.image, bool(batch.gt_label)) for batch in datamodule.test_dataloader()]
    labels = torch.tensor([label for _, label in images])
    sizes = {tuple(image.shape[-2:]) for image, _ in images}
    size = sizes.pop() if len(sizes) == 1 else None
    print(f"{parsed.checkpoint.name}: {len(images)} test images\n", file=sys.stderr)
    print("| form | image AUROC | change | largest change of a score |\n| --- | ---: | ---: | ---: |")
    reference: Tensor | None = None
    with torch.inference_mode(), TemporaryDirectory() as folder:
        for name, score in scorers(model, datamodule, size, Path(folder)):
            scores = torch.tensor([score(image) for image, _ in images])
            reference = scores if reference is None else reference
            area, before = (float(area_under_roc(values[~labels], values[labels])) for values in (scores, reference))
            largest = float((scores - reference).abs().max())
            print(f"| {name} | {area:.4f} | {area - before:+.4f} | {largest:.4f} |", flush=True)


if __name__ == "__main__":
    main()
