"""Models of all kinds behind one call: checkpoints and exports."""

import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_slsg.lightning_model import Slsg
from anomalib_slsg.normality.nearest import NAME, NormalExamples, summarise
from anomalib_slsg.normality.options import MEASURES

HASH_DIGITS = 12


class Found(NamedTuple):
    """What a model says of an image.

    Attributes:
        score: Probability of an anomaly.
        anomaly_map: Probability of each pixel, of the model's own size (H, W), float32.
        opinions: Log odds by each opinion; empty for exports.
        milliseconds: How long it took.
    """

    score: float
    anomaly_map: np.ndarray
    opinions: dict[str, float]
    milliseconds: float


class TrainedModel:
    """A model in a file.

    Args:
        file: A checkpoint (.ckpt), or an export (.pt, .onnx, .xml).

    Attributes:
        threshold: Score above which an image is anomalous.
        hash: As of :func:`hash_of`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else.
    """

    def __init__(self, file: Path) -> None:
        kinds: dict[str, Callable[[Path], Callable[[Tensor], Any]]] = {
            ".ckpt": self._checkpoint,
            ".pt": _torch_export,
            ".onnx": _openvino_model,
            ".xml": _openvino_model,
        }
        if file.suffix.lower() not in kinds:
            raise ValueError(f"'{file}' is no model; give a checkpoint (.ckpt) or an export (.pt, .onnx, .xml)")
        if not file.is_file():
            raise FileNotFoundError(f"the model '{file}' does not exist")
        self.threshold = 0.5  # of exports that do not say it; of others that were given one, their labels tell
        self._opinions: dict[str, float] = {}
        self._nearest: Callable[[Tensor], str | None] = lambda _image: None
        self.hash = hash_of(file)
        try:
            self._call = kinds[file.suffix.lower()](file)
        except RuntimeError as error:
            msg = f"'{file}' is broken, or no model that 'slsg train' or 'slsg export' of this version wrote"
            raise ValueError(msg) from error

    def __call__(self, image: Tensor) -> Found:
        """Judge an image (3, H, W) of any size, in [0, 1].

        Raises:
            ValueError: If an export has a threshold of its own, which it does not say.
        """
        self._opinions.clear()
        start = time.perf_counter()
        said = self._call(image[None])
        score, anomaly_map = (_array(value) for value in (said.pred_score, said.anomaly_map))
        milliseconds = 1000 * (time.perf_counter() - start)
        found = Found(
            float(score.item()), anomaly_map.reshape(anomaly_map.shape[-2:]), {**self._opinions}, milliseconds
        )
        if said.pred_label is not None and bool(_array(said.pred_label).item()) != (found.score > self.threshold):
            raise ValueError("this export has a threshold of its own; judge with the checkpoint it was made of")
        return found

    def nearest(self, image: Tensor) -> str | None:
        """Find the training image that is most like an image (3, H, W).

        Returns:
            Its file; ``None`` for exports, and for checkpoints beside which no training images are noted.
        """
        return self._nearest(image[None])

    @torch.no_grad()
    def _judge(self, model: Slsg, images: Tensor) -> Any:
        """What the module's own ``forward`` does, noting the opinions on the way."""
        prepared = model.pre_processor(images) if model.pre_processor else images
        verdict = model.model.judge(prepared)
        if verdict.segnet is not None:
            self._opinions["SegNet"] = float(verdict.segnet.image.item())
        concluded = model.model.conclude(verdict)
        return model.post_processor(concluded) if model.post_processor else concluded

    def _checkpoint(self, file: Path) -> Callable[[Tensor], Any]:
        model = model_in(file)
        device = model.device
        post_processor: Any = model.post_processor
        if post_processor is not None:
            self.threshold = float(post_processor.image_threshold)
        for name in MEASURES:
            if (measure := getattr(model.model.normality, name, None)) is not None:
                measure.register_forward_hook(partial(self._note, name))
        normality, prepare = model.model.normality, model.pre_processor or nn.Identity()
        examples = None if normality is None else NormalExamples.read(file.with_name(NAME), self.hash)
        if normality is not None and examples is not None:

            def nearest(images: Tensor) -> str:
                prepared = model.model.normalise(prepare(images.to(device)))
                return examples.nearest(summarise(prepared, normality.backbone))

            self._nearest = nearest
        return lambda images: self._judge(model, images.to(device))

    def _note(self, name: str, _measure: nn.Module, _inputs: Any, output: Any) -> None:
        self._opinions[name] = float((output[0] if isinstance(output, tuple) else output).item())


def hash_of(file: Path) -> str:
    """The first digits of the SHA-256 of a model's file; of an ``.xml``, of its weights, too."""
    digest = hashlib.sha256(file.read_bytes())
    if (weights := file.with_suffix(".bin")).is_file() and file.suffix.lower() == ".xml":
        digest.update(weights.read_bytes())
    return digest.hexdigest()[:HASH_DIGITS]


def checkpoint_in(file: Path) -> Slsg:
    """Load a checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else.
    """
    if file.suffix.lower() != ".ckpt":
        raise ValueError(f"'{file}' is no checkpoint (.ckpt)")
    if not file.is_file():
        raise FileNotFoundError(f"the model '{file}' does not exist")
    model: Slsg = Slsg.load_from_checkpoint(file, map_location="cpu")
    return model


def model_in(file: Path) -> Slsg:
    """Load a checkpoint to judge with, onto the GPU where there is one, and warn if it has not been trained.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else.
    """
    model = checkpoint_in(file).to("cuda" if torch.cuda.is_available() else "cpu").eval()
    model.warn_if_untrained()
    return model


def _torch_export(file: Path) -> Callable[[Tensor], Any]:
    from anomalib.deploy import TorchInferencer

    if os.environ.get("TRUST_REMOTE_CODE", "0").lower() not in {"1", "true"}:
        raise ValueError(
            f"'{file}' is a program that loading runs: put TRUST_REMOTE_CODE=1 before the command if you trust "
            "whoever made it, or give the checkpoint"
        )
    return TorchInferencer(file).predict


class _Outputs(NamedTuple):
    pred_score: np.ndarray
    pred_label: np.ndarray
    anomaly_map: np.ndarray


def _openvino_model(file: Path) -> Callable[[Tensor], Any]:
    try:
        import openvino
        from openvino.frontend import FrontEndManager, GeneralFailure
    except ModuleNotFoundError as error:
        raise ValueError(f"'{file}' needs OpenVINO: pip install \"anomalib-slsg[openvino]\"") from error
    is_onnx = file.suffix.lower() == ".onnx"
    # of a file that is no model, all readers would complain
    reader = FrontEndManager().load_by_framework("onnx" if is_onnx else "ir")
    # anomalib's inferencer would leave a cache in the present folder; ONNX has no marks of what may not be rounded
    settings = {"INFERENCE_PRECISION_HINT": "f32"} if is_onnx else {}
    try:
        compiled = openvino.Core().compile_model(reader.convert(reader.load(str(file))), "CPU", settings)
    except GeneralFailure as error:
        raise RuntimeError(str(error)) from error
    names = {name for output in compiled.outputs for name in output.names}
    if missing := set(_Outputs._fields) - names:
        raise ValueError(f"'{file}' is no export of anomalib: it has no {', '.join(sorted(missing))}")

    def call(images: Tensor) -> _Outputs:
        results = compiled(images.numpy())
        return _Outputs(*(results[name] for name in _Outputs._fields))

    return call


def _array(value: Any) -> np.ndarray:
    return value.detach().float().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
