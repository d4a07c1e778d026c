"""Models from the entries of a matrix."""

from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from anomalib.metrics import Evaluator, F1Score
from anomalib.models import AnomalibModule
from anomalib.post_processing import PostProcessor
from jsonargparse import ArgumentParser
from torch import nn

from anomalib_slsg.networks.weights import packaged_weights
from benchmarks.accuracy.matrix import is_slsg


def make_model(entry: dict[str, Any], image_size: tuple[int, int], seed: int) -> AnomalibModule:
    """Build a model that keeps raw scores; one whose scores are probabilities measures F1 at 0.5 by itself.

    Args:
        entry: ``class_path``, ``init_args`` and perhaps ``feature_weights``, the backbone whose weights, which a
            package carries, anomalib's own models start from.
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
        file = packaged_weights(entry["feature_weights"])
        if file is None:
            msg = f"no installed package carries the weights of '{entry['feature_weights']}'"
            raise ModuleNotFoundError(msg)
        load_features(model, file)
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
