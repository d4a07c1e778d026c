"""LOCO evaluation of anomaly maps on disk.

``python -m anomalib_slsg.metrics.evaluate --dataset DIR --category NAME --anomaly_maps DIR``
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomalib_slsg.metrics.anomaly_maps import ENDINGS, read_map
from anomalib_slsg.metrics.figures import draw_over_threshold, draw_spro_over_fpr
from anomalib_slsg.metrics.ground_truth import GOOD
from anomalib_slsg.metrics.image_areas import image_areas
from anomalib_slsg.metrics.spro import SPROPoints, area_under_curve, check_fpr_limit, thin_curve
from anomalib_slsg.metrics.spro_state import Series, SeriesAreas, SPROState, anomalous_groups, curve
from anomalib_slsg.utils.auroc import area_under_roc
from anomalib_slsg.utils.files import check_writable, write_atomically, write_text
from anomalib_slsg.utils.images import list_images
from anomalib_slsg.utils.progress import progress_bar

FPR_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
CURVE_RESOLUTION = 1e-3
MEAN = "mean"
TABLE_TITLE = "AU-sPRO up to a false-positive rate of"


@dataclass(frozen=True)
class Evaluation:
    """Results of one category.

    Attributes:
        curves: Curve of each folder of anomalies.
        auc_spro: AU-sPRO of each folder, and their mean if there are several, at each limit.
        auc_roc: Image AUROC of each folder against the good images, and their mean; the score is the map's maximum.
        per_defect: AU-sPRO of each type of defect at each limit, with its number of images and regions.
    """

    curves: dict[str, SPROPoints]
    auc_spro: dict[str, dict[str, float]]
    auc_roc: dict[str, float]
    per_defect: dict[str, dict]

    def metrics(self, per_defect: bool) -> dict:
        """Content of ``metrics.json``, with the keys of the data set's own script, and those of defects on demand."""
        localization: dict[str, dict] = {"auc_spro": self.auc_spro}
        if per_defect:
            localization["per_defect"] = self.per_defect
        return {"localization": localization, "classification": {"auc_roc": self.auc_roc}}


def evaluate(
    dataset: Path, category: str, anomaly_maps: Path, fpr_limits: tuple[float, ...] = FPR_LIMITS
) -> Evaluation:
    """Evaluate the maps of one category.

    Args:
        dataset: Folder of a data set in MVTec LOCO's format.
        category: Name of the category.
        anomaly_maps: Folder with ``<category>/test/<folder>/<name>.tiff``, one for each test image.
        fpr_limits: Limits of the areas.

    Returns:
        The results.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        ValueError: If a file is broken, or there is nothing to evaluate.
    """
    for limit in fpr_limits:
        check_fpr_limit(limit)
    pairs = list(_pairs(dataset / category / "test", anomaly_maps / category / "test"))
    state, scores = SPROState(), dict[str, list[float]]()
    with progress_bar(console=Console(file=sys.stderr)) as bar:
        for image, map_path in bar.track(pairs, description=f"Evaluating {category}"):
            values = read_map(map_path)
            areas = image_areas(values, image, map_path)
            state.add_image(areas)
            scores.setdefault(areas.group, []).append(float(values.max()))
    tables = state.tables()
    groups = anomalous_groups(tables)
    curves = {group: curve(tables, [group]) for group in groups}
    auc_spro = {group: _areas(points, fpr_limits) for group, points in curves.items()}
    good = _tensor(scores.pop(GOOD, []))
    auc_roc = {group: area_under_roc(good, _tensor(scores[group])).item() for group in groups} if len(good) else {}
    if len(groups) > 1:
        auc_spro[MEAN] = {key: fmean(auc_spro[group][key] for group in groups) for key in auc_spro[groups[0]]}
        auc_roc |= {MEAN: fmean(auc_roc.values())} if auc_roc else {}
    return Evaluation(curves, auc_spro, auc_roc, _per_defect(tables, fpr_limits))


def _pairs(images: Path, maps: Path) -> Iterator[tuple[Path, Path]]:
    """Give each test image with its map."""
    for folder in (images, maps):
        if not folder.is_dir():
            raise FileNotFoundError(f"the folder '{folder}' does not exist")
    groups = {folder.name: list_images(folder, "*") for folder in sorted(images.iterdir()) if folder.is_dir()}
    if not any(paths for group, paths in groups.items() if group != GOOD):
        raise ValueError(f"'{images}' has no folder with anomalous images")
    for group, paths in groups.items():
        found = {path.stem: path for path in sorted((maps / group).glob("*")) if path.suffix.lower() in ENDINGS}
        for image in paths:
            if image.stem not in found:
                raise FileNotFoundError(
                    f"the anomaly map '{maps / group / image.stem}.tiff' (or .npy) of '{image}' is missing"
                )
            yield image, found.pop(image.stem)
        if found:
            raise ValueError(
                f"the anomaly map '{next(iter(found.values()))}' belongs to no image in '{images / group}'"
            )


