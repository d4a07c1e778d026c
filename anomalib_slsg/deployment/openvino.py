"""Operations in OpenVINO's graph of an exported Slsg: finding them, and keeping them from being rounded."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from anomalib_slsg.utils.files import write_atomically

if TYPE_CHECKING:
    from openvino import Model, Node

# what the exporters call the first constants of those that features are compared with
COMPOSITION = "normality.composition.words"
COMPARED = (*(f"normality.{measure}.whitening" for measure in ("places", "details", "whole")), COMPOSITION)
NO_OPERATIONS = ("Constant", "Parameter", "Result")
# OpenVINO's own marks: of what is not rounded, which newer versions write otherwise and still read, and of what expands
# constants of 16 bits when they are used instead of when they are loaded
UNROUNDED, EXPANDED_LATE = "precise", "decompression"


def comparing(graph: "Model", *wanted: str) -> "set[Node]":
    """Find what compares features with normal ones.

    Args:
        graph: OpenVINO model of an exported Slsg.
        *wanted: Names of constants; where they are rounded to 16 bits they have longer ones.

    Returns:
        All that follows from the constants, and what leads to products among it; none if there are no such constants.
    """
    constants = [
        node
        for node in graph.get_ops()
        if node.get_type_name() == "Constant" and any(name in node.get_friendly_name() for name in wanted)
    ]
    after = reachable(constants, consumers)
    return after | reachable([node for node in after if node.get_type_name() == "MatMul"], producers)


def preparing(graph: "Model") -> "set[Node]":
    """Find what happens to images, and to their sizes, before the first convolutions, and those.

    Args:
        graph: OpenVINO model of an exported Slsg.

    Returns:
        The operations, and the constants that they need.
    """
    after = reachable(graph.get_parameters(), lambda node: [] if convolves(node) else consumers(node))
    before = reachable([node for node in after if convolves(node)], producers)
    return (after & before) | {node for node in before if node.get_type_name() == "Constant"}


def convolves(node: "Node") -> bool:
    """Tell whether an operation is a convolution of all channels."""
    return node.get_type_name() == "Convolution"


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


def keep_unrounded(file: Path) -> None:
    """Mark what OpenVINO has to leave in 32 bits where it computes in fewer, as torch does.

    On processors that are fast at bfloat16 OpenVINO chooses it by itself. Whitening magnifies what rounding does to
    features, of which composition makes small differences of large numbers; so normality stays unrounded, from the
    image on. So does the resizing: shares of pixels that are all rounded alike change an image's brightness.

    OpenVINO does as it is told from 2026.4 on; before, it rounds all the same. It makes new operations of some, which
    have no mark: of a division, a subtraction (unless of a constant), a softmax, a multiplication by 2 or -1, which it
    moves into a product, and a product with constants of 16 bits that are expanded late. So there are none in
    :mod:`anomalib_slsg.normality.composition` but the softmax, nor a division in
    :mod:`anomalib_slsg.processing.antialiased_resize`, and constants are expanded when they are loaded.

    Args:
        file: Exported Slsg (.xml), which is rewritten.
    """
    import openvino

    graph = openvino.Core().read_model(file)
    convolutions = {node for node in graph.get_ops() if convolves(node)}
    unrounded = set(names((preparing(graph) - convolutions) | comparing(graph, *COMPARED)))
    tree = ElementTree.parse(file)
    for layer in tree.iterfind("layers/layer"):
        if layer.get("name") in unrounded:
            _mark(layer)
    write_atomically(file, lambda path: tree.write(path, encoding="utf-8", xml_declaration=True))


def _mark(layer: ElementTree.Element) -> None:
    information = layer.find("rt_info")
    if information is None:
        information = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, information)  # the order that OpenVINO writes
    for attribute in information.findall("attribute"):
        if attribute.get("name") in (UNROUNDED, EXPANDED_LATE):  # a mark that is there twice makes files unreadable
            information.remove(attribute)
    ElementTree.SubElement(information, "attribute", {"name": UNROUNDED, "version": "0"})
