"""GenerativePretraining in a real trainer: what it trains, writes, resumes and skips."""

import csv
import operator
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.data import ImageBatch, ImageItem
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomalib_slsg import GenerativePretraining
from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.networks import DNet, ResNetEncoder
from anomalib_slsg.networks.weights import load_encoder_weights
from anomalib_slsg.pretraining import gan
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.training.run_watch import RunWatch
from tests.support.models import parameters_of, tiny_torch_model, weights_of
from tests.support.training import quiet_trainer

BACKBONE = "regnetx_002"


class Photographs(Dataset):
    """Small random images."""

    def __init__(self, number: int, seed: int = 0, side: int = 32) -> None:
        generator = torch.Generator().manual_seed(seed)
        # eight bits deep, so that the cache of normal images holds them exactly
        self.images = torch.randint(256, (number, 3, side, side), generator=generator) / 255

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ImageItem:
        return ImageItem(image=self.images[index], image_path=f"{index}.png")


class Host(LightningModule):
    """What the callback needs of Slsg, with an empty second phase."""

    encoder_ready: Tensor
    encoder_weights = None
    shows_progress = False

    def __init__(self, number: int = 5, backbone: str = BACKBONE) -> None:
        super().__init__()
        self.model = tiny_torch_model(backbone, decoder_channels=(16, 16, 16, 8)).train()
        self.model.seg_net.encoder.requires_grad_(False)
        self.register_buffer("encoder_ready", torch.tensor(False))
        self.normal_images = NormalImages(Photographs(number), ImageBatch.collate)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    @property
    def fit_seed(self) -> int:
        return torch.initial_seed()

    def on_train_start(self) -> None:
        self.encoder_ready.fill_(True)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.weight - 1).square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.zeros(20, 1))

    @property
    def encoder(self) -> ResNetEncoder:
        return self.model.seg_net.encoder


@pytest.fixture(autouse=True)
def _small_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "DNet", partial(DNet, (8, 8, 8, 8)))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The batches that the GAN is trained on."""
    seen: list[Tensor] = []
    step = gan.InpaintingGAN.step

    def record(self: gan.InpaintingGAN, images: Tensor, *others: Tensor) -> dict[str, Tensor]:
        seen.append(images)
        return step(self, images, *others)

    monkeypatch.setattr(gan.InpaintingGAN, "step", record)
    return seen


def _trainer(folder: Path, options: PretrainingOptions, keep: bool = False, **arguments: Any) -> Trainer:
    """Make a trainer; ``keep`` gives it a folder of checkpoints, as anomalib's engine does."""
    watch = RunWatch()
    callbacks: list[Callback] = [watch, GenerativePretraining(options, watch)]
    if keep:
        callbacks.append(ModelCheckpoint(folder / "weights"))
    defaults = {"max_steps": 1, "enable_model_summary": False, "enable_checkpointing": keep, **arguments}
    return quiet_trainer(default_root_dir=folder, callbacks=callbacks, **defaults)


def _options(**changes: Any) -> PretrainingOptions:
    return PretrainingOptions(**{"epochs": 2, "batch_size": 2, "log_images_every": 0, **changes})


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_trains_the_encoder_whole_and_logs(tmp_path: Path) -> None:
    host = Host()
    before = weights_of(host.encoder)
    logger = CSVLogger(tmp_path / "csv")
    trainer = _trainer(tmp_path, _options(log_images_every=1), logger=logger, log_every_n_steps=4)
    trainer.fit(host)
    after = weights_of(host.encoder)
    assert {name for name in before if torch.equal(before[name], after[name])} == set()
    assert not any(parameter.requires_grad for parameter in host.encoder.parameters())
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("pretraining/l1")]
    assert [int(row["step"]) for row in rows] == [4, 6]
    assert all(float(row[f"pretraining/{name}"]) > 0 for row in rows for name in ("l1", "generator", "discriminator"))
    pictures = sorted(path.name for path in (tmp_path / "images" / "pretraining").iterdir())
    assert pictures == ["epoch_001.png", "epoch_002.png"]


@pytest.mark.parametrize(("every", "expected"), [(2, [2, 3]), (0, [])])
def test_pictures_are_drawn_as_often_as_asked_and_at_the_end(tmp_path: Path, every: int, expected: list[int]) -> None:
    _trainer(tmp_path, _options(epochs=3, batch_size=6, log_images_every=every)).fit(Host(number=2))
    files = sorted(path.stem for path in (tmp_path / "images").rglob("*.png"))
    assert files == [f"epoch_{epoch:03d}" for epoch in expected]


