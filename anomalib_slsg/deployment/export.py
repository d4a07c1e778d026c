"""Export of trained models: to torch, ONNX and OpenVINO."""

import logging
from pathlib import Path
from typing import Any

from anomalib import TaskType
from anomalib.data import AnomalibDataModule
from anomalib.deploy import CompressionType, ExportType
from anomalib.models import AnomalibModule
from torch import Tensor
from torchmetrics import Metric

from anomalib_slsg.deployment.openvino import keep_unrounded
from anomalib_slsg.deployment.quantization import compress_weights, quantize
from anomalib_slsg.deployment.whole_files import export_whole
from anomalib_slsg.processing.pre_processing import fixes_size

logger = logging.getLogger(__name__)

ONNX_OPSET = 18  # what torch.onnx.export implements
LARGEST_ONNX = 1.9e9  # bytes; from 2 GiB on weights have to lie in a file of their own


class ExportableModule(AnomalibModule):
    """anomalib's module with the exports that suit SLSG's network; ``encoder_ready`` tells whether it is trained."""

    encoder_ready: Tensor

    def warn_if_untrained(self) -> None:
        """Warn that scores of a network that has not been trained mean nothing."""
        if not self.encoder_ready:
            logger.warning(
                "This model has not been trained, and what it finds means nothing. A pretraining.ckpt is for going on "
                "with `anomalib fit`; the trained model is the model.ckpt that fitting writes beside it."
            )

    def to_torch(self, export_root: Path | str, model_file_name: str = "model") -> Path:
        """Export for anomalib's torch inferencer, as anomalib does.

        Args:
            export_root: Folder above the exported models.
            model_file_name: Name of the file without ending.

        Returns:
            The file.
        """
        self.warn_if_untrained()
        export = super().to_torch
        return export_whole(export_root, lambda folder: export(folder, model_file_name))

    def to_onnx(  # type: ignore[override]  # anomalib's signature, which is not Lightning's
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> Path:
        """Export to ONNX as anomalib does, but by default in the operator set that PyTorch writes.

        Converting to anomalib's older default fails in PyTorch, which logs a traceback and keeps the newer set.

        Args:
            export_root: Folder above the exported models.
            model_file_name: Name of the file without ending.
            input_size: Height and width of the images; any if left out.
            **kwargs: Further arguments of ``torch.onnx.export``.

        Returns:
            The file; weights are in it, unless they are larger than such a file may be.

        Raises:
            ValueError: If images may have any size, and nothing resizes them, or PyTorch does not write the operator
                set that is asked for.
        """
        return export_whole(export_root, lambda folder: self._to_onnx(folder, model_file_name, input_size, kwargs))

    def _to_onnx(self, folder: Path, name: str, input_size: tuple[int, int] | None, arguments: dict[str, Any]) -> Path:
        self.warn_if_untrained()
        if input_size is None and not fixes_size(self.pre_processor):
            raise ValueError("nothing resizes this model's images to one size: give input_size, their height and width")
        size = sum(tensor.nbytes for tensor in self.state_dict().values())
        chosen = {"opset_version": ONNX_OPSET, "external_data": size > LARGEST_ONNX, "verbose": False, **arguments}
        file = super().to_onnx(folder, name, input_size, **chosen)
        import onnx  # where it is missing, anomalib has said so above

        written = onnx.load(file, load_external_data=False).opset_import[0].version
        if written != chosen["opset_version"]:
            raise ValueError(
                f"opset_version={chosen['opset_version']} is not supported, PyTorch wrote {written}: leave it out"
            )
        return file

    def to_openvino(
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        compression_type: CompressionType | None = None,
        datamodule: AnomalibDataModule | None = None,
        metric: Metric | None = None,
        task: TaskType | None = None,
        max_drop: float = 0.01,
        ov_kwargs: dict[str, Any] | None = None,
        onnx_kwargs: dict[str, Any] | None = None,
    ) -> Path:
        """Export to OpenVINO as anomalib does; normality stays in 32 bits where OpenVINO computes in fewer.

        Args:
            export_root: Folder above the exported models.
            model_file_name: Name of the file without ending.
            input_size: Height and width of the images; any if left out.
            compression_type: What weights, and with post-training quantisation activations, are stored in. ``INT8_ACQ``
                is not supported: in anomalib 2.7 it fails on maps of probabilities.
            datamodule: Whose training images ``INT8_PTQ`` calibrates with.
            metric: Unused; of ``INT8_ACQ``.
            task: Unused; of ``INT8_ACQ``.
            max_drop: Unused; of ``INT8_ACQ``.
            ov_kwargs: Further arguments of ``openvino.convert_model``.
            onnx_kwargs: Further arguments of ``torch.onnx.export``.

        Returns:
            The file.

        Raises:
            ModuleNotFoundError: If OpenVINO is not installed.
            ValueError: If ``compression_type`` is ``INT8_ACQ``, or ``INT8_PTQ`` without a data module, or as for ONNX.
        """
        if compression_type == CompressionType.INT8_ACQ:
            raise ValueError(
                "INT8_ACQ is not supported; take INT8_PTQ, which leaves unrounded what would cost accuracy, and "
                "measure how much is left with anomalib's OpenVINOInferencer"
            )
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'exporting to OpenVINO needs the extra "openvino": pip install "anomalib-slsg[openvino]"'
            ) from error
        if compression_type == CompressionType.INT8_PTQ and datamodule is None:
            raise ValueError("INT8_PTQ looks at images: give a data module (--data on the command line)")

        def export(folder: Path) -> Path:
            # the graph reads its weights from the ONNX file until it is saved
            onnx_file = self._to_onnx(folder / "onnx", model_file_name, input_size, onnx_kwargs or {})
            graph = openvino.convert_model(onnx_file, **(ov_kwargs or {}))
            if compression_type == CompressionType.INT8_PTQ and datamodule is not None:
                graph = quantize(graph, datamodule)
            elif compression_type == CompressionType.INT8:
                graph = compress_weights(graph)
            file = folder / "weights" / ExportType.OPENVINO.value / f"{model_file_name}.xml"
            file.parent.mkdir(parents=True)
            openvino.save_model(graph, file, compress_to_fp16=compression_type == CompressionType.FP16)
            keep_unrounded(file)
            return file

        return export_whole(export_root, export)
