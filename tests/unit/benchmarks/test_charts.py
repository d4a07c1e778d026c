"""The charts of accuracies and speeds."""

import statistics
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def _marks(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """What is drawn of each model: figure and line."""
    return {str(line.get_label()): list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in axes.lines}


def _labels(axes: Axes) -> list[str]:
    return [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]


def test_the_chart_of_a_file_has_every_row() -> None:
    """A mark for each seed; what is worse than the axis is at its edge with its number."""
    from benchmarks.accuracy.chart import LOWEST, draw
    from benchmarks.accuracy.report import by_data, scores_of
    from benchmarks.accuracy.rows import METRICS

    scores = [("worse", "0.95"), ("worse", "0.5"), ("better", "0.9"), ("better", "0.8")]
    rows = [
        dict.fromkeys(METRICS, "")
        | {"model": model, "data": "Folder", "category": "part", "schedule": "32 px", "seed": str(seed)}
        | {"image_AUROC": image}
        for seed, (model, image) in enumerate(scores)
    ]
    figure = draw(scores_of(dict(by_data(rows))))
    (axes,) = figure.axes
    assert _labels(axes) == ["Folder, part"]
    assert _marks(axes) == {"worse (32 px)": [(0.95, 0), (LOWEST, 0)], "better (32 px)": [(0.9, 0), (0.8, 0)]}
    assert [text.get_text() for text in axes.texts] == ["0.50"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(_marks(axes))


def test_documents_show_the_default_on_all_products() -> None:
    from benchmarks.accuracy.chart import draw, scores_in_documents
    from benchmarks.accuracy.tables import PRODUCTS

    (axes,) = draw(scores_in_documents()).axes
    marks = _marks(axes)
    assert list(marks) == ["SLSG, normality alone", "PatchCore", "PaDiM"]
    assert _labels(axes) == [data.title for data in PRODUCTS]
    assert len(marks["SLSG, normality alone"]) == len(marks["PaDiM"]) == len(PRODUCTS)
    assert statistics.mean(value for value, _ in marks["SLSG, normality alone"]) > 0.95


def test_documents_show_the_default_s_speed_beside_what_the_same_run_measured() -> None:
    from benchmarks.speed.chart import draw, forms_in_documents

    forms = forms_in_documents()
    assert len({row.machine for rows in forms.values() for row in rows}) == 1
    (axes,) = draw(forms).axes
    assert _labels(axes) == ["SLSG", "SLSG, SegNet alone", "EfficientAD-S", "PatchCore"]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["OpenVINO INT8", "torch, 32 bits"]
    assert [text.get_text() for text in axes.texts][:4] == ["23.1", "16.1", "42.8", "145"]
    assert "AMD EPYC (family 26, model 2), 2 threads" in axes.get_xlabel()


@pytest.mark.parametrize("name", ["accuracy", "speed"])
def test_charts_can_be_read_at_half_their_width(name: str) -> None:
    """At 400 pixels letters of ten pixels, and no label over another."""
    from benchmarks.accuracy import chart as accuracy
    from benchmarks.speed import chart as speed

    drawn: dict[str, Any] = {
        "accuracy": lambda: accuracy.draw(accuracy.scores_in_documents()),
        "speed": lambda: speed.draw(speed.forms_in_documents()),
    }
    figure: Figure = drawn[name]()
    figure.canvas.draw()
    (axes,) = figure.axes
    scale = 400 / (figure.get_figwidth() * figure.dpi)
    labels = axes.get_yticklabels()
    assert all(label.get_fontsize() / 72 * figure.dpi * scale >= 10 for label in [*labels, *axes.get_xticklabels()])
    boxes = [label.get_window_extent() for label in labels]
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))
