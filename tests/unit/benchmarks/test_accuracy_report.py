"""The chart of accuracies."""


def test_the_chart_ranks_models_and_names_every_metric() -> None:
    """By the mean over seeds; a metric that the first row does not have is in the legend all the same."""
    from benchmarks.accuracy.report import by_data, draw
    from benchmarks.accuracy.rows import METRICS

    scores = [("worse", "0.95", ""), ("worse", "0.5", ""), ("better", "0.9", "0.7"), ("better", "0.8", "0.6")]
    rows = [
        dict.fromkeys(METRICS, "")
        | {"model": model, "data": "Folder", "category": "part", "schedule": "32 px", "seed": str(seed)}
        | {"image_AUROC": image, "pixel_AUROC": pixel}
        for seed, (model, image, pixel) in enumerate(scores)
    ]
    (axes,) = draw(dict(by_data(rows))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["better (32 px)", "worse (32 px)"]
    assert axes.yaxis_inverted()
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["image_AUROC", "pixel_AUROC"]
    points = {line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in axes.lines}
    assert points == {
        "image_AUROC": [(0.9, 0), (0.8, 0), (0.95, 1), (0.5, 1)],
        "pixel_AUROC": [(0.7, 0), (0.6, 0)],
    }
