"""A matrix of models, data and seeds, which a YAML file describes."""

from pathlib import Path
from typing import Any

import yaml

from benchmarks.common.slsg import draws_textures, merge, read_config, training_length, without_dtd

TEXTURES = ", procedural textures"  # ends the schedule of models whose simulated anomalies did not have DTD's


def read_matrix(
    path: Path, image_size: int | None = None, seeds: list[int] | None = None, procedural_textures: bool = False
) -> dict[str, Any]:
    """Read a matrix of models, data and seeds.

    Args:
        path: YAML file.
        image_size: Side of the images, in place of the file's.
        seeds: In place of the file's.
        procedural_textures: Have SLSG draw textures where a configuration would fetch DTD.

    Returns:
        The matrix. Models with a ``config``, a list such as ``[model/fast]``, have the options of these files of
        ``configs``, changed by their own.
    """
    matrix = yaml.safe_load(path.read_text(encoding="utf-8"))
    for model in matrix.get("models", []):
        for name in reversed(model.pop("config", [])):
            model["init_args"] = merge(read_config(name), model.get("init_args") or {})
        if procedural_textures and is_slsg(model):
            model["init_args"] = without_dtd(model.get("init_args") or {})
    if image_size is not None:
        matrix["image_size"] = [image_size] * 2
    if seeds is not None:
        matrix["seeds"] = seeds
    return matrix


def is_slsg(entry: dict[str, Any]) -> bool:
    """Tell whether a model's entry is one of SLSG."""
    return str(entry["class_path"]).endswith("Slsg")


def schedule(entry: dict[str, Any], image_size: tuple[int, int]) -> str:
    """Tell in a few words how a model is trained, and whether by textures that are not the paper's."""
    size = f"{image_size[0]} px" if image_size[0] == image_size[1] else f"{image_size[0]}x{image_size[1]} px"
    if not is_slsg(entry):
        return size
    options = entry.get("init_args") or {}
    epochs, steps = training_length(options, entry.get("trainer", {}).get("max_steps"))
    if steps == 0:
        return f"{size}, nothing trained"
    return f"{size}, {epochs} epochs + {steps}" + (TEXTURES if draws_textures(options) else "")
