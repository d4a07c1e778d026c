"""Post-training quantisation that leaves the graph block's similarities alone."""

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from anomalib.data import AnomalibDataModule
    from openvino import Model


def quantization_settings() -> dict[str, Any]:
    """Settings of ``nncf.quantize`` that cost SLSG the least accuracy.

    Rounding similarities to 8 bits chooses other neighbours, so the SG block's matrix products, a hundredth of the
    arithmetic, keep their precision. Activations get an offset as well as a scale: many of them are not rectified.

    Returns:
        Keyword arguments.
    """
    import nncf

    return {"preset": nncf.QuantizationPreset.MIXED, "ignored_scope": nncf.IgnoredScope(types=["MatMul"])}


def quantize(graph: "Model", datamodule: "AnomalibDataModule | None") -> "Model":
    """Quantise an exported graph to INT8.

    Args:
        graph: OpenVINO model of images (B, 3, H, W) in [0, 1].
        datamodule: Its validation images show which values occur.

    Returns:
        The quantised model.

    Raises:
        ValueError: If there is no data module, or if the model measures the distance of features.
    """
    import nncf

    if any(node.get_friendly_name().endswith("feature_distance.whitening") for node in graph.get_ops()):
        # on bottle, image AUROC of an EfficientNet-Lite0 fell from 0.989 to 0.615
        msg = (
            "INT8 rounds the features whose distance model.feature_distance measures, and most images look anomalous "
            "then: export without compression or with FP16, or train with model.feature_distance=false"
        )
        raise ValueError(msg)
    if datamodule is None:
        msg = "INT8 quantisation looks at images: give a data module (--data on the command line)"
        raise ValueError(msg)
    datamodule.setup("fit")
    dataset = datamodule.val_dataloader().dataset
    batch = graph.input(0).partial_shape[0]
    # the loader's own batch size is that of evaluation, which a graph for another one refuses
    loader = DataLoader(dataset, batch.get_length() if batch.is_static else 1, collate_fn=dataset.collate_fn)
    calibration = nncf.Dataset(loader, lambda images: images.image)
    return nncf.quantize(graph, calibration, **quantization_settings())
