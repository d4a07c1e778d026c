"""The normal image that is most like another, to be looked at beside it. Not in the paper."""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from anomalib_slsg.normality.backbone import Features
from anomalib_slsg.normality.measure import at_least
from anomalib_slsg.utils.files import write_atomically

NAME = "normal_images.npz"  # beside the checkpoint
EXAMPLES = 200  # normal images that are compared with, in less than a megabyte
GRID = 4  # by 4 regions: an image is to be more like one in which the same things lie at the same places


@torch.no_grad()
def summarise(images: Tensor, backbone: nn.Module) -> Tensor:
    """Describe images in few numbers: the fine features of the frozen backbone, averaged over regions.

    Args:
        images: Normalised images of shape (B, 3, H, W).
        backbone: Normality's, or a faster copy of it.

    Returns:
        Summaries of shape (B, C).
    """
    features: Features = backbone(images.contiguous(memory_format=torch.channels_last))
    return adaptive_avg_pool2d(features.fine, GRID).flatten(1)


class NormalExamples(NamedTuple):
    """Normal images, and what they are compared by.

    Attributes:
        files: Where they are, absolute.
        summaries: Theirs, of shape (N, C).
    """

    files: list[str]
    summaries: Tensor

    def write(self, path: Path, model: str) -> None:
        """Write them without pickled objects.

        Args:
            path: The file, ``.npz``.
            model: Hash of the model whose backbone made the summaries.
        """
        files, summaries = np.array(self.files), self.summaries.half().cpu().numpy()
        write_atomically(
            path, lambda temporary: np.savez_compressed(temporary, files=files, summaries=summaries, model=model)
        )

    @classmethod
    def read(cls, path: Path, model: str) -> "NormalExamples | None":
        """Read those of a model that are still where they were.

        Args:
            path: The file.
            model: The model's hash.

        Returns:
            The images; ``None`` if there is no such file, it is of another model, or all images are gone.

        Raises:
            ValueError: If the file is broken, naming it.
        """
        if not path.is_file():
            return None
        try:
            with np.load(path) as arrays:
                files, summaries, of = arrays["files"].tolist(), torch.from_numpy(arrays["summaries"]), arrays["model"]
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ValueError(f"'{path}' is broken ({error}); remove it to go without the nearest images") from error
        there = [index for index, file in enumerate(files) if Path(file).is_file()]
        if str(of) != model or not there:
            return None
        return cls([files[index] for index in there], summaries[there].float())

    def nearest(self, summary: Tensor) -> str:
        """Find the most similar image.

        Args:
            summary: That of an image, of shape (1, C).

        Returns:
            Its file. Numbers count by how much they vary among the normal images, and their differences are not
            squared: an anomaly, which differs much in few of them, is not to decide.
        """
        scale = at_least(self.summaries.std(dim=0, correction=0))
        return self.files[int(((self.summaries - summary.cpu()) / scale).abs().sum(dim=1).argmin())]
