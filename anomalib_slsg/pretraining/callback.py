"""GenerativePretraining: trains GPT-Net before SegNet, inside the same fit (sections 3.1 and 3.4)."""

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from anomalib_slsg.networks import GPTNet
from anomalib_slsg.networks.weights import ENCODER_KEY
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.masking import inpainting_mask
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.pretraining.pictures import log_reconstructions
from anomalib_slsg.utils.files import write_atomically
from anomalib_slsg.utils.progress import shows_progress
from anomalib_slsg.utils.seeding import common_seed, stream

if TYPE_CHECKING:
    from anomalib_slsg.lightning_model import Slsg

logger = logging.getLogger(__name__)

ORDER, MASKS, PICTURE, WEIGHTS = range(4)  # random streams
FILE_NAME = "pretraining.ckpt"


class GenerativePretraining(Callback):
    """Pre-trains the encoder of :class:`Slsg` when fitting starts, unless it is pre-trained already.

    ``Slsg`` brings this callback along; give one to the trainer only to replace it. Each epoch's state goes into
    ``pretraining.ckpt`` beside the model's checkpoints: an interrupted run goes on from there with ``--ckpt_path``.

    Args:
        options: Epochs, rates, masks, weights; the paper's if left out.
    """

    def __init__(self, options: PretrainingOptions | None = None) -> None:
        self.options = options if options is not None else PretrainingOptions()
        self._gan: InpaintingGAN | None = None
        self._restored: dict[str, Any] | None = None
        self._step = 0
        self._seed = 0
        self.of_a_model = False  # which goes with its model; one that the user has given stays with the trainer

    @property
    def under_way(self) -> bool:
        """Whether an interrupted pre-training was restored from a checkpoint and goes on."""
        return self._restored is not None

    def supplies_encoder(self, trainer: Trainer) -> bool:
        """Whether the encoder's weights come from here, so that no others need be loaded first.

        Args:
            trainer: The trainer, whose processes all have to ask.

        Raises:
            FileNotFoundError: If the first process has a finished pre-training and this one has not.
        """
        return self._finished_file(trainer) is not None or self.under_way

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget what an interrupted fit has left; have timers begin before the pre-training, which is timed, too."""
        del pl_module
        if stage == "fit":
            self._gan = self._restored = None
            timers = _timers(trainer)  # Lightning puts its own one behind the user's callbacks
            others = [callback for callback in trainer.callbacks if callback not in timers]  # type: ignore[attr-defined]
            trainer.callbacks = [*timers, *others]  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Give the state of an unfinished pre-training; nothing is kept once it is finished."""
        if self._gan is None:
            return {}
        return {"seed": self._seed, "step": self._step, "gan": self._gan.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the state of an unfinished pre-training until the networks are built."""
        self._restored = state_dict or None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pre-train, or load what an earlier pre-training left."""
        if not hasattr(pl_module, "encoder_ready"):  # another kind of model, for which an engine keeps its callbacks
            return
        model: Slsg = pl_module  # type: ignore[assignment]
        if bool(model.encoder_ready):
            logger.info("Pre-training skipped: this model's encoder is pre-trained already.")
            return
        file = self._finished_file(trainer)
        if file is not None and not self.under_way:
            self._load(file, model)
            return
        self._train(trainer, model)
        if self.options.checkpoint is not None and trainer.is_global_zero:
            if self._is_whole(trainer, len(model.normal_images)):
                self._write(Path(self.options.checkpoint), model)
            else:
                logger.info("pretraining.checkpoint is not written: this pre-training was cut short by the trainer.")
        self._gan = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was learnt when the user or the system interrupts."""
        if self._gan is not None and isinstance(exception, (KeyboardInterrupt, SIGTERMException)):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the state of the pre-training: the model's own checkpoints hold its result."""
        if not hasattr(pl_module, "encoder_ready"):
            return  # another kind of model, after this one was interrupted
        path = _state_file(trainer)
        if path is not None and trainer.is_global_zero:
            path.unlink(missing_ok=True)

    def _train(self, trainer: Trainer, model: "Slsg") -> None:
        images = model.normal_images
        seg_net = model.model.seg_net
        self._step, self._seed = 0, common_seed(trainer, model.seed)
        precision, fast_autocast = trainer.precision_plugin, model.model.fast_autocast
        # GPT-Net starts alike whatever SegNet drew before, and SegNet sees the same batches whether GPT-Net is trained
        # now, goes on or was loaded
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(self._seed, WEIGHTS).initial_seed())
            # a copy: the strategy may have put hooks on the parameters of the model itself
            gpt_net = GPTNet(copy.deepcopy(seg_net.encoder), seg_net.decoder.channels)
            self._gan = InpaintingGAN(gpt_net, self.options, precision, model.device, fast_autocast)
        if self._restored is not None:
            self._gan.load_state_dict(self._restored["gan"])
            self._step, self._seed = self._restored["step"], self._restored["seed"]
            logger.info("Pre-training goes on at step %d.", self._step)
            self._restored = None
        steps_per_epoch = self._steps_per_epoch(trainer, len(images))
        epochs = 1 if _is_trial(trainer) else self.options.epochs
        with _progress(trainer) as progress:
            task = progress.add_task("Pre-training", total=epochs * steps_per_epoch, completed=self._step, loss="")
            while self._step < epochs * steps_per_epoch:
                if trainer.received_sigterm:
                    raise SIGTERMException
                self._stop_if_out_of_time(trainer, epochs * steps_per_epoch)
                losses = self._train_step(trainer, model, *divmod(self._step, steps_per_epoch))
                self._step += 1
                if self._step % _log_interval(trainer) == 0 or self._step == epochs * steps_per_epoch:
                    values = {name: value.item() for name, value in losses.items()}
                    progress.update(task, loss=f"l1 {values['l1']:.3f}")
                    for trainer_logger in trainer.loggers:
                        trainer_logger.log_metrics(
                            {f"pretraining/{name}": value for name, value in values.items()}, step=self._step
                        )
                progress.advance(task)
                if self._step % steps_per_epoch == 0:
                    self._end_epoch(trainer, model, self._step // steps_per_epoch, epochs)
        seg_net.encoder.load_state_dict(self._gan.gpt_net.encoder.state_dict())

    def _stop_if_out_of_time(self, trainer: Trainer, steps: int) -> None:
        timers = _timers(trainer)
        if not timers:
            return
        left = [timer.time_remaining() for timer in timers]
        is_over = any(seconds is not None and seconds <= 0 for seconds in left)
        if trainer.strategy.reduce_boolean_decision(is_over, all=False):
            self._save(trainer)
            # Lightning's own way, to train on and stop after a step, would pass off an untrained SegNet as a result
            msg = (
                f"trainer.max_time is over at step {self._step} of {steps} of the pre-training. Allow more, or set "
                f"model.pretraining.epochs; `anomalib fit --ckpt_path` goes on from {_state_file(trainer)}"
            )
            raise TimeoutError(msg)

    def _train_step(self, trainer: Trainer, model: "Slsg", epoch: int, index: int) -> dict[str, torch.Tensor]:
        assert self._gan is not None
        images = model.normal_images
        order = torch.randperm(len(images), generator=stream(self._seed, ORDER, epoch))
        # ranks take turns; the order starts again where the last batch of an epoch would be short of images
        first = (index * trainer.world_size + trainer.global_rank) * self.options.batch_size
        chosen = order[torch.arange(first, first + min(self.options.batch_size, len(images))) % len(images)]
        batch = images[chosen].to(model.device, non_blocking=True)
        generator = stream(self._seed, MASKS, self._step, trainer.global_rank)
        return self._gan.step(batch, model.model.normalise(batch), self._mask(batch, generator))

    def _mask(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inpainting_mask(
            len(batch),
            (batch.shape[-2], batch.shape[-1]),
            generator,
            patch_size=self.options.patch_size,
            mask_ratio=self.options.mask_ratio,
            large_masks=self.options.large_masks,
            large_mask_sides=self.options.large_mask_sides,
            device=batch.device,
        )

    def _steps_per_epoch(self, trainer: Trainer, number_of_images: int) -> int:
        steps = self._unlimited_steps(trainer, number_of_images)
        limit = trainer.limit_train_batches
        return min(steps, limit) if isinstance(limit, int) else max(1, int(steps * limit))

    def _unlimited_steps(self, trainer: Trainer, number_of_images: int) -> int:
        return max(1, -(-number_of_images // (self.options.batch_size * trainer.world_size)))

    def _is_whole(self, trainer: Trainer, number_of_images: int) -> bool:
        """Whether this is more than a trial, whose result nobody should take for the real one's."""
        steps = self._steps_per_epoch(trainer, number_of_images)
        return not _is_trial(trainer) and steps == self._unlimited_steps(trainer, number_of_images)

    def _end_epoch(self, trainer: Trainer, model: "Slsg", epoch: int, epochs: int) -> None:
        every = self.options.log_images_every
        if every and (epoch % every == 0 or epoch == epochs) and not _is_trial(trainer) and trainer.is_global_zero:
            assert self._gan is not None
            batch = model.normal_images.sample(4).to(model.device)
            mask = self._mask(batch, stream(self._seed, PICTURE))
            with self._gan.forward_context():
                log_reconstructions(trainer, self._gan.gpt_net, batch, model.model.normalise(batch), mask, epoch)
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        path = _state_file(trainer)
        if path is not None:
            trainer.save_checkpoint(path)

    def _finished_file(self, trainer: Trainer) -> Path | None:
        if self.options.checkpoint is None:
            return None
        path = Path(self.options.checkpoint)
        # the first process wrote it, perhaps where others do not look
        if not trainer.strategy.broadcast(path.exists()):
            return None
        if not path.exists():
            msg = (
                f"pretraining.checkpoint: the first process finds '{path}', this one does not; put it on a shared disk"
            )
            raise FileNotFoundError(msg)
        return path

    def _write(self, path: Path, model: "Slsg") -> None:
        assert self._gan is not None
        encoder = model.model.seg_net.encoder
        content = {
            "backbone": encoder.backbone,
            ENCODER_KEY: encoder.network.state_dict(),
            "gpt_net": self._gan.gpt_net.state_dict(),
        }
        write_atomically(path, lambda temporary: torch.save(content, temporary))
        logger.info("Pre-trained GPT-Net written to %s.", path)

    def _load(self, path: Path, model: "Slsg") -> None:
        encoder = model.model.seg_net.encoder
        try:
            content = torch.load(path, "cpu", weights_only=True)
            if content["backbone"] != encoder.backbone:  # another padding, for instance, has the same tensors
                msg = f"its backbone is '{content['backbone']}'"
                raise ValueError(msg)
            encoder.network.load_state_dict(content[ENCODER_KEY])
        except Exception as error:  # broken files make torch.load raise errors of many unrelated kinds
            msg = (
                f"pretraining.checkpoint: '{path}' is not a pre-trained GPT-Net with the backbone "
                f"'{encoder.backbone}'; delete it to pre-train anew, or name another file ({error})"
            )
            raise ValueError(msg) from error
        logger.info("Pre-training skipped: encoder loaded from %s.", path)


def _timers(trainer: Trainer) -> list[Timer]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]


def _state_file(trainer: Trainer) -> Path | None:
    callback = trainer.checkpoint_callback
    directory = getattr(callback, "dirpath", None)
    return Path(directory) / FILE_NAME if directory and not _is_trial(trainer) else None


def _is_trial(trainer: Trainer) -> bool:
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def _log_interval(trainer: Trainer) -> int:
    return max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]


def _progress(trainer: Trainer) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        disable=not shows_progress(trainer),
    )
