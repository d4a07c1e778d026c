"""The command that evaluates maps on disk, against values of every threshold and those of the official script."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from matplotlib.colors import to_rgba
from PIL import Image
from sklearn.metrics import auc

from anomalib_slsg.metrics.evaluate import main
from anomalib_slsg.metrics.figures import draw_over_threshold, draw_spro_over_fpr
from anomalib_slsg.metrics.spro import SPROPoints
from tests.support.commands import run_python
from tests.support.trees import claim_png, write_defects_config, write_loco_image

HEIGHT, WIDTH = 48, 64
LIMITS = ["0.01", "0.05", "0.1", "0.3", "1.0"]
FILES = {"metrics.json", "curve.csv", "spro_over_fpr.png", "over_threshold.png"}
SCRATCH, MISSING = 255, 254
CONFIG = [
    {"defect_name": "scratch", "pixel_value": SCRATCH, "saturation_threshold": 1.0, "relative_saturation": True},
    {"defect_name": "missing", "pixel_value": MISSING, "saturation_threshold": 20, "relative_saturation": False},
]
# of each image, its defects: pixel value, rows and columns; those of dents/001 overlap
DEFECTS = {
    "good": [[], [], []],
    "dents": [
        [(SCRATCH, slice(2, 8), slice(3, 11)), (SCRATCH, slice(20, 24), slice(40, 60))],
        [(SCRATCH, slice(10, 30), slice(10, 14)), (MISSING, slice(25, 40), slice(8, 30))],
    ],
    "colour": [[(MISSING, slice(5, 9), slice(5, 9))], [(MISSING, slice(0, 30), slice(32, 64))]],
}
# highest score of each image; the AUROC follows by counting pairs
PEAKS = {"good": [5.0, 6.0, 7.0], "dents": [5.5, 9.0], "colour": [6.0, 8.0]}
AUROC = {"dents": (1 + 3) / 6, "colour": (1.5 + 3) / 6}

ConvertMap = Callable[[Path, np.ndarray], None]


@dataclass(frozen=True)
class Tree:
    """Data set and maps, where the command looks for them."""

    root: Path

    @property
    def category(self) -> Path:
        """Folder of the category."""
        return self.root / "data" / "box"

    @property
    def maps(self) -> Path:
        """Folder of the maps of the test images."""
        return self.root / "maps" / "box" / "test"

    @property
    def output(self) -> Path:
        """Folder that the command makes."""
        return self.root / "results" / "box"

    def run(self, *arguments: str) -> None:
        """Run the command, in this process."""
        main([*self.arguments, *arguments])

    @property
    def arguments(self) -> list[str]:
        """The command's arguments."""
        folders = ["--dataset", str(self.root / "data"), "--anomaly_maps", str(self.root / "maps")]
        return [*folders, "--category", "box", "--output", str(self.output)]

    @property
    def metrics(self) -> dict:
        """What the command wrote."""
        return json.loads((self.output / "metrics.json").read_text())

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """Threshold, false-positive rate and sPRO of each folder, as the command wrote them."""
        rows: dict[str, list[list[float]]] = {}
        with (self.output / "curve.csv").open(newline="") as file:
            reader = csv.reader(file)
            assert next(reader) == ["group", "threshold", "fpr", "spro"]
            for group, *values in reader:
                rows.setdefault(group, []).append([float(value) for value in values])
        return {group: np.array(values).T for group, values in rows.items()}