def test_each_epoch_shows_every_image_in_a_new_order(tmp_path: Path, batches: list[Tensor]) -> None:
    host = Host(number=6)
    _trainer(tmp_path, _options()).fit(host)
    assert [len(batch) for batch in batches] == [2] * 6
    images = host.normal_images[torch.arange(6)]
    orders = []
    for epoch in (batches[:3], batches[3:]):
        shown = torch.cat(epoch)
        orders.append([int((images == image).flatten(1).all(dim=1).nonzero()) for image in shown])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(6))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("number", [1, 2])
def test_fewer_images_than_a_batch_are_enough(tmp_path: Path, batches: list[Tensor], number: int) -> None:
    _trainer(tmp_path, _options(batch_size=6)).fit(Host(number=number))
    assert [len(batch) for batch in batches] == [number] * 2


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [({"limit_train_batches": 1}, 2), ({"limit_train_batches": 0.7}, 4), ({"fast_dev_run": True}, 1), ({}, 6)],
    ids=str,
)
def test_trainers_limits_are_honoured(tmp_path: Path, batches: list[Tensor], arguments: dict, steps: int) -> None:
    _trainer(tmp_path, _options(log_images_every=2), keep="fast_dev_run" in arguments, **arguments).fit(Host())
    assert len(batches) == steps
    assert (tmp_path / "images").exists() != ("fast_dev_run" in arguments)
    assert not (tmp_path / "weights" / "pretraining.ckpt").exists()


@pytest.mark.parametrize("arguments", [{"log_every_n_steps": 0}, {"enable_progress_bar": True}], ids=str)
def test_trainers_reports_can_be_switched(tmp_path: Path, batches: list[Tensor], arguments: dict) -> None:
    _trainer(tmp_path, _options(epochs=1), **arguments).fit(Host())
    assert len(batches) == 3


def test_trainers_precision_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = DNet.forward

    def record(self: DNet, images: Tensor) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"))
        return forward(self, images)

    monkeypatch.setattr(DNet, "forward", record)
    host = Host()
    _trainer(tmp_path, _options(epochs=1), precision="bf16-mixed").fit(host)
    assert set(seen) == {torch.bfloat16}
    assert all(torch.isfinite(tensor.float()).all() for tensor in host.encoder.state_dict().values())


def test_same_seed_gives_the_same_encoder(tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        host = Host()
        torch.manual_seed(3)
        _trainer(tmp_path, _options(epochs=1)).fit(host)
        results.append(weights_of(host.encoder))
    assert _equal(*results)


def test_state_lies_beside_the_checkpoints_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights" / "pretraining.ckpt"
    there = []
    monkeypatch.setattr(Host, "on_train_epoch_start", lambda _: there.append(file.exists()))
    trainer = _trainer(tmp_path, _options(epochs=1), keep=True)
    trainer.fit(Host())
    assert there == [True]
    assert not file.exists()
    trainer.save_checkpoint(tmp_path / "finished.ckpt")
    state = torch.load(tmp_path / "finished.ckpt", weights_only=True)
    assert not state["callbacks"].get("GenerativePretraining")


def _stop_after(monkeypatch: pytest.MonkeyPatch, steps: int, stop: Callable[[], object]) -> Callable[[], None]:
    step = gan.InpaintingGAN.step
    left: Iterator[int] = iter(range(steps))

    def limited(self: gan.InpaintingGAN, *tensors: Tensor) -> dict[str, Tensor]:
        next(left)
        if not operator.length_hint(left):
            stop()
        return step(self, *tensors)

    monkeypatch.setattr(gan.InpaintingGAN, "step", limited)
    return lambda: monkeypatch.setattr(gan.InpaintingGAN, "step", step)


def _crash() -> None:
    msg = "out of memory"
    raise RuntimeError(msg)


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(
    ("stop", "outcome", "saved_step"),
    [
        (partial(signal.raise_signal, signal.SIGINT), (KeyboardInterrupt, SystemExit), 4),
        (partial(signal.raise_signal, signal.SIGTERM), SIGTERMException, 4),
        (_crash, RuntimeError, 3),
    ],
    ids=["interrupted by the user", "terminated by the system", "crashed"],
)
def test_interrupted_run_goes_on_to_the_same_encoder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batches: list[Tensor],
    stop: Callable[[], object],
    outcome: Any,
    saved_step: int,
) -> None:
    """Five images in batches of two: an epoch has three steps, and the fourth step lies within the second."""
    whole = Host()
    torch.manual_seed(3)
    _trainer(tmp_path / "whole", _options()).fit(whole)
    expected = [batch.clone() for batch in batches]

    batches.clear()
    go_on = _stop_after(monkeypatch, 4, stop)
    stopped = Host()
    torch.manual_seed(3)
    with pytest.raises(outcome) as stopped_by:
        _trainer(tmp_path / "parts", _options(), keep=True).fit(stopped)
    go_on()
    assert getattr(stopped_by.value, "code", None) in {1, 143, None}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    file = tmp_path / "parts" / "weights" / "pretraining.ckpt"
    resumed = Host()
    torch.manual_seed(9)
    _trainer(tmp_path / "parts", _options(), keep=True).fit(resumed, ckpt_path=file, weights_only=True)
    del batches[saved_step : len(batches) - (6 - saved_step)]
    assert len(batches) == len(expected) == 6
    assert all(torch.equal(batch, other) for batch, other in zip(batches, expected, strict=True))
    assert _equal(weights_of(resumed.encoder), weights_of(whole.encoder))
    assert not file.exists()


