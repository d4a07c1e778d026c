"""The paper's figures: their panels, labels, colours, captions and files."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from anomalib_slsg.metrics.spro import SPROPoints
from anomalib_slsg.report.figures.column import add_to_caption, save_figure
from anomalib_slsg.report.figures.features import draw_features, embed
from anomalib_slsg.report.figures.localisation import Example, draw_localisation
from anomalib_slsg.report.figures.losses import draw_losses
from anomalib_slsg.report.figures.neighbours import Edges, Graph, draw_neighbours, edges_of, graph_of
from anomalib_slsg.report.figures.reconstructions import draw_reconstructions
from anomalib_slsg.report.figures.simulation import draw_simulation
from anomalib_slsg.report.figures.speed import PAPER, draw_speed, speed_table
from anomalib_slsg.report.figures.thresholds import ahead, draw_thresholds
from anomalib_slsg.report.figures.types_of_anomaly import draw_types
from anomalib_slsg.simulation import AnomalySimulator, SimulationOptions

COLUMN = 85 / 25.4  # inches
SIDE = 32


def words(figure: Figure) -> str:
    """All text of a figure."""
    axes = [text for each in figure.axes for text in (each.get_title(), each.get_xlabel(), each.get_ylabel())]
    ticks = [label.get_text() for each in figure.axes for label in each.get_yticklabels()]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return " ".join(" ".join([*axes, *ticks, *legends, figure.get_supxlabel()]).split())


def pictures(figure: Figure, columns: int) -> list[list[np.ndarray]]:
    """Shown pictures, row by row."""
    shown = [np.asarray(each.images[0].get_array()) for each in figure.axes if each.images]
    assert len(shown) % columns == 0
    return [shown[first : first + columns] for first in range(0, len(shown), columns)]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def examples(images: torch.Tensor) -> list[Example]:
    mask = np.zeros((64, 64), bool)
    mask[10:20, 20:30] = True
    return [Example(images[0], mask, "logical_anomalies"), Example(images[1], None, "bar")]


def maps(number: int) -> list[np.ndarray]:
    generator = np.random.default_rng(number)
    return [generator.random((SIDE, SIDE)) for _ in range(2)]


def test_files_are_a_column_wide_and_can_be_repeated(tmp_path: Path) -> None:
    def draw() -> Figure:
        return draw_types({"SLSG": {"bar": 0.9}}, {"bar": "bar"}, "of four images")

    png, svg = save_figure(draw(), tmp_path / "one", "figure")
    picture = cv2.imread(str(png))
    assert picture.shape[1] == pytest.approx(85 / 25.4 * 300, abs=2)
    assert picture.std() > 10
    assert picture[:, :2].min() == picture[:, -2:].min() == 255  # nothing is cut off
    width = float(re.search(r'width="([\d.]+)pt"', svg.read_text(encoding="utf-8")).group(1))
    assert width == pytest.approx(COLUMN * 72, abs=0.1)
    again = save_figure(draw(), tmp_path / "two", "figure")
    assert [file.read_bytes() for file in again] == [png.read_bytes(), svg.read_bytes()]


def test_simulation_shows_every_step_of_each_source(images: torch.Tensor) -> None:
    simulator = AnomalySimulator(SimulationOptions(foreground="whole", structural_threshold=0.0))
    kinds = ("texture", "shuffled", "logical")
    batches = {kind: simulator(images[None, place], images[None, 3], None, kind) for place, kind in enumerate(kinds)}
    figure = draw_simulation(images[:3], batches)
    assert len(figure.axes) == 3 * 7
    for text in ("fore- ground", "noise", "mask", "source", "result", *kinds):
        assert text in words(figure)
    shown = pictures(figure, 7)
    for (image, _, noise, mask, source, cut, result), batch in zip(shown, batches.values(), strict=True):
        assert np.array_equal(mask, batch.mask[0, 0])
        assert noise.std() > 0
        assert np.allclose(cut, source * mask[..., None])
        assert np.array_equal(result[mask == 0], image[mask == 0])
        assert not np.array_equal(result, image)


def test_localisation_has_a_column_for_each_model(examples: list[Example]) -> None:
    figure = draw_localisation(examples, {"SLSG": maps(0), "PaDiM": maps(1)})
    grid = pictures(figure, 4)
    assert len(grid) == 2
    for text in ("image", "true mask", "SLSG", "PaDiM", "logical", "bar", "probability of an anomaly", "have no mask"):
        assert text in words(figure)
    assert np.array_equal(grid[0][1], examples[0].mask)
    assert (grid[1][1] == 0.5).all()  # the truth is not known
    assert np.array_equal(grid[1][3], maps(1)[1])
    assert {each.images[0].get_clim() for each in figure.axes if each.images} == {(0.0, 1.0)}


def test_bars_are_as_long_as_the_areas() -> None:
    areas = {"SLSG": {"logical_anomalies": 0.9, "bar": 0.42}, "other": {"logical_anomalies": 0.75, "bar": 1.0}}
    figure = draw_types(areas, {"logical_anomalies": "logical\n(5 images)", "bar": "bars"}, "against 9 normal images")
    (axes,) = figure.axes
    ends = [[bar.get_x() + bar.get_width() for bar in container] for container in axes.containers]
    assert np.allclose(ends, [[0.9, 0.42], [0.75, 1.0]])
    assert axes.get_xlim()[0] == pytest.approx(0.4)  # below chance, so that no bar is negative
    for text in ("logical (5 images)", "bars", "against 9 normal images", "SLSG", "other", "image AUROC"):
        assert text in words(figure)


def test_a_caption_that_grows_leaves_the_figure_as_it_is(tmp_path: Path) -> None:
    def draw() -> Figure:
        return draw_types({"SLSG": {"bar": 0.9}}, {"bar": "bar"}, "of four images")

    figure, sentence = draw(), "A sentence that fills more than one line below the figure, and is said at its end."
    add_to_caption(figure, sentence)
    assert words(figure) == f"{words(draw())} {sentence}"
    before, after = (cv2.imread(str(save_figure(each, tmp_path, "bars")[0])) for each in (draw(), figure))
    assert after.shape[0] > before.shape[0] + 25  # a line of text
    blue = [(image[..., 0].astype(int) - image[..., 2] > 90).any(axis=1).sum() for image in (before, after)]
    assert 20 < blue[0] == pytest.approx(blue[1], rel=0.08)  # rows of the bar and of its mark


def test_a_long_legend_of_bars_stays_on_the_page(tmp_path: Path) -> None:
    names = [f"a model of a long name, number {number}" for number in range(4)]
    png, _ = save_figure(
        draw_types({name: {"bar": 0.9} for name in names}, {"bar": "bar"}, "of tests"), tmp_path, "bars"
    )
    picture = cv2.imread(str(png))
    assert picture[:, :2].min() == picture[:, -2:].min() == picture[:2].min() == 255


def test_features_are_laid_out_and_the_misclassified_ones_marked() -> None:
    kinds = ["normal"] * 10 + ["real anomaly"] * 8 + ["simulated"] * 6
    features = np.random.default_rng(0).normal(size=(24, 40)) + 20 * (np.arange(24) >= 10)[:, None]
    places = embed(features)
    assert places.shape == (24, 2)
    normal, other = places[:10], places[10:]
    assert np.linalg.norm(normal.mean(axis=0) - other.mean(axis=0)) > np.linalg.norm(normal.std(axis=0))
    alarms = np.arange(24) >= 9  # one false alarm
    figure = draw_features(places, kinds, alarms)
    (axes,) = figure.axes
    sizes = [len(points.get_offsets()) for points in axes.collections[:4]]
    assert sizes == [10, 6, 8, 1]
    assert np.allclose(axes.collections[3].get_offsets(), places[9])
    assert len(axes.collections) == 5  # the boundary
    assert "normal (10)" in words(figure) and "misclassified (1)" in words(figure) and "support vector" in words(figure)
    assert "no boundary" in words(draw_features(places, kinds, np.zeros(24, bool)))


def test_edges_tell_how_alike_and_how_near_neighbours_are() -> None:
    bottleneck = torch.zeros(2, 4, 4)
    bottleneck[0] = 1
    bottleneck[:, :2] = torch.tensor([0.0, 1.0])[:, None, None]  # the upper half is of another kind
    indices = torch.tensor([[0, 1, 3]] * 16)
    alike = edges_of(bottleneck, indices, 0)
    assert alike.node == (0, 0)
    assert alike.neighbours == [(0, 1), (0, 3)]  # not the node itself
    assert alike.beside == 1
    assert alike.likeness > 0.5
    assert edges_of(bottleneck, indices, 15).likeness < -0.5


def test_a_graph_is_described_by_the_mean_of_its_edges() -> None:
    bottleneck = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    indices = torch.stack([torch.randperm(20, generator=torch.Generator().manual_seed(n))[:6] for n in range(40)])
    indices = indices.view(2, 20, 6)
    edges = [edges_of(bottleneck[image], indices[image], node) for image in range(2) for node in range(20)]
    numbers = [len(each.neighbours) for each in edges]
    assert min(numbers) < max(numbers)  # some edges lead to their own node
    graph = graph_of(bottleneck, indices)
    assert graph.likeness == pytest.approx(np.average([each.likeness for each in edges], weights=numbers), abs=1e-5)
    assert graph.beside == pytest.approx(sum(each.beside for each in edges) / sum(numbers))
    line = torch.arange(11).view(1, 11, 1).repeat(1, 1, 3)  # edges to the own node, but for the first:
    line[0, 0] = torch.tensor([10, 9, 8])
    assert graph_of(torch.randn(1, 3, 1, 11), line).farthest == pytest.approx(2 / 3)


def test_neighbours_are_dots_on_their_patches(images: torch.Tensor) -> None:
    edges = [Edges(0.7, (0, 1), [(1, 1), (3, 3)])] * 4
    kept = [Edges(-0.2, (0, 1), [(2, 1)])] * 4
    figure = draw_neighbours(images, [edges, kept], [Graph(1.97, 0.13, 0.234), Graph(2.4, 0.9, 0)], (4, 4))
    assert len(figure.axes) == 2 * 4
    red, green = figure.axes[0].collections
    assert np.allclose(red.get_offsets(), [[11.5, 11.5], [27.5, 27.5]])
    assert np.allclose(green.get_offsets(), [[11.5, 3.5]])
    assert np.allclose(red.get_facecolor()[0][:3], (1, 0, 0)) and green.get_facecolor()[0][1] == 1
    for text in (
        "eliminated",
        "kept",
        "+0.7 s.d. 1 of 2 beside",
        "-0.2 s.d. 0 of 1 beside",
        "All patches: +2.0 s.d., 13% beside, 23% in",
    ):
        assert text in words(figure)


def test_losses_and_reconstructions_are_labelled(images: torch.Tensor, examples: list[Example]) -> None:
    figure = draw_losses(examples, [maps(number) for number in range(4)], "Trained for 7 steps.")
    assert len(pictures(figure, 6)) == 2
    for text in ("without l1", "without focal", "without auxiliary", "all losses", "7 steps"):
        assert text in words(figure)
    rows = [images, images * 0, images / 2, images / 3]
    figure = draw_reconstructions(*rows, "Trained for 7 steps.")
    shown = pictures(figure, 4)
    assert all(np.allclose(shown[row][1], rows[row][1].permute(1, 2, 0)) for row in range(4))
    for text in ("original", "masked image", "l1 alone", "l1 and adversarial", "7 steps"):
        assert text in words(figure)


def test_thresholds_fill_where_one_is_ahead() -> None:
    good, bad = (
        SPROPoints(np.array([0.8, low, -np.inf]), np.array([0, fpr, 1]), np.array([0, spro, 1]))
        for low, fpr, spro in ((0.2, 0.1, 0.9), (0.4, 0.5, 0.3))
    )
    figure = draw_thresholds({"SLSG": good, "PaDiM": bad})
    (axes,) = figure.axes
    spro, fpr = axes.lines[:2]
    at = dict(zip(np.round(spro.get_xdata(), 3), zip(spro.get_ydata(), fpr.get_ydata())))
    assert at[0.5] == (0.9, 0.1)  # between the scores 0.8 and 0.2
    assert at[0.9] == (0.0, 0.0)
    assert at[0.1] == (1.0, 1.0)
    assert "no worse in the other; SLSG over 40% of the thresholds, PaDiM over 0%" in words(figure)
    assert "SLSG FPR 0.1000, sPRO 0.900" in words(figure)
    assert [text in words(figure) for text in ("threshold", "rate", "SLSG ahead")] == [True] * 3
    assert "ahead" not in words(draw_thresholds({"SLSG": good}))
    same = np.array([0.1]), np.array([0.2])
    assert not ahead(same, same).any()


def test_speed_stands_beside_the_paper() -> None:
    columns = {"SLSG": dict.fromkeys(PAPER, "12.5")}
    figure = draw_speed(columns, "a processor")
    (table,) = figure.axes[0].tables
    cells = [cell.get_text().get_text() for cell in table.get_celld().values()]
    assert {"12.5", "54.2", "18.5", "20.46", "23", *PAPER} <= set(cells)
    text = speed_table(columns, "a processor")
    assert "| one at a time, ms an image | 12.5 | 54.2 |" in text
    assert "a processor" in text and "a processor" in words(figure)


@pytest.mark.parametrize("name", ["a", "contamination", "a very long name of a kind of anomaly"])
def test_row_labels_stay_within_their_row(examples: list[Example], name: str) -> None:
    figure = draw_localisation([example._replace(label=name) for example in examples], {"SLSG": maps(0)})
    figure.canvas.draw()
    for axes in (figure.axes[0], figure.axes[3]):
        label, panel = axes.yaxis.label.get_window_extent(), axes.get_window_extent()
        assert label.height <= 1.15 * panel.height
