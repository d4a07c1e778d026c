"""Data modules from the entries of a matrix."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule
from anomalib.data.utils import LabelName
from filelock import FileLock
from jsonargparse import ArgumentParser


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
    with FileLock(lock):
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
