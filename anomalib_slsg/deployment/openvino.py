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


def keep_composition_unrounded(file: Path) -> None:
    """Mark composition's operations, so that OpenVINO leaves them in 32 bits where it computes in fewer, as torch does.

    What is rounded to bfloat16, OpenVINO's choice on processors that are fast at it, has a composition that is far
    from all normal ones, whose closeness to words is a small difference of large numbers.

    OpenVINO does as it is told from 2026.4 on; before, it rounds all the same. It makes new operations of some, which
    have no mark: of a subtraction (unless of a constant), a softmax, a multiplication by 2 or -1, which it moves into a
    product, and a product with constants of 16 bits that are expanded late. So there are none but the softmax in
    :mod:`anomalib_slsg.normality.composition`, and constants are expanded when they are loaded. In models
    quantised to 8 bits OpenVINO also rounds cells once they are standardised, which changes little.

    Args:
        file: Exported Slsg (.xml), which is rewritten; one without composition stays as it is.
    """
    import openvino

    graph = openvino.Core().read_model(file)
    unrounded = set(names(comparing(graph, COMPOSITION, back=_back_to_the_choice)))
    if not unrounded:
        return
    tree = ElementTree.parse(file)
    for layer in tree.iterfind("layers/layer"):
        if layer.get("name") in unrounded:
            _mark(layer)
    write_atomically(file, lambda path: tree.write(path, encoding="utf-8", xml_declaration=True))


def _back_to_the_choice(node: "Node") -> "list[Node]":
    """What an operation needs, but for what is made before channels are chosen from both maps."""
    return [] if node.get_type_name() == "Concat" else producers(node)


def _mark(layer: ElementTree.Element) -> None:
    information = layer.find("rt_info")
    if information is None:
        information = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, information)  # the order that OpenVINO writes
    for attribute in information.findall("attribute"):
        if attribute.get("name") in (UNROUNDED, EXPANDED_LATE):  # a mark that is there twice makes files unreadable
            information.remove(attribute)
    ElementTree.SubElement(information, "attribute", {"name": UNROUNDED, "version": "0"})
