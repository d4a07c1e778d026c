"""Ways to run a model. Another one plugs in by one function with the decorator ``backend``.

Libraries are imported where they are used: a process that measures one of them shall hold no other.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from anomalib.models import AnomalibModule

Runner = Callable[[NDArray[np.float32]], object]
Shape = tuple[int, int, int, int]
Exporter = Callable[["AnomalibModule", Path, Shape], Path]
Loader = Callable[[Path, Shape], Runner]

CALIBRATION_IMAGES = 4  # enough for the time that the result takes
BACKENDS: dict[tuple[str, str], tuple[Exporter, Loader]] = {}


def backend(name: str, precision: str, export: Exporter) -> Callable[[Loader], Loader]:
    """Register a way to run models.

    Args:
        name: Name of the library.
        precision: Type that it computes in.
        export: Writes a model for batches of a shape below a folder, unless it is there, and tells the file.

    Returns:
        Decorator of the function that loads the file and gives what turns a batch of images of the shape told, in
        [0, 1], into results.
    """

    def register(load: Loader) -> Loader:
        BACKENDS[name, precision] = export, load
        return load

    return register


def to_torch(model: "AnomalibModule", folder: Path, _shape: Shape) -> Path:
    """Export as users do."""
    exported = folder / "weights" / "torch" / "model.pt"
    return exported if exported.exists() else model.to_torch(folder)


def to_openvino(model: "AnomalibModule", folder: Path, shape: Shape) -> Path:
    """Export as users do, for one image size; for any batch, unless the model's graph works for one batch only."""
    from anomalib.models import Patchcore

    exported = folder / "weights" / "openvino" / "model.xml"
    fixed = {"dynamic_shapes": ({0: shape[0]},)} if isinstance(model, Patchcore) else None
    return exported if exported.exists() else model.to_openvino(folder, input_size=shape[2:], onnx_kwargs=fixed)


def to_openvino_int8(model: "AnomalibModule", folder: Path, shape: Shape) -> Path:
    """Quantise after training, as ``anomalib export --compression_type INT8_PTQ`` does, with noise for images."""
    import nncf
    import openvino

    from anomalib_slsg import Slsg
    from anomalib_slsg.deployment.quantization import quantization_settings

    generator = np.random.default_rng(0)
    exported = folder / "weights" / "openvino_int8" / "model.xml"
    if not exported.exists():
        graph = openvino.Core().read_model(to_openvino(model, folder, shape))
        batch = 1 if graph.is_dynamic() else shape[0]
        images = [generator.random((batch, *shape[1:]), np.float32) for _ in range(-(-CALIBRATION_IMAGES // batch))]
        settings = quantization_settings(graph) if isinstance(model, Slsg) else {}
        quantised = nncf.quantize(graph, nncf.Dataset(images), subset_size=len(images), **settings)
        openvino.save_model(quantised, exported, compress_to_fp16=False)
    return exported


@backend("torch", "fp32", to_torch)
def torch_fp32(exported: Path, _shape: Shape) -> Runner:
    """32 bits."""
    return _torch_runner(exported, bfloat16=False)


@backend("torch", "bf16", to_torch)
def torch_bf16(exported: Path, _shape: Shape) -> Runner:
    """bfloat16 by itself in SLSG, by autocast with channels last in the others."""
    return _torch_runner(exported, bfloat16=True)


def _torch_runner(exported: Path, bfloat16: bool) -> Runner:
    import torch

    from anomalib_slsg import Slsg
    from benchmarks.common.slsg import set_bfloat16

    os.environ["TRUST_REMOTE_CODE"] = "1"  # torch exports are pickles; this one was written above
    model = torch.load(exported, weights_only=False)["model"].eval()
    if isinstance(model, Slsg):
        set_bfloat16(model, bfloat16)
    else:
        model = model.to(memory_format=torch.channels_last)

    def run(images: NDArray[np.float32]) -> object:
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16 and not isinstance(model, Slsg))
        with torch.inference_mode(), autocast:
            return model(torch.from_numpy(images))

    return run


@backend("openvino", "fp32", to_openvino)
def openvino_fp32(exported: Path, shape: Shape) -> Runner:
    """32 bits."""
    return _openvino_runner(exported, shape, "f32")


@backend("openvino", "bf16", to_openvino)
def openvino_bf16(exported: Path, shape: Shape) -> Runner:
    """bfloat16, OpenVINO's own choice on processors that multiply it."""
    return _openvino_runner(exported, shape, "bf16")


@backend("openvino", "int8", to_openvino_int8)
def openvino_int8(exported: Path, shape: Shape) -> Runner:
    """8 bits in convolutions and matrix products, OpenVINO's own choice for the rest."""
    return _openvino_runner(exported, shape, None)


def _openvino_runner(exported: Path, shape: Shape, precision: str | None) -> Runner:
    import openvino

    core = openvino.Core()
    graph = core.read_model(exported)
    if graph.is_dynamic():
        graph.reshape(list(shape))
    options = {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    request = core.compile_model(graph, "CPU", options).create_infer_request()
    return lambda images: request.infer([images], share_inputs=True, share_outputs=True)


def start(backend_name: str) -> None:
    """Load a backend's libraries and let them compute once, so that what follows is the model's memory alone."""
    if backend_name == "openvino":
        import openvino
        from openvino import opset13

        image = opset13.parameter([1, 3, 8, 8], np.float32)
        kernel = opset13.constant(np.ones((4, 3, 3, 3), np.float32))
        convolution = opset13.convolution(image, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        openvino.compile_model(openvino.Model([convolution], [image], "start"), "CPU")(
            np.ones((1, 3, 8, 8), np.float32)
        )
    else:
        import torch

        from anomalib_slsg import Slsg  # noqa: F401  torch exports refer to it

        with torch.inference_mode():
            torch.nn.Conv2d(3, 4, kernel_size=3)(torch.ones(1, 3, 8, 8))


def available() -> list[tuple[str, str]]:
    """List the ways that make sense on this processor."""
    from anomalib_slsg.utils.precision import cpu_multiplies_bfloat16

    return [key for key in BACKENDS if key[1] != "bf16" or cpu_multiplies_bfloat16()]
