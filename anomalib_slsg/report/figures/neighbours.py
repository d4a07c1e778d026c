"""Fig. 8: which patches the SG block's graph connects."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from anomalib_slsg.report.figures.column import for_print, picture_grid, show

ROWS = ("position similarity eliminated", "position similarity kept")
CAPTION = (
    "Fig. 8. Graph of the SG block on test images: a chosen patch (green) and its neighbours (red). Below each: how "
    "much more alike neighbours are to the patch than all patches, the cosine of X in standard deviations, and how "
    "many lie beside it, in its first-order neighbourhood."
)
TEXT = 5.5  # millimetres below pictures


class Graph(NamedTuple):
    """What all edges of some images have in common.

    Attributes:
        likeness: How much more alike neighbours are than all nodes, in standard deviations of the cosine of X.
        beside: Share of neighbours in the first-order neighbourhood.
        farthest: Share of neighbours among the tenth of the nodes that is farthest away.
    """

    likeness: float
    beside: float
    farthest: float

    def __str__(self) -> str:
        """Tell it in a few words."""
        return f"{self.likeness:+.1f} s.d., {self.beside:.0%} beside, {self.farthest:.0%} in the farthest tenth"


class Edges(NamedTuple):
    """A node and its neighbours.

    Attributes:
        likeness: How much more alike they are than all nodes, in standard deviations of the cosine.
        node: Row and column.
        neighbours: Rows and columns, the node itself not among them, of shape (K, 2).
    """

    likeness: float
    node: tuple[int, int]
    neighbours: list[tuple[int, int]]

    @property
    def beside(self) -> int:
        """How many neighbours touch the node."""
        return sum(max(abs(row - self.node[0]), abs(column - self.node[1])) == 1 for row, column in self.neighbours)


def edges_of(bottleneck: Tensor, indices: Tensor, node: int) -> Edges:
    """Describe a node's edges.

    Args:
        bottleneck: X of shape (C, H, W).
        indices: Neighbours of each node, of shape (N, K).
        node: Index of the node, in row-major order.

    Returns:
        Its edges.
    """
    width = bottleneck.shape[-1]
    neighbours = [index for index in indices[node].tolist() if index != node]
    likeness = _likeness(bottleneck[None])[0, node, neighbours].mean()
    return Edges(likeness.item(), divmod(node, width), [divmod(index, width) for index in neighbours])


def graph_of(bottleneck: Tensor, indices: Tensor) -> Graph:
    """Describe the edges of all nodes but those to themselves.

    Args:
        bottleneck: X of shape (B, C, H, W).
        indices: Neighbours of each node, of shape (B, N, K).

    Returns:
        Means over all edges.
    """
    height, width = bottleneck.shape[-2:]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    steps = (places[:, None] - places).abs()
    beside = steps.amax(-1) == 1
    distance = steps.square().sum(-1)
    farthest = distance >= distance.float().quantile(0.9, dim=1, keepdim=True)
    other = indices != torch.arange(len(places))[:, None]
    told = (_likeness(bottleneck), beside, farthest)
    of_edges = (each.expand(len(indices), -1, -1).gather(2, indices)[other] for each in told)
    return Graph(*(each.float().mean().item() for each in of_edges))


def _likeness(bottleneck: Tensor) -> Tensor:
    """Tell of X (B, C, H, W) how much more each node is like each other than like all, of shape (B, N, N)."""
    nodes = torch.nn.functional.normalize(bottleneck.flatten(2).transpose(1, 2).float(), dim=-1)
    cosine = nodes @ nodes.transpose(1, 2)
    number = cosine.shape[-1]
    others = cosine[:, ~torch.eye(number, dtype=torch.bool)].view(-1, number, number - 1)
    return (cosine - others.mean(-1, keepdim=True)) / others.std(-1, keepdim=True).clamp(min=1e-6)


@for_print
def draw_neighbours(
    images: Tensor, rows: Sequence[Sequence[Edges]], graphs: Sequence[Graph], nodes: tuple[int, int]
) -> Figure:
    """Draw the images with the edges that are found without and with the similarity of positions.

    Args:
        images: In [0, 1], of shape (B, 3, H, W).
        rows: The edges of each image, first with the position similarity eliminated, then with it kept.
        graphs: All edges of each row, which the caption tells of.
        nodes: Rows and columns of the graph.

    Returns:
        The figure.
    """
    shape = (images.shape[-2], images.shape[-1])
    patch = shape[0] / nodes[0], shape[1] / nodes[1]
    caption = f"{CAPTION} All patches: {graphs[0]}; with positions kept {graphs[1]}."
    figure, axes = picture_grid([""] * len(images), ROWS, caption, extra=TEXT, shape=shape)
    for line, edges in zip(axes, rows, strict=True):
        for panel, image, each in zip(line, images, edges, strict=True):
            show(panel, image)
            _draw_dots(panel, each.neighbours, patch, "red")
            _draw_dots(panel, [each.node], patch, "lime")
            told = f"{each.likeness:+.1f} s.d.\n{each.beside} of {len(each.neighbours)} beside"
            panel.set_xlabel(told, fontsize=6, labelpad=2)
    return figure


def _draw_dots(axes: Axes, places: Sequence[tuple[int, int]], patch: tuple[float, float], colour: str) -> None:
    x = [(column + 0.5) * patch[1] - 0.5 for _, column in places]
    y = [(row + 0.5) * patch[0] - 0.5 for row, _ in places]
    axes.scatter(x, y, s=6, c=colour, edgecolors="white", linewidths=0.3)
