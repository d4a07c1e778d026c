"""Post-training quantisation that leaves the graph block's similarities alone."""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import resize

from anomalib_slsg.deployment.openvino import COMPARED, comparing, convolves, names, preparing

if TYPE_CHECKING:
    from anomalib.data import AnomalibDataModule, ImageBatch
    from openvino import Model

CALIBRATION_IMAGES = 300  # nncf's own number


def quantization_settings(graph: "Model") -> dict[str, Any]:
    """Settings of ``nncf.quantize`` that cost SLSG the least accuracy.

    Rounding similarities to 8 bits chooses other neighbours, so the SG block's matrix products, a hundredth of the
    arithmetic, keep their precision. Activations get an offset as well as a scale: many of them are not rectified.
    The first convolution, another hundredth, keeps its precision because rounding a normalised grey image gives it
    colours; see :mod:`anomalib_slsg.networks.precise_stem`. Normality's small backbone does, too,
    because whitening magnifies what rounding does to features.

    Args:
        graph: OpenVINO model of an exported Slsg.

    Returns:
        Keyword arguments.
    """
    import nncf

    unrounded = names(comparing(graph, *COMPARED) | {node for node in preparing(graph) if convolves(node)})
    ignored = nncf.IgnoredScope(types=["MatMul"], names=unrounded)
    return {"preset": nncf.QuantizationPreset.MIXED, "ignored_scope": ignored}


def quantize(graph: "Model", datamodule: "AnomalibDataModule") -> "Model":
    """Quantise an exported graph to INT8.

    Args:
        graph: OpenVINO model of images (B, 3, H, W) in [0, 1].
        datamodule: Its training images show which values occur; others may be anomalous.

    Returns:
        The quantised model.
    """
    import nncf

    datamodule.setup("fit")
    dataset = datamodule.train_data
    batch = graph.input(0).partial_shape[0]
    # the loader's own batch size is that of evaluation, which a graph for another one refuses
    loader = DataLoader(dataset, batch.get_length() if batch.is_static else 1, collate_fn=dataset.collate_fn)
    height, width = (graph.input(0).partial_shape[axis] for axis in (2, 3))

    def as_deployed(images: "ImageBatch") -> torch.Tensor:
        """Of the size that the graph was exported for, whatever the data set's."""
        image = cast("torch.Tensor", images.image)
        if height.is_dynamic or width.is_dynamic:
            return image
        return resize(image, [height.get_length(), width.get_length()], antialias=True)

    calibration = nncf.Dataset(loader, as_deployed)
    # nncf warns where there are fewer than it asks for
    return nncf.quantize(
        graph, calibration, subset_size=min(len(loader), CALIBRATION_IMAGES), **quantization_settings(graph)
    )


def compress_weights(graph: "Model") -> "Model":
    """Round an exported graph's weights to 8 bits, but for those of normality's backbone: whitening magnifies it.

    Args:
        graph: OpenVINO model of an exported Slsg.

    Returns:
        The model with smaller weights, which computes in the precision that it did.
    """
    import nncf

    ignored = nncf.IgnoredScope(names=names(comparing(graph, *COMPARED)))
    return nncf.compress_weights(graph, ignored_scope=ignored)
