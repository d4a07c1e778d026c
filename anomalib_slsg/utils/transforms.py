"""What transforms of images are made of."""

from collections.abc import Iterator

from torch import nn


def parts(transform: nn.Module | None) -> Iterator[nn.Module]:
    """List a transform and all that are nested in it.

    Args:
        transform: A pre-processor's transform or a data set's augmentations, if there are any.

    Yields:
        The transform itself, and the parts of compositions at any depth.
    """
    if transform is None:
        return
    yield transform
    # Compose keeps its transforms in a plain list, which modules() does not enter
    children = transform.children() if isinstance(transform, nn.Module) else ()  # anomalib takes any function
    for part in (*getattr(transform, "transforms", ()), *children):
        yield from parts(part)