def write_tree(root: Path) -> Tree:
    """Write images, masks and TIFF maps, higher in defects, with a patch of equal scores in every image."""
    tree, generator = Tree(root), np.random.default_rng(0)
    write_defects_config(tree.category, CONFIG)
    for group, images in DEFECTS.items():
        (tree.maps / group).mkdir(parents=True)
        for index, defects in enumerate(images):
            scores = generator.normal(0, 1, (HEIGHT, WIDTH)).clip(-4, 4)
            scores[40:, 40:] = -0.25
            masks = []
            for value, rows, columns in defects:
                scores[rows, columns] += 1
                masks.append(np.zeros((HEIGHT, WIDTH), np.uint8))
                masks[-1][rows, columns] = value
            scores[0, 0] = PEAKS[group][index]
            write_loco_image(tree.category, group, index, np.zeros((HEIGHT, WIDTH, 3), np.uint8), masks)
            tifffile.imwrite(tree.maps / group / f"{index:03d}.tiff", scores.astype(np.float32))
    return tree


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Tree whose maps the command has evaluated."""
    tree = write_tree(tmp_path_factory.mktemp("evaluated"))
    tree.run("--per_defect")
    return tree


@pytest.fixture
def tree(evaluated: Tree, tmp_path: Path) -> Tree:
    """A copy of that tree, which a test may change, without results."""
    for name in ("data", "maps"):
        shutil.copytree(evaluated.root / name, tmp_path / name)
    return Tree(tmp_path)


def read_maps(tree: Tree, group: str) -> list[np.ndarray]:
    return [tifffile.imread(path) for path in sorted((tree.maps / group).iterdir())]


def marked(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[rows, columns] = True
    return mask


def reference_curve(
    tree: Tree, groups: list[str], names: tuple[str, ...], thresholds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """False-positive rate and mean sPRO at each threshold, all scores by default, straight from their definition."""
    pixel_values = [entry["pixel_value"] for entry in CONFIG if entry["defect_name"] in names]
    normal, regions = [scores.ravel() for scores in read_maps(tree, "good")], []
    for group in groups:
        for scores, defects in zip(read_maps(tree, group), DEFECTS[group], strict=True):
            masks = [(value, marked(rows, columns)) for value, rows, columns in defects]
            normal.append(scores[~np.any([mask for _, mask in masks], axis=0)])
            for value, mask in masks:
                saturation = np.count_nonzero(mask) if value == SCRATCH else min(20, np.count_nonzero(mask))
                if value in pixel_values:
                    regions.append((scores[mask], saturation))
    if thresholds is None:
        occurring = np.unique(np.concatenate([*normal, *(scores for scores, _ in regions)]))
        thresholds = np.append(occurring[::-1], -np.inf)
    free = np.concatenate(normal)
    fpr = [np.mean(free > threshold) for threshold in thresholds]
    spro = [np.mean([min(np.sum(scores > t) / area, 1) for scores, area in regions]) for t in thresholds]
    return np.array(fpr), np.array(spro)


def area_up_to(fpr: np.ndarray, spro: np.ndarray, limit: float) -> float:
    inside = fpr < limit
    return auc(np.append(fpr[inside], limit), np.append(spro[inside], np.interp(limit, fpr, spro))) / limit


def reference_areas(tree: Tree, groups: list[str], names: tuple[str, ...] = ("scratch", "missing")) -> dict[str, float]:
    fpr, spro = reference_curve(tree, groups, names)
    return {limit: area_up_to(fpr, spro, float(limit)) for limit in LIMITS}


@pytest.mark.parametrize("name", ["gaussian", "probability"])
def test_values_of_the_official_script(official_spro: Path, tmp_path: Path, name: str) -> None:
    folder = official_spro / name
    arguments = ["--dataset", str(folder), "--category", "breakfast_box", "--output", str(tmp_path)]
    main([*arguments, "--anomaly_maps", str(folder / "anomaly_maps")])
    expected = json.loads((folder / "expected.json").read_text())
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found.keys() == {"localization", "classification"}
    assert found["localization"].keys() == {"auc_spro"}
    assert found["localization"]["auc_spro"].keys() == {"logical_anomalies", "structural_anomalies", "mean"}
    for group, areas in expected["auc_spro"].items():
        assert found["localization"]["auc_spro"][group] == pytest.approx(areas, abs=1e-3)
    assert found["classification"] == {"auc_roc": pytest.approx(expected["image_auroc_max"], abs=1e-3)}


def test_areas_are_those_of_every_threshold(evaluated: Tree) -> None:
    found = evaluated.metrics["localization"]["auc_spro"]
    expected = {group: reference_areas(evaluated, [group]) for group in ("colour", "dents")}
    mean = {limit: (expected["colour"][limit] + expected["dents"][limit]) / 2 for limit in LIMITS}
    assert found.keys() == {"colour", "dents", "mean"}
    for group, areas in {**expected, "mean": mean}.items():
        assert list(found[group]) == LIMITS
        assert found[group] == pytest.approx(areas, abs=1e-6)


def test_image_scores_are_the_maps_maxima(evaluated: Tree) -> None:
    expected = {**AUROC, "mean": sum(AUROC.values()) / 2}
    assert evaluated.metrics["classification"] == {"auc_roc": pytest.approx(expected, abs=1e-12)}


def test_ties_of_image_scores_count_half_in_double_precision(tree: Tree) -> None:
    """0.1 in single precision is another number than 0.1 in double precision."""
    for path in tree.maps.glob("*/*.tiff"):
        tifffile.imwrite(path, np.full((HEIGHT, WIDTH), 0.1))
    tree.run()
    assert tree.metrics["classification"]["auc_roc"] == {"colour": 0.5, "dents": 0.5, "mean": 0.5}


def test_equal_scores_everywhere_give_the_diagonal(tree: Tree) -> None:
    for path in tree.maps.glob("*/*.tiff"):
        tifffile.imwrite(path, np.full((HEIGHT, WIDTH), 3, np.uint8))
    tree.run()
    diagonal = {limit: pytest.approx(float(limit) / 2) for limit in LIMITS}
    assert tree.metrics["localization"]["auc_spro"] == dict.fromkeys(("colour", "dents", "mean"), diagonal)
    assert tree.curves["dents"].tolist() == [[3, -np.inf], [0, 1], [0, 1]]


def test_per_defect_counts_images_and_regions(evaluated: Tree) -> None:
    found = evaluated.metrics["localization"]["per_defect"]
    assert list(found) == ["missing", "scratch"]
    assert {name: (entry["images"], entry["regions"]) for name, entry in found.items()} == {
        "scratch": (2, 3),  # two in dents/000, one in dents/001
        "missing": (3, 3),  # one in dents/001 and each of colour
    }


@pytest.mark.parametrize(("name", "groups"), [("scratch", ["dents"]), ("missing", ["colour", "dents"])])
def test_per_defect_areas_are_against_the_folders_that_have_it(evaluated: Tree, name: str, groups: list[str]) -> None:
    found = evaluated.metrics["localization"]["per_defect"][name]["auc_spro"]
    assert found == pytest.approx(reference_areas(evaluated, groups, (name,)), abs=1e-6)


def test_defects_come_on_demand_only(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.run()
    assert tree.metrics["localization"].keys() == {"auc_spro"}
    assert "scratch" not in capsys.readouterr().out


def write_tiff(kind: type) -> ConvertMap:
    return lambda path, values: tifffile.imwrite(path.with_suffix(".tiff"), values.astype(kind))


def write_npy(kind: type) -> ConvertMap:
    def write(path: Path, values: np.ndarray) -> None:
        path.with_suffix(".tiff").unlink()
        np.save(path.with_suffix(".npy"), values.astype(kind))

    return write


def write_channel(path: Path, values: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), values[None].astype(np.float32))
    path.with_suffix(".tiff").unlink()


def write_zipped(path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(path.with_suffix(".tiff"), values.astype(np.float32), compression="zlib")


FORMATS: dict[str, ConvertMap] = {
    "TIFF, 16 bits": write_tiff(np.float16),
    "TIFF, 64 bits": write_tiff(np.float64),
    "TIFF, zipped": write_zipped,
    "NPY, 16 bits": write_npy(np.float16),
    "NPY, 32 bits": write_npy(np.float32),
    "NPY, 64 bits": write_npy(np.float64),
    "NPY with an axis of length 1": write_channel,
}


@pytest.fixture(scope="module")
def exact(evaluated: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """TIFF maps of half the size and 32 bits, whose scores and their interpolations all formats hold exactly."""
    root = tmp_path_factory.mktemp("exact")
    for name in ("data", "maps"):
        shutil.copytree(evaluated.root / name, root / name)
    tree = Tree(root)
    for path in tree.maps.glob("*/*.tiff"):
        values = np.round(tifffile.imread(path)[::2, ::2] * 32) / 32
        tifffile.imwrite(path, values.astype(np.float32))
    tree.run("--per_defect")
    return tree


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_formats_of_the_same_maps_give_the_same(exact: Tree, tmp_path: Path, write: ConvertMap) -> None:
    for name in ("data", "maps"):
        shutil.copytree(exact.root / name, tmp_path / name)
    tree = Tree(tmp_path)
    for path in list(tree.maps.glob("*/*.tiff")):
        write(path, tifffile.imread(path))
    tree.run("--per_defect")
    assert tree.metrics == exact.metrics
    assert (tree.output / "curve.csv").read_text() == (exact.output / "curve.csv").read_text()


def test_limits_are_the_users(tree: Tree, evaluated: Tree) -> None:
    tree.run("--fpr_limits", "0.3", "0.02")
    found = tree.metrics["localization"]["auc_spro"]
    assert {tuple(areas) for areas in found.values()} == {("0.3", "0.02")}
    assert found["dents"]["0.3"] == evaluated.metrics["localization"]["auc_spro"]["dents"]["0.3"]
    fpr, spro = reference_curve(tree, ["dents"], ("scratch", "missing"))
    assert found["dents"]["0.02"] == pytest.approx(area_up_to(fpr, spro, 0.02), abs=1e-6)


def remove_folder(tree: Tree, group: str) -> None:
    for folder in (tree.category / "test" / group, tree.maps / group):
        shutil.rmtree(folder)


def test_absent_folder_is_absent(tree: Tree, evaluated: Tree) -> None:
    remove_folder(tree, "colour")
    tree.run("--per_defect")
    everything = evaluated.metrics
    found = tree.metrics
    # no mean of a single one either
    dents = everything["localization"]["auc_spro"]["dents"]
    assert found["localization"]["auc_spro"] == {"dents": pytest.approx(dents)}
    assert found["classification"]["auc_roc"] == {"dents": everything["classification"]["auc_roc"]["dents"]}
    assert (found["localization"]["per_defect"]["missing"]["images"]) == 1
    assert tree.curves.keys() == {"dents"}


def test_without_good_images_there_is_no_auroc(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    remove_folder(tree, "good")
    tree.run()
    assert tree.metrics["classification"] == {"auc_roc": {}}
    (tree.maps / "good").mkdir()  # where the reference looks; empty
    areas = reference_areas(tree, ["dents"])
    assert tree.metrics["localization"]["auc_spro"]["dents"] == pytest.approx(areas, abs=1e-6)
    printed = capsys.readouterr().out
    assert "Image AUROC is undefined: there are no good test images." in printed
    assert "nan" not in printed + (tree.output / "metrics.json").read_text()


@pytest.mark.parametrize("group", ["colour", "dents"])
def test_curve_has_both_ends_and_only_true_points(evaluated: Tree, group: str) -> None:
    thresholds, fpr, spro = evaluated.curves[group]
    assert (fpr[0], spro[0]) == (0, 0)
    assert (thresholds[-1], fpr[-1], spro[-1]) == (-np.inf, 1, 1)
    assert np.all(np.diff(thresholds) < 0)
    assert np.all(np.diff(fpr) >= 0)
    assert np.all(np.diff(spro) >= 0)
    true_fpr, true_spro = reference_curve(evaluated, [group], ("scratch", "missing"), thresholds.astype(np.float32))
    np.testing.assert_allclose(fpr, true_fpr, atol=1e-9)
    np.testing.assert_allclose(spro, true_spro, atol=1e-6)


@pytest.mark.parametrize("group", ["colour", "dents"])
def test_neighbours_on_the_curve_are_close_unless_scores_tie(evaluated: Tree, group: str) -> None:
    thresholds, fpr, spro = evaluated.curves[group]
    occurring = np.unique(np.concatenate([*read_maps(evaluated, "good"), *read_maps(evaluated, group)]))
    far = np.flatnonzero((np.diff(fpr) > 1e-3) | (np.diff(spro) > 1e-3))
    assert 0 < len(far) < len(fpr) - 1
    for index in far:
        # one score makes the difference; others in between, of saturated defects, make none
        between = occurring[(thresholds[index + 1] <= occurring) & (occurring <= thresholds[index])][::-1]
        rates = reference_curve(evaluated, [group], ("scratch", "missing"), between)
        assert np.count_nonzero(np.any([np.diff(rate) > 1e-12 for rate in rates], axis=0)) == 1
    # and the file is not simply all of them
    assert len(thresholds) < len(occurring) / 2


def test_pictures_are_png_files_that_show_something(evaluated: Tree) -> None:
    assert {path.name for path in evaluated.output.iterdir()} == FILES
    for name in ("spro_over_fpr.png", "over_threshold.png"):
        with Image.open(evaluated.output / name) as picture:
            assert picture.format == "PNG"
            colours = np.unique(np.array(picture.convert("RGB")).reshape(-1, 3), axis=0)
        # white, black and the first two colours of lines
        assert {(255, 255, 255), (0, 0, 0), (31, 119, 180), (255, 127, 14)} <= {tuple(colour) for colour in colours}


# thresholds, false-positive rates and sPRO, as of four scores
POINTS = SPROPoints(np.array([4.0, 3, 2, 1, -np.inf]), np.array([0, 0, 0.25, 0.5, 1]), np.array([0, 0.5, 0.75, 1, 1]))


def test_figure_over_fpr_shows_curve_and_area() -> None:
    (axes,) = draw_spro_over_fpr({"some_dents": POINTS, "colour": POINTS}, 0.5).axes
    assert len(axes.lines) == 2
    assert to_rgba(axes.lines[0].get_color()) != to_rgba(axes.lines[1].get_color())
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack([POINTS.fpr, POINTS.spro], axis=1))
    assert axes.get_xlim() == (0, 0.5)
    # 0.25 x (0.5 + 0.75) / 2 + 0.25 x (0.75 + 1) / 2, divided by 0.5
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["some dents: 0.750", "colour: 0.750"]
    assert "0.5" in axes.get_legend().get_title().get_text()


def test_figure_over_threshold_shows_what_is_strictly_above() -> None:
    panels = draw_over_threshold({"dents": POINTS, "colour": POINTS}).axes
    assert [axes.get_title() for axes in panels] == ["dents", "colour"]
    fpr, spro = panels[0].lines
    assert (fpr.get_label(), spro.get_label()) == ("false-positive rate", "mean sPRO")
    assert fpr.get_xdata().tolist() == [4, 3, 2, 1]
    assert spro.get_ydata().tolist() == [0, 0.5, 0.75, 1]
    # in the order of falling thresholds, between 4 and 3 holds what is above 3
    assert {line.get_drawstyle() for line in (fpr, spro)} == {"steps-pre"}


def test_progress_goes_to_stderr_and_tables_to_stdout(
    tree: Tree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalib_slsg.utils.progress.SECONDS_BETWEEN_LINES", 0)
    tree.run("--per_defect")
    printed = capsys.readouterr()
    assert "Evaluating box" in printed.err
    assert "7 of 7" in printed.err
    assert "Evaluating" not in printed.out
    tables = [
        *((name, areas) for name, areas in tree.metrics["localization"]["auc_spro"].items()),
        *((name, entry["auc_spro"]) for name, entry in tree.metrics["localization"]["per_defect"].items()),
    ]
    for name, areas in tables:
        (row,) = [line for line in printed.out.splitlines() if f" {name} " in line]
        assert all(f" {value:.4f} " in row for value in areas.values())
        assert name not in AUROC or f" {AUROC[name]:.4f} " in row
    (row,) = [line for line in printed.out.splitlines() if "scratch" in line]
    assert row.split()[3:6:2] == ["2", "3"]


@pytest.mark.parametrize(
    "name", ["wrong_fill_level_not_enough", "a_name_that_is_itself_longer_than_a_line_" * 3, "cap [old]"]
)
def test_tables_show_all_numbers_whatever_the_names(
    tree: Tree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The first is one of MVTec LOCO's; a pipe and most terminals have 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    config = [{**entry, "defect_name": entry["defect_name"].replace("scratch", name)} for entry in CONFIG]
    (tree.category / "defects_config.json").write_text(json.dumps(config))
    tree.run("--per_defect")
    printed = capsys.readouterr().out
    assert name in printed
    values = tree.metrics["localization"]["per_defect"][name]["auc_spro"].values()
    assert all(f"{value:.4f}" in printed for value in values)


def test_without_an_output_folder_nothing_is_written(
    tree: Tree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.root)
    before = sorted(tree.root.rglob("*"))
    main(tree.arguments[: tree.arguments.index("--output")])
    assert sorted(tree.root.rglob("*")) == before
    assert "dents" in capsys.readouterr().out


def test_results_of_an_earlier_run_are_replaced(tree: Tree, evaluated: Tree) -> None:
    tree.output.mkdir(parents=True)
    for name in FILES:
        (tree.output / name).write_text("old")
    tree.run("--per_defect")
    assert {path.name for path in tree.output.iterdir()} == FILES
    assert tree.metrics == evaluated.metrics


@pytest.mark.slow
def test_as_a_command(tree: Tree, evaluated: Tree) -> None:
    finished = run_python(tree.root, "-m", "anomalib_slsg.metrics.evaluate", *tree.arguments, "--per_defect")
    assert tree.metrics == evaluated.metrics
    assert {path.name for path in tree.output.iterdir()} == FILES
    assert finished.errors == ""  # what takes no minute leaves no line
    assert "Evaluating" not in finished.output
    areas = tree.metrics["localization"]["auc_spro"]["dents"].values()
    assert all(f"{value:.4f}" in finished.output for value in areas)


def truncate(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def break_zipped(path: Path) -> None:
    tifffile.imwrite(path, tifffile.imread(path), compression="zlib")
    truncate(path)


def break_npy(path: Path) -> None:
    np.save(path.with_suffix(".npy"), tifffile.imread(path))
    path.unlink()
    truncate(path.with_suffix(".npy"))


def pack_npy(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), tifffile.imread(path))
    path.with_suffix(".npz").rename(path.with_suffix(".npy"))
    path.unlink()


def set_one(value: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        scores = tifffile.imread(path)
        scores[3, 4] = value
        tifffile.imwrite(path, scores)

    return change


def claim_npy(path: Path, *shape: int) -> None:
    """Leave a map whose header alone says how large it is."""
    with path.with_suffix(".npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    path.unlink()


# what is done to a map, what the message calls it, and what else it says
BROKEN_MAPS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (Path.unlink, "dents/001.tiff", "is missing"),
    "surplus": (lambda path: shutil.copy(path, path.with_name("009.tiff")), "dents/009.tiff", "belongs to no image"),
    "NaN": (set_one(np.nan), "dents/001.tiff", "NaN or infinity"),
    "infinity": (set_one(np.inf), "dents/001.tiff", "NaN or infinity"),
    "no TIFF": (lambda path: path.write_text("hello"), "dents/001.tiff", "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "dents/001.tiff", "cannot be read"),
    "cut TIFF": (truncate, "dents/001.tiff", "cannot be read"),
    "cut zipped TIFF": (break_zipped, "dents/001.tiff", "cannot be read"),
    "cut NPY": (break_npy, "dents/001.npy", "cannot be read"),
    "NPY that claims a lot": (lambda path: claim_npy(path, 10**5, 10**5), "dents/001.npy", "cannot be read"),
    "NPY that claims beyond all numbers": (lambda path: claim_npy(path, 10**20), "dents/001.npy", "cannot be read"),
    "no pixels": (lambda path: claim_npy(path, 0, 0), "dents/001.npy", "has the shape (0, 0)"),
    "TIFF that unpacks to a gigabyte": (
        lambda path: tifffile.imwrite(path, np.zeros((20_000, 20_000), bool), compression="zlib"),
        "dents/001.tiff",
        "has 20000x20000 pixels, more than 100 megapixels",
    ),
    "NPZ by the name of NPY": (pack_npy, "dents/001.npy", ""),
    "wrong aspect": (
        lambda path: tifffile.imwrite(path, np.zeros((WIDTH, HEIGHT), np.float32)),
        "dents/001.tiff",
        f"{HEIGHT}x{WIDTH} pixels, its image {WIDTH}x{HEIGHT}",
    ),
    "colours": (
        lambda path: tifffile.imwrite(path, np.zeros((HEIGHT, WIDTH, 3), np.uint8), photometric="rgb"),
        "dents/001.tiff",
        f"({HEIGHT}, {WIDTH}, 3)",
    ),
}


def failing_line(tree: Tree, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which has to fail, and give its message."""
    with pytest.raises(SystemExit) as stop:
        tree.run(*arguments)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert not tree.output.parent.exists()
    return line


