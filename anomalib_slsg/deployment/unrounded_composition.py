"""Keeps OpenVINO from rounding what composition computes. Not in the paper."""

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from anomalib_slsg.deployment.openvino import COMPOSITION, comparing, names, producers
from anomalib_slsg.utils.files import write_atomically

if TYPE_CHECKING:
    from openvino import Node

# OpenVINO's own marks: of what is not rounded, which newer versions write otherwise and still read, and of what expands
# constants of 16 bits when they are used instead of when they are loaded
UNROUNDED, EXPANDED_LATE = "precise", "decompression"


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
