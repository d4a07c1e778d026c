"""Pictures of reconstructions: a file, the loggers, and no trace in the network."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from anomalib.loggers.base import ImageLoggerBase
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from anomalib_slsg.networks import GPTNet, ResNetEncoder
from anomalib_slsg.pretraining.masking import inpainting_mask
from anomalib_slsg.pretraining.pictures import heading_height, log_reconstructions
from tests.support.models import weights_of
from tests.support.training import quiet_trainer


class Recording(ImageLoggerBase):
    """The part of anomalib's loggers that takes images; it remembers them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.images: list[tuple[str | None, np.ndarray, dict]] = []

    def add_image(self, image: Any, name: str | None = None, **kwargs: Any) -> None:
        self.images.append((name, image, kwargs))


class RecordingLogger(Recording, CSVLogger):
    """A logger of anomalib's kind."""


class RecordingMLFlowLogger(Recording, MLFlowLogger):
    """The one whose images are files, without MLflow, which may not be installed."""

    def __init__(self) -> None:
        self.images = []


@pytest.fixture
def gpt_net() -> GPTNet:
    torch.manual_seed(0)
    return GPTNet(ResNetEncoder("regnetx_002"), decoder_channels=(16, 16, 16, 8)).train()


def _draw(folder: Path, gpt_net: GPTNet, loggers: list[Logger]) -> tuple[Tensor, Tensor]:
    trainer = quiet_trainer(default_root_dir=folder, logger=loggers)
    generator = torch.Generator().manual_seed(0)
    images, mask = torch.rand(3, 3, 32, 48, generator=generator), inpainting_mask(3, (32, 48), generator)
    log_reconstructions(trainer, gpt_net, images, (images - 0.45) / 0.22, mask, epoch=5)
    return images, mask


def test_file_shows_images_masked_images_and_reconstructions(tmp_path: Path, gpt_net: GPTNet) -> None:
    images, mask = _draw(tmp_path, gpt_net, [])
    file = tmp_path / "images" / "pretraining" / "epoch_005.png"
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    picture = torch.from_numpy(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)) / 255
    heading = heading_height(32)
    assert picture.shape == (4 * (heading + 32), 3 * 48, 3)
    lines = picture.view(4, heading + 32, 3 * 48, 3)
    headings, rows = lines[:, :heading], lines[:, heading:]
    assert all((row < 0.3).any() and (row > 0.9).float().mean() > 0.5 for row in headings)  # letters on white
    assert len({row.numpy().tobytes() for row in headings}) == 4
    rows = rows.reshape(4, 32, 3, 48, 3).permute(0, 2, 4, 1, 3)  # (row, image, colour, height, width)
    torch.testing.assert_close(rows[0], images, rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(rows[1], images * (1 - mask), rtol=0, atol=0.5 / 255 + 1e-6)
    with torch.no_grad():
        reconstructions = gpt_net((images - 0.45) / 0.22 * (1 - mask))
    for row, expected in zip(rows[2:], reconstructions, strict=True):
        torch.testing.assert_close(row, expected, rtol=0, atol=0.5 / 255 + 1e-5)


def test_network_is_left_as_it_was(tmp_path: Path, gpt_net: GPTNet) -> None:
    before = weights_of(gpt_net)
    _draw(tmp_path, gpt_net, [])
    assert gpt_net.training
    assert all(parameter.grad is None for parameter in gpt_net.parameters())
    for name, tensor in gpt_net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_loggers_get_the_picture(tmp_path: Path, gpt_net: GPTNet) -> None:
    recording, tensorboard = RecordingLogger(tmp_path / "recording"), TensorBoardLogger(tmp_path / "tensorboard")
    _draw(tmp_path, gpt_net, [recording, tensorboard, CSVLogger(tmp_path / "csv")])
    [(name, image, details)] = recording.images
    assert name == "pretraining/reconstructions"
    assert image.shape == (4 * (heading_height(32) + 32), 144, 3)
    assert image.dtype == np.uint8
    assert details == {"global_step": 5}
    tensorboard.experiment.flush()
    events = EventAccumulator(tensorboard.log_dir).Reload()
    assert [event.step for event in events.Images("pretraining/reconstructions")] == [5]


def test_mlflow_gets_a_file_of_its_own_for_each_picture(tmp_path: Path, gpt_net: GPTNet) -> None:
    """MLflow takes the name for that of a file, and its ending for the format."""
    recording = RecordingMLFlowLogger()
    _draw(tmp_path, gpt_net, [recording])
    [(name, image, _)] = recording.images
    assert name == "pretraining/reconstructions_005.png"
    Image.fromarray(image).save(tmp_path / Path(name).name)


def test_pictures_do_not_depend_on_the_letters_of_the_path(
    tmp_path: Path, gpt_net: GPTNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV's own writer returns false on Windows where they are not the system's."""
    monkeypatch.setattr(cv2, "imwrite", lambda *_: False)
    _draw(tmp_path, gpt_net, [])
    assert (tmp_path / "images" / "pretraining" / "epoch_005.png").stat().st_size > 0
