"""Pictures of GPT-Net's reconstructions, for the user's loggers and as files."""

from pathlib import Path

import cv2
import numpy as np
import torch
from anomalib.loggers.base import ImageLoggerBase
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from torch import Tensor

from anomalib_slsg.networks import GPTNet
from anomalib_slsg.utils.files import write_atomically


@torch.no_grad()
def log_reconstructions(
    trainer: Trainer, gpt_net: GPTNet, images: Tensor, normalised: Tensor, mask: Tensor, epoch: int
) -> None:
    """Draw images, masked images and both reconstructions; write them to a file and to every logger that takes images.

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
    rows = torch.stack([images, images * (1 - mask), reconstruction, auxiliary])  # (4, B, 3, H, W)
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    picture = (sheet.float().cpu().clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    path = Path(trainer.default_root_dir) / "images" / "pretraining" / f"epoch_{epoch:03d}.png"
    # OpenCV's own writer fails without a word where a path's letters are not the system's
    encoded = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    write_atomically(path, lambda temporary: temporary.write_bytes(encoded))
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