@pytest.mark.parametrize(("breaking", "name", "words"), BROKEN_MAPS.values(), ids=BROKEN_MAPS)
def test_bad_map_is_named(
    tree: Tree, capsys: pytest.CaptureFixture[str], breaking: Callable[[Path], object], name: str, words: str
) -> None:
    breaking(tree.maps / "dents" / "001.tiff")
    line = failing_line(tree, capsys)
    assert str(tree.maps / name) in line
    assert words in line


def empty_folders(tree: Tree) -> None:
    for group in ("colour", "dents"):
        for path in (*(tree.category / "test" / group).iterdir(), *(tree.maps / group).iterdir()):
            path.unlink()


# what is done to the tree, and the file or folder that the message names
BROKEN_TREES: dict[str, tuple[Callable[[Tree], object], str]] = {
    "no category": (lambda tree: tree.category.rename(tree.category.with_name("bottle")), "data/box"),
    "no maps of the category": (lambda tree: shutil.rmtree(tree.maps.parent), "maps/box"),
    "no anomalous folders": (
        lambda tree: [shutil.rmtree(tree.category / "test" / group) for group in ("colour", "dents")],
        "data/box/test",
    ),
    "no anomalous images": (empty_folders, "data/box/test"),
    "no configuration": (lambda tree: (tree.category / "defects_config.json").unlink(), "data/box/defects_config.json"),
    "broken configuration": (
        lambda tree: truncate(tree.category / "defects_config.json"),
        "data/box/defects_config.json",
    ),
    "value that is not in the configuration": (
        lambda tree: (tree.category / "defects_config.json").write_text(json.dumps(CONFIG[1:])),
        "data/box/ground_truth/dents/000/000.png",
    ),
    "no masks": (
        lambda tree: shutil.rmtree(tree.category / "ground_truth" / "dents" / "001"),
        "data/box/ground_truth/dents/001",
    ),
    "broken mask": (
        lambda tree: truncate(tree.category / "ground_truth" / "dents" / "001" / "000.png", 0.2),
        "data/box/ground_truth/dents/001/000.png",
    ),
    "mask that claims a lot": (
        lambda tree: claim_png(tree.category / "ground_truth" / "dents" / "001" / "000.png", 100_000),
        "data/box/ground_truth/dents/001/000.png",
    ),
    "broken image": (
        lambda tree: (tree.category / "test" / "good" / "001.png").write_text("hello"),
        "data/box/test/good/001.png",
    ),
}


