"""Pictures of GPT-Net's reconstructions, for the user's loggers and as files."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from anomalib.loggers.base import ImageLoggerBase
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from torch import Tensor

from anomalib_slsg.networks import GPTNet
from anomalib_slsg.utils.pictures import write_png

HEADING_SHARE, LEAST_HEADING = 1 / 12, 18  # height of a row's heading, of that of its images and in pixels
LETTERS = 0.4 / LEAST_HEADING  # OpenCV's font scale for a pixel of heading


def labelled_rows(rows: Mapping[str, Tensor]) -> np.ndarray:
    """Draw rows of images, each below its name.

    Args:
        rows: Images in [0, 1] of shape (B, 3, H, W), the same of each row, by name.

    Returns:
        Array of shape (rows * (heading + H), B * W, 3), uint8.
    """
    parts = []
    for name, images in rows.items():
        row = torch.cat(list(images), dim=-1).float().cpu().clamp(0, 1).permute(1, 2, 0)
        height = heading_height(row.shape[0])
        heading = np.full((height, row.shape[1], 3), 255, np.uint8)
        place, black = (2, round(0.72 * height)), (0, 0, 0)
        cv2.putText(heading, name, place, cv2.FONT_HERSHEY_SIMPLEX, LETTERS * height, black, 1, cv2.LINE_AA)
        parts += [heading, (row.numpy() * 255).round().astype(np.uint8)]
    return np.concatenate(parts)


def heading_height(image_height: int) -> int:
    """Tell how high the heading of a row is, in pixels, by the height of its images."""
    return max(LEAST_HEADING, round(HEADING_SHARE * image_height))


@torch.no_grad()
def log_reconstructions(
    trainer: Trainer, gpt_net: GPTNet, images: Tensor, normalised: Tensor, mask: Tensor, epoch: int
) -> None:
    """Draw images, masked images and both reconstructions in rows that are named; give them to a file and to loggers.

    Args:
        trainer: The trainer, for its loggers and folder.
        gpt_net: The network in training.
        images: Images in [0, 1] of shape (B, 3, H, W).
        normalised: The same images as the encoder takes them.
        mask: 1 where the image is hidden, of shape (B, 1, H, W).
        epoch: Epochs done.
    """
    # drawn with the batch statistics of training; the running ones are put back, so that pictures leave no trace
    statistics = {name: buffer.clone() for name, buffer in gpt_net.named_buffers()}
    reconstruction, auxiliary = gpt_net(normalised * (1 - mask))
    for name, buffer in gpt_net.named_buffers():
        buffer.copy_(statistics[name])
    masked = images * (1 - mask)
    from_bottleneck = "auxiliary, bottleneck alone"
    picture = labelled_rows(
        {"original": images, "masked image": masked, "reconstruction": reconstruction, from_bottleneck: auxiliary}
    )
    path = Path(trainer.default_root_dir) / "images" / "pretraining" / f"epoch_{epoch:03d}.png"
    write_png(path, picture[..., ::-1])
    for logger in trainer.loggers:
        if isinstance(logger, MLFlowLogger) and isinstance(logger, ImageLoggerBase):
            # there the name is that of a file, whose ending counts and which another picture would replace
            logger.add_image(image=picture, name=f"pretraining/reconstructions_{epoch:03d}.png")
        elif isinstance(logger, ImageLoggerBase):
            logger.add_image(image=picture, name="pretraining/reconstructions", global_step=epoch)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image("pretraining/reconstructions", picture, epoch, dataformats="HWC")
        elif hasattr(logger, "log_image"):
            logger.log_image("pretraining/reconstructions", [picture])