def test_pretrained_encoder_is_left_alone(tmp_path: Path, batches: list[Tensor]) -> None:
    host, trainer = Host(), _trainer(tmp_path, _options(epochs=1))
    trainer.fit(host)
    done, file = weights_of(host.encoder), tmp_path / "finished.ckpt"
    trainer.save_checkpoint(file)
    batches.clear()
    resumed = Host()
    _trainer(tmp_path, _options(), max_steps=2).fit(resumed, ckpt_path=file, weights_only=True)
    assert batches == []
    assert _equal(weights_of(resumed.encoder), done)


def test_finished_pretraining_is_shared_between_runs(tmp_path: Path, batches: list[Tensor]) -> None:
    options = _options(checkpoint=str(tmp_path / "shared" / "gpt_net.ckpt"))
    callback = GenerativePretraining(options)
    first, trainer = Host(), _trainer(tmp_path / "first", options)
    assert not callback.supplies_encoder()
    trainer.fit(first)
    assert callback.supplies_encoder()
    assert callback.state_dict() == {}
    assert len(batches) == 6

    second = Host()
    _trainer(tmp_path / "second", options).fit(second)
    assert len(batches) == 6, "the second run must not train again"
    third = ResNetEncoder(BACKBONE)
    load_encoder_weights(third, str(options.checkpoint))
    assert _equal(weights_of(second.encoder), weights_of(first.encoder))
    assert _equal(parameters_of(third), parameters_of(first.encoder))


def test_without_epochs_the_encoder_stays_as_it_is(tmp_path: Path, batches: list[Tensor]) -> None:
    """Its statistics, too; and no file of a pre-training is looked for."""
    file = tmp_path / "gpt_net.ckpt"
    file.touch()
    options = _options(epochs=0, checkpoint=str(file))
    host = Host()
    before = weights_of(host.encoder)
    assert not GenerativePretraining(options).supplies_encoder()
    _trainer(tmp_path, options).fit(host)
    assert batches == []
    assert _equal(weights_of(host.encoder), before)


