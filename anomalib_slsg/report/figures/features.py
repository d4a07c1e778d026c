"""Fig. 7: where normal images, simulated and real anomalies lie in the features of SegNet's first decoder block."""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anomalib_slsg.report.figures.column import column_figure, for_print

SEED = 0
MOST = 60  # images of each kind
COMPONENTS = 50  # that are kept before t-SNE, as its authors advise
GRID = 200  # points a side, that the boundary is drawn by
KINDS = {"normal": ("C0", "o"), "simulated": ("C1", "^"), "real anomaly": ("C3", "s")}
CAPTION = (
    "Fig. 7. Features of SegNet's first decoder block in two dimensions (t-SNE): normal and anomalous images of the "
    f"test set, and simulated anomalies, at most {MOST} of each, spread evenly. Rings mark images that the model "
    "misclassifies. "
)
BOUNDARY = (
    "The line is the approximate decision boundary: a support vector machine's between what the model calls normal "
    "and anomalous."
)
NO_BOUNDARY = "There is no boundary: the model judges all images alike."


def embed(features: np.ndarray) -> np.ndarray:
    """Lay features out in two dimensions.

    Args:
        features: Of shape (N, C), N at least 3.

    Returns:
        Places of shape (N, 2).
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    number = len(features)
    components = PCA(min(COMPONENTS, number - 1, features.shape[1]), random_state=SEED).fit_transform(features)
    perplexity = min(30.0, (number - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=SEED).fit_transform(components)


@for_print
def draw_features(places: np.ndarray, kinds: Sequence[str], alarms: np.ndarray) -> Figure:
    """Draw images as points.

    Args:
        places: Of shape (N, 2).
        kinds: What each image is, of :data:`KINDS`.
        alarms: Whether the model calls it anomalous, of shape (N,).

    Returns:
        The figure.
    """
    both = 0 < alarms.sum() < len(alarms)
    figure = column_figure(75, CAPTION + (BOUNDARY if both else NO_BOUNDARY))
    axes = figure.subplots()
    names = np.array(kinds)
    for kind, (colour, marker) in KINDS.items():
        chosen = places[names == kind]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=9,
            c=colour,
            marker=marker,
            linewidths=0,
            alpha=0.8,
            label=f"{kind} ({len(chosen)})",
        )
    wrong = places[alarms == (names == "normal")]
    label = f"misclassified ({len(wrong)})"
    axes.scatter(wrong[:, 0], wrong[:, 1], s=28, facecolors="none", edgecolors="black", linewidths=0.6, label=label)
    if both:
        _draw_boundary(axes, places, alarms)
    axes.set(xticks=[], yticks=[], xlabel="first dimension", ylabel="second dimension")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, handletextpad=0.2)
    return figure


def _draw_boundary(axes: Axes, places: np.ndarray, alarms: np.ndarray) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = make_pipeline(StandardScaler(), SVC(C=10, gamma=1.0, class_weight="balanced")).fit(places, alarms)
    margin = 0.05 * np.ptp(places, axis=0)
    low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
    x, y = np.meshgrid(*(np.linspace(*ends, GRID) for ends in zip(low, high, strict=True)))
    distance = machine.decision_function(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(x.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of contours that lie outside
        axes.contour(x, y, distance, levels=[0], colors="black", linewidths=0.7, linestyles="dashed")
