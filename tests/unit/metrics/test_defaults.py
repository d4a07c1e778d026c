"""Metrics that trees of MVTec LOCO's format get by themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.metrics import AUROC, Evaluator
from anomalib.pre_processing import PreProcessor
from torch import nn
from torchmetrics import Metric
from torchvision.transforms.v2 import CenterCrop, Compose, Resize, Transform

from anomalib_slsg.metrics import AUSPRO, AnomalyTypeAUROC
from anomalib_slsg.metrics.defaults import replace_loco_metrics
from tests.support.training import drawn_loco, drawn_parts
from tests.support.trees import copy_loco_tree


def _datamodule(source: Path, root: Path, folders: list[str], config: bool) -> MVTecLOCO:
    copy_loco_tree(source, root, config=[] if config else None, kinds=folders)
    datamodule = drawn_loco(root)
    datamodule.setup()
    return datamodule


def _replace(added: list[Metric], evaluator: Any, module: Any, transform: Transform | None = None) -> list[Metric]:
    """Add metrics for a data module's test set, or for none, and a model with such a pre-processor."""
    model = nn.Module()
    model.pre_processor = PreProcessor(transform)
    loaders = None if module is None else module.test_dataloader()
    return replace_loco_metrics(added, evaluator, model, loaders, torch.device("cpu"))


def _names(evaluator: Evaluator) -> list[str]:
    return [metric.name for metric in evaluator.test_metrics]


@pytest.mark.parametrize("config", [True, False], ids=["with configuration", "without"])
@pytest.mark.parametrize(
    ("folders", "kinds"),
    [
        (["logical_anomalies", "structural_anomalies"], ["logical", "structural", "mean"]),
        (["logical_anomalies"], ["logical"]),
        (["structural_anomalies"], ["structural"]),
    ],
    ids=str,
)
def test_loco_trees_get_the_metrics_of_their_types(
    mvtec_loco_tree: Path, tmp_path: Path, folders: list[str], kinds: list[str], config: bool
) -> None:
    evaluator = Evaluator(test_metrics=[AUROC(fields=["pred_score", "gt_label"])])
    datamodule = _datamodule(mvtec_loco_tree, tmp_path / "loco", folders, config)
    added = _replace([], evaluator, datamodule)
    _replace(added, evaluator, datamodule)
    assert all(metric.compute_on_cpu for metric in added)  # as the evaluator asks of its others
    expected = [f"image_AUROC_{kind}" for kind in kinds]
    expected += [f"pixel_AUSPRO_{kind}" for kind in kinds] if config else []
    assert _names(evaluator)[1:] == expected


def test_users_own_choice_stays(mvtec_loco_tree: Path, tmp_path: Path) -> None:
    datamodule = _datamodule(mvtec_loco_tree, tmp_path / "loco", ["logical_anomalies"], config=True)
    evaluator = Evaluator(test_metrics=[AnomalyTypeAUROC("all")])
    _replace([], evaluator, datamodule)
    assert _names(evaluator) == ["AUROC_all", "pixel_AUSPRO_logical"]
    evaluator = Evaluator(test_metrics=[AUSPRO(0.3)])
    _replace([], evaluator, datamodule)
    assert _names(evaluator) == ["AUSPRO_0.3_mean", "image_AUROC_logical"]


@pytest.mark.parametrize("where", ["pre_processor", "data set"])
def test_maps_of_a_part_of_the_image_are_not_compared_with_its_masks(
    mvtec_loco_tree: Path, tmp_path: Path, where: str
) -> None:
    datamodule = _datamodule(mvtec_loco_tree, tmp_path / "loco", ["logical_anomalies"], config=True)
    evaluator = Evaluator(test_metrics=[])
    crop = Compose([Resize((64, 64)), CenterCrop(32)])
    if where == "data set":
        datamodule.test_data.augmentations = crop
    with pytest.warns(UserWarning, match="AU-sPRO is left out: CenterCrop"):
        _replace([], evaluator, datamodule, crop if where != "data set" else None)
    assert _names(evaluator) == ["image_AUROC_logical"]


def test_other_trees_get_nothing(folder_tree: Path, recwarn: pytest.WarningsRecorder) -> None:
    datamodule = drawn_parts(folder_tree, mask_dir=None)
    datamodule.setup()
    evaluator = Evaluator(test_metrics=[])
    recwarn.clear()
    for module in (datamodule, None):
        assert _replace([], evaluator, module) == []
    assert _replace([], None, datamodule) == []
    assert _names(evaluator) == []
    assert not recwarn


def test_the_next_test_set_gets_its_own(mvtec_loco_tree: Path, folder_tree: Path, tmp_path: Path) -> None:
    """Masks of a tree that the first set has and the second has not would be missing."""
    evaluator = Evaluator(test_metrics=[AUROC(fields=["pred_score", "gt_label"])])
    loco = _datamodule(mvtec_loco_tree, tmp_path / "loco", ["logical_anomalies"], config=True)
    added = _replace([], evaluator, loco)
    folder = drawn_parts(folder_tree, mask_dir=None)
    folder.setup()
    assert _replace(added, evaluator, folder) == []
    assert _names(evaluator) == ["AUROC"]
