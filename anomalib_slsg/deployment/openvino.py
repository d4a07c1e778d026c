"""Finding operations in OpenVINO's graph of an exported Slsg."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openvino import Model, Node

# what the exporters call the first constants of those that features are compared with
DISTANCE, COMPOSITION = "feature_distance.whitening", "composition.words"
NO_OPERATIONS = ("Constant", "Parameter", "Result")


def comparing(graph: "Model", *wanted: str, back: "Callable[[Node], list[Node]] | None" = None) -> "set[Node]":
    """Find what compares features with normal ones.

    Args:
        graph: OpenVINO model of an exported Slsg.
        *wanted: Names of constants; where they are rounded to 16 bits they have longer ones.
        back: What is needed for a product with them, as far as it is wanted; everything if left out.

    Returns:
        All that follows from the constants, and what leads to products among it; none if there are no such constants.
    """
    constants = [
        node
        for node in graph.get_ops()
        if node.get_type_name() == "Constant" and any(name in node.get_friendly_name() for name in wanted)
    ]
    after = reachable(constants, consumers)
    return after | reachable([node for node in after if node.get_type_name() == "MatMul"], back or producers)


def consumers(node: "Node") -> "list[Node]":
    """The operations that a result enters."""
    return [target.get_node() for output in node.outputs() for target in output.get_target_inputs()]


def producers(node: "Node") -> "list[Node]":
    """The operations whose results an operation needs."""
    return [source.get_source_output().get_node() for source in node.inputs()]


def reachable(start: "Iterable[Node]", neighbours: "Callable[[Node], list[Node]]") -> "set[Node]":
    """Everything that leads from ``start`` on, and itself."""
    found: set[Node] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += neighbours(node)
    return found


def names(nodes: "Iterable[Node]") -> list[str]:
    """Names of the operations among ``nodes``, sorted."""
    return sorted(node.get_friendly_name() for node in nodes if node.get_type_name() not in NO_OPERATIONS)