def _areas(points: SPROPoints, fpr_limits: tuple[float, ...]) -> dict[str, float]:
    return {str(float(limit)): area_under_curve(points, limit) for limit in fpr_limits}


def _tensor(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _per_defect(tables: dict[Series, SeriesAreas], fpr_limits: tuple[float, ...]) -> dict[str, dict]:
    """AU-sPRO of each type of defect, against the normal pixels of good images and of the folders that have it."""
    result = {}
    for name in sorted({key.defect for key in tables if key.defect is not None}):
        having = {key.group: table for key, table in tables.items() if key.defect == name}
        result[name] = {
            "images": sum(table.images for table in having.values()),
            "regions": sum(table.regions for table in having.values()),
            "auc_spro": _areas(curve(tables, list(having), name), fpr_limits),
        }
    return result


def print_tables(result: Evaluation, per_defect: bool) -> None:
    """Print the results.

    Args:
        result: The results.
        per_defect: Print those of each type of defect, too.
    """
    limits = list(next(iter(result.auc_spro.values())))
    table = Table("test images", "image AUROC", *limits, title=TABLE_TITLE)
    for group, areas in result.auc_spro.items():
        auroc = f"{result.auc_roc[group]:.4f}" if group in result.auc_roc else "undefined"
        table.add_row(escape(group), auroc, *(f"{value:.4f}" for value in areas.values()))
    _print(table)
    if per_defect:
        table = Table("defect", "images", "regions", *limits, title=TABLE_TITLE)
        for name, entry in result.per_defect.items():
            values = (f"{value:.4f}" for value in entry["auc_spro"].values())
            table.add_row(escape(name), str(entry["images"]), str(entry["regions"]), *values)
        _print(table)
    if not result.auc_roc:
        print("Image AUROC is undefined: there are no good test images.")


def _print(table: Table) -> None:
    """Print all of a table, however narrow the terminal is."""
    console = Console()
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    Console(width=max(console.width, needed)).print(table)


def write_files(result: Evaluation, output: Path, fpr_limit: float, per_defect: bool) -> None:
    """Write ``metrics.json``, ``curve.csv``, ``spro_over_fpr.png`` and ``over_threshold.png``.

    Args:
        result: The results.
        output: Folder, made if it does not exist.
        fpr_limit: Right end of the curves' figure.
        per_defect: Write the results of each type of defect, too.
    """
    text = json.dumps(result.metrics(per_defect), indent=2) + "\n"
    write_text(output / "metrics.json", text)
    write_atomically(output / "curve.csv", lambda path: _write_curves(path, result.curves))
    over_fpr, over_threshold = draw_spro_over_fpr(result.curves, fpr_limit), draw_over_threshold(result.curves)
    write_atomically(output / "spro_over_fpr.png", lambda path: over_fpr.savefig(path, format="png", dpi=120))
    write_atomically(output / "over_threshold.png", lambda path: over_threshold.savefig(path, format="png", dpi=120))


def _write_curves(path: Path, curves: dict[str, SPROPoints]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("group", "threshold", "fpr", "spro"))
        for group, points in curves.items():
            writer.writerows((group, *map(repr, map(float, row))) for row in zip(*thin_curve(points, CURVE_RESOLUTION)))


def main(args: list[str] | None = None) -> None:
    """Command line."""
    parser = ArgumentParser(
        prog="python -m anomalib_slsg.metrics.evaluate",
        description="sPRO and image AUROC of anomaly maps, by the protocol of MVTec LOCO.",
    )
    parser.add_argument("--dataset", type=Path, required=True, help="folder of a data set in MVTec LOCO's format")
    parser.add_argument("--category", type=str, required=True, help="name of the category's folder")
    parser.add_argument("--anomaly_maps", type=Path, required=True, help="folder with <category>/test/<type>/<id>.tiff")
    parser.add_argument("--output", type=Path, default=None, help="folder for metrics.json, curve.csv and figures")
    parser.add_argument("--fpr_limits", type=float, nargs="+", default=list(FPR_LIMITS), help="limits of the areas")
    parser.add_argument("--per_defect", action="store_true", help="also evaluate each type of defect")
    parsed = parser.parse_args(args)
    limits = tuple(parsed.fpr_limits)
    try:
        if parsed.output is not None:
            check_writable(parsed.output)
        result = evaluate(parsed.dataset, parsed.category, parsed.anomaly_maps, limits)
        print_tables(result, parsed.per_defect)
        if parsed.output is not None:
            write_files(result, parsed.output, max(limits), parsed.per_defect)
            print(f"Results are in {parsed.output}")
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