@pytest.mark.parametrize(("breaking", "name"), BROKEN_TREES.values(), ids=BROKEN_TREES)
def test_bad_tree_is_named(
    tree: Tree, capsys: pytest.CaptureFixture[str], breaking: Callable[[Tree], object], name: str
) -> None:
    breaking(tree)
    assert str(tree.root / name) in failing_line(tree, capsys)


def test_endings_may_be_of_capital_letters(tree: Tree, evaluated: Tree) -> None:
    for folder, ending in ((tree.category / "ground_truth", ".PNG"), (tree.maps, ".TIFF")):
        for path in [path for path in folder.rglob("*.*") if path.is_file()]:
            path.rename(path.with_suffix(ending))
    tree.run("--per_defect")
    found, expected = (json.loads((each.output / "metrics.json").read_text()) for each in (tree, evaluated))
    assert found == expected


@pytest.mark.parametrize("limit", ["0", "-0.1", "1.5"])
def test_limit_out_of_range_is_named(tree: Tree, capsys: pytest.CaptureFixture[str], limit: str) -> None:
    line = failing_line(tree, capsys, "--fpr_limits", "0.3", limit)
    assert "fpr_limit" in line
    assert str(float(limit)) in line


@pytest.mark.parametrize("values", [["many"], ["nan"], []], ids=str)
def test_limit_that_is_no_number_is_named(tree: Tree, capsys: pytest.CaptureFixture[str], values: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        tree.run("--fpr_limits", *values)
    assert stop.value.code == 2
    # below the usage that jsonargparse prints
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "fpr_limits" in line
    assert not tree.output.parent.exists()


def test_output_that_is_a_file_is_named(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.output.parent.mkdir()
    tree.output.write_text("mine")
    with pytest.raises(SystemExit) as stop:
        tree.run()
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""  # of the tables, which come after minutes of work
    assert "Evaluating" not in printed.err
    line = printed.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert str(tree.output) in line
    assert tree.output.read_text() == "mine"


def test_files_of_macos_are_passed_over(tree: Tree, evaluated: Tree, caplog: pytest.LogCaptureFixture) -> None:
    for folder in (tree.category / "test" / "dents", tree.category / "ground_truth" / "dents" / "001"):
        (folder / "._000.png").write_bytes(b"\0\5\26\7")
    tree.run("--per_defect")
    assert tree.metrics == evaluated.metrics
    assert "Skipped 1 files like" in caplog.text
