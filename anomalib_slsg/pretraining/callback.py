"""GenerativePretraining: trains GPT-Net before SegNet, inside the same fit (sections 3.1 and 3.4)."""

import copy
import logging
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.swa_utils import update_bn

from anomalib_slsg.networks import GPTNet
from anomalib_slsg.pretraining.gan import InpaintingGAN, draw_masks
from anomalib_slsg.pretraining.host import Host, StepWatch
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.pretraining.pictures import log_reconstructions
from anomalib_slsg.pretraining.result import load_result, write_result
from anomalib_slsg.utils.processes import share_buffers
from anomalib_slsg.utils.progress import progress_bar
from anomalib_slsg.utils.seeding import seeded, stream

logger = logging.getLogger(__name__)

ORDER, MASKS, PICTURE, WEIGHTS = range(4)  # random streams


class GenerativePretraining(Callback):
    """Pre-trains the encoder of ``Slsg`` when fitting starts, unless it is pre-trained already.

    ``Slsg`` brings this callback along. The state goes into ``pretraining.ckpt`` beside the model's checkpoints, at
    each epoch's end and whenever the watch says: an interrupted run goes on from there with ``--ckpt_path``.

    Args:
        options: Epochs, rates, masks, weights; the paper's if left out.
        watch: Saves the state and stops the run; if left out, nothing does.
    """

    def __init__(self, options: PretrainingOptions = PretrainingOptions(), watch: StepWatch | None = None) -> None:
        self.options = options
        self._watch = watch
        self._gan: InpaintingGAN | None = None
        self._restored: dict[str, Any] | None = None
        self._step = 0
        self._seed = 0

    def supplies_encoder(self) -> bool:
        """Whether the encoder's weights come from here, so that no others need be loaded first."""
        return self._finished_file() is not None or self._restored is not None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget what an interrupted fit has left."""
        if stage == "fit":
            self._gan = self._restored = None

    def state_dict(self) -> dict[str, Any]:
        """Give the state of an unfinished pre-training; nothing is kept once it is finished."""
        if self._gan is None:
            return {}
        return {"seed": self._seed, "step": self._step, "gan": self._gan.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the state of an unfinished pre-training until the networks are built."""
        self._restored = state_dict or None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the networks in training out of exported or copied models."""
        return {**self.__dict__, "_gan": None, "_restored": None}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pre-train, or load what an earlier pre-training left."""
        model = cast("Host", pl_module)
        if not model.model.segments:
            logger.info("Pre-training skipped: optimizer.iterations is 0.")
            return
        if self.options.epochs == 0 or bool(model.encoder_ready):
            reason = "pretraining.epochs is 0" if self.options.epochs == 0 else "the encoder is pre-trained already"
            logger.info("Pre-training skipped: %s.", reason)
            return
        file = self._finished_file()
        if file is not None and self._restored is None:
            load_result(file, model, self.options)
            logger.info("Pre-training skipped: encoder loaded from %s.", file)
        else:
            self._train(trainer, model)
            if self.options.checkpoint is not None and trainer.is_global_zero:
                self._write_if_whole(Path(self.options.checkpoint), trainer, model)
            self._gan = None
        reestimate_batch_norm(model)

    def _train(self, trainer: Trainer, model: Host) -> None:
        images = model.normal_images
        seg_net = model.model.seg_net
        self._step, self._seed = 0, model.fit_seed
        precision, fast_autocast = trainer.precision_plugin, model.model.fast_autocast
        # GPT-Net starts alike whatever SegNet drew before, and SegNet sees the same batches whether GPT-Net is trained
        # now, goes on or was loaded
        with seeded(stream(self._seed, WEIGHTS)):
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
        log_every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        with progress_bar(model.shows_progress) as progress:
            task = progress.add_task("Pre-training", total=epochs * steps_per_epoch, completed=self._step)
            while self._step < epochs * steps_per_epoch:
                losses = self._train_step(trainer, model, *divmod(self._step, steps_per_epoch))
                self._step += 1
                if self._step % max(1, log_every) == 0 or self._step == epochs * steps_per_epoch:
                    values = {name: value.item() for name, value in losses.items()}
                    progress.update(task, description=f"Pre-training (l1 loss {values['l1']:.3f})")
                    for trainer_logger in trainer.loggers:
                        trainer_logger.log_metrics(
                            {f"pretraining/{name}": value for name, value in values.items()}, step=self._step
                        )
                progress.advance(task)
                ends_epoch = self._step % steps_per_epoch == 0
                if ends_epoch:
                    self._end_epoch(trainer, model, self._step // steps_per_epoch, epochs)
                if self._watch is not None:
                    self._watch.after_step(trainer, losses.values(), "pretraining", save=ends_epoch)
        seg_net.encoder.load_state_dict(self._gan.gpt_net.encoder.state_dict())

    def _train_step(self, trainer: Trainer, model: Host, epoch: int, index: int) -> dict[str, torch.Tensor]:
        assert self._gan is not None
        images = model.normal_images
        order = torch.randperm(len(images), generator=stream(self._seed, ORDER, epoch))
        # ranks take turns; the order starts again where the last batch of an epoch would be short of images
        first = (index * trainer.world_size + trainer.global_rank) * self.options.batch_size
        chosen = order[torch.arange(first, first + min(self.options.batch_size, len(images))) % len(images)]
        batch = images[chosen].to(model.device, non_blocking=True)
        generator = stream(self._seed, MASKS, self._step, trainer.global_rank)
        return self._gan.step(batch, model.model.normalise(batch), draw_masks(self.options, batch, generator))

    def _steps_per_epoch(self, trainer: Trainer, number_of_images: int) -> int:
        steps = self._unlimited_steps(trainer, number_of_images)
        limit = trainer.limit_train_batches
        return min(steps, limit) if isinstance(limit, int) else max(1, int(steps * limit))

    def _unlimited_steps(self, trainer: Trainer, number_of_images: int) -> int:
        return max(1, -(-number_of_images // (self.options.batch_size * trainer.world_size)))

    def _end_epoch(self, trainer: Trainer, model: Host, epoch: int, epochs: int) -> None:
        every = self.options.log_images_every
        if every and (epoch % every == 0 or epoch == epochs) and not _is_trial(trainer) and trainer.is_global_zero:
            assert self._gan is not None
            batch = model.normal_images.sample(4).to(model.device)
            mask = draw_masks(self.options, batch, stream(self._seed, PICTURE))
            with self._gan.forward_context():
                log_reconstructions(trainer, self._gan.gpt_net, batch, model.model.normalise(batch), mask, epoch)

    def _finished_file(self) -> Path | None:
        path = self.options.checkpoint
        return Path(path) if path is not None and self.options.epochs > 0 and Path(path).exists() else None

    def _write_if_whole(self, path: Path, trainer: Trainer, model: Host) -> None:
        """Write the result, unless this was a trial, which nobody should take for the real one."""
        number = len(model.normal_images)
        if _is_trial(trainer) or self._steps_per_epoch(trainer, number) < self._unlimited_steps(trainer, number):
            logger.info("pretraining.checkpoint is not written: this pre-training was cut short by the trainer.")
            return
        assert self._gan is not None
        write_result(path, model, self.options, self._gan.gpt_net)
        logger.info("Pre-trained GPT-Net written to %s.", path)


def reestimate_batch_norm(model: Host) -> None:
    """Estimate the encoder's batch normalisation anew on whole images: GPT-Net was trained on masked ones.

    Args:
        model: The model, with its training images.
    """
    images, encoder = model.normal_images, model.model.seg_net.encoder
    parts = (model.model.normalise(part.to(model.device)) for part in images.in_parts(torch.arange(len(images))))
    with model.model.fast_autocast():
        update_bn(parts, encoder)
    share_buffers(encoder)


def _is_trial(trainer: Trainer) -> bool:
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