def _batch_statistics(host: Host, parts: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance that the first batch norm sees of whole images, averaged over parts of them."""
    norm = next(layer for layer in host.encoder.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    seen: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].transpose(0, 1).flatten(1)))
    images = host.model.normalise(host.normal_images[torch.arange(sum(parts))])
    host.encoder.eval()  # which leaves the statistics as they are
    with torch.no_grad():
        for part in images.split(parts):
            host.encoder(part)
    handle.remove()
    means, variances = ([getattr(each, name)(dim=1) for each in seen] for name in ("mean", "var"))
    return torch.stack(means).mean(dim=0), torch.stack(variances).mean(dim=0)


@pytest.mark.parametrize("loaded", [False, True], ids=["trained", "loaded"])
def test_statistics_are_those_of_images_without_masks(tmp_path: Path, loaded: bool) -> None:
    """GPT-Net has seen images of which four fifths were masked."""
    options = _options(epochs=1, checkpoint=str(tmp_path / "gpt_net.ckpt"))
    if loaded:
        _trainer(tmp_path / "first", options).fit(Host(number=11))
    host = Host(number=11)
    host.model.auto_bfloat16 = False
    _trainer(tmp_path, options).fit(host)
    norm = next(layer for layer in host.encoder.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    mean, variance = _batch_statistics(host, [6, 5])
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-3, atol=1e-4)
    written = torch.load(tmp_path / "gpt_net.ckpt", weights_only=True)["encoder"]
    name = next(name for name in written if name.endswith("running_mean"))
    assert not torch.allclose(written[name], mean, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("arguments", [{"limit_train_batches": 1}, {"fast_dev_run": True}], ids=str)
def test_a_trial_is_not_shared(tmp_path: Path, arguments: dict) -> None:
    """The next run would take one step for the whole pre-training."""
    options = _options(checkpoint=str(tmp_path / "gpt_net.ckpt"))
    _trainer(tmp_path, options, **arguments).fit(Host())
    assert not (tmp_path / "gpt_net.ckpt").exists()


def test_unusable_checkpoint_is_named(tmp_path: Path) -> None:
    file = tmp_path / "gpt_net.ckpt"
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=rf"pretraining\.checkpoint: '{file}' is not a pre-trained GPT-Net"):
        _trainer(tmp_path, _options(checkpoint=str(file))).fit(Host())
    torch.save({"encoder": ResNetEncoder().network.state_dict()}, file)
    with pytest.raises(ValueError, match=rf"'{file}' is not a pre-trained GPT-Net"):
        _trainer(tmp_path, _options(checkpoint=str(file))).fit(Host())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a pre-training on five images."""
    file = tmp_path_factory.mktemp("shared") / "gpt_net.ckpt"
    _trainer(file.parent, _options(epochs=1, checkpoint=str(file))).fit(Host())
    return file


def test_what_does_not_matter_may_differ(tmp_path: Path, shared: Path, batches: list[Tensor]) -> None:
    options = _options(epochs=1, checkpoint=str(shared), log_images_every=1)
    torch.manual_seed(5)
    _trainer(tmp_path, options).fit(Host())
    assert batches == []


@pytest.mark.parametrize(
    ("host", "options", "told"),
    [
        ({}, {"epochs": 2}, r"pretraining\.epochs=1, not 2"),
        ({}, {"mask_ratio": 0.5, "patch_size": 4}, r"patch_size=8, not 4, pretraining\.mask_ratio=0\.8, not 0\.5"),
        ({"number": 6}, {}, "number of images=5, not 6"),
        ({"backbone": "test_resnet"}, {}, f"model.backbone='{BACKBONE}', not 'test_resnet'"),
        ({"encoder_weights": "imagenet"}, {}, "model.encoder_weights=None, not 'imagenet'"),
        ({"side": 64}, {}, r"size of images=\(32, 32\), not \(64, 64\)"),
        ({"seed": 1}, {}, "the images are others"),
    ],
    ids=["epochs", "masks", "number", "backbone", "weights", "size", "images"],
)
def test_the_result_of_another_pre_training_is_refused(
    tmp_path: Path, shared: Path, host: dict[str, Any], options: dict[str, Any], told: str
) -> None:
    number, backbone = host.get("number", 5), host.get("backbone", BACKBONE)
    model = Host(number, backbone)
    model.encoder_weights = host.get("encoder_weights")
    photographs = Photographs(number, host.get("seed", 0), host.get("side", 32))
    model.normal_images = NormalImages(photographs, ImageBatch.collate)
    before = weights_of(model.encoder)
    with pytest.raises(
        ValueError, match=rf"'{shared}' is of another pre-training \(.*{told}.*\); delete it to pre-train"
    ):
        _trainer(tmp_path, _options(**{"epochs": 1, "checkpoint": str(shared), **options})).fit(model)
    assert _equal(weights_of(model.encoder), before)


def test_runs_without_checkpoints_and_bar(tmp_path: Path, batches: list[Tensor]) -> None:
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        callbacks=[GenerativePretraining(_options(epochs=1))],
        max_steps=1,
        barebones=True,
    )
    trainer.fit(Host())
    assert len(batches) == 3


def test_defaults_are_the_papers() -> None:
    assert GenerativePretraining().options == PretrainingOptions()
