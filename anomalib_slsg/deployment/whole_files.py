"""Exports that are either whole or absent."""

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

logger = logging.getLogger(__name__)

LOADERS = {
    ".pt": "anomalib.deploy.TorchInferencer(path=...), with TRUST_REMOTE_CODE=1 in the environment",
    ".onnx": "onnxruntime.InferenceSession(...) or anomalib.deploy.OpenVINOInferencer(path=...)",
    ".xml": "anomalib.deploy.OpenVINOInferencer(path=...), which needs the .bin beside it, too",
}


def export_whole(root: Path | str, export: Callable[[Path], Path]) -> Path:
    """Export into a folder beside the target, and move what is there when all of it is.

    Args:
        root: Folder of exports.
        export: Exports into a folder in place of ``root``, and returns the file that models are loaded from. Others
            beside it belong to it.

    Returns:
        The file below ``root``. A line says how large the export is and how it is loaded.

    Raises:
        OSError: If it cannot be written. An older export is as it was then.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export.", dir=root) as folder:
        file = export(Path(folder))
        others = [each for each in file.parent.iterdir() if each != file]
        size = sum(each.stat().st_size for each in [file, *others])
        target = root / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # an older one must not be found beside newer weights
        for each in [*others, file]:
            each.replace(target.parent / each.name)
    logger.info("Exported %s, %.1f MB. Load it with %s.", target, size / 1e6, LOADERS[target.suffix])
    return target
