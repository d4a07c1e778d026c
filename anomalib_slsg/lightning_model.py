"""Slsg: the anomalib model."""

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from anomalib import LearningType
from anomalib.data import ImageBatch, InferenceBatch
from anomalib.metrics import Evaluator
from anomalib.models import ALLOWED_MODULES
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import Visualizer
from lightning.pytorch import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor
from torchmetrics import Metric

from anomalib_slsg.data.checks import FileChecks, refuse_linked_folders
from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.loss import SegmentationLoss
from anomalib_slsg.metrics.defaults import replace_loco_metrics
from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.networks.weights import load_or_say
from anomalib_slsg.normality.fitting import NormalityFitting
from anomalib_slsg.normality.options import CalibrationOptions, NormalityOptions
from anomalib_slsg.options import LossOptions, TrainingOptions, plain
from anomalib_slsg.pretraining.callback import GenerativePretraining
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.processing import pre_processing
from anomalib_slsg.processing.heat_maps import HeatMaps
from anomalib_slsg.processing.post_processing import ProbabilityPostProcessor
from anomalib_slsg.restoring import RestorableModule
from anomalib_slsg.simulation import AnomalySimulator, SimulationOptions
from anomalib_slsg.simulation.augmentation import colour_jitter
from anomalib_slsg.simulation.foreground import FOREGROUND_IMAGES
from anomalib_slsg.torch_model import SlsgModel
from anomalib_slsg.training.fit_settings import FitSettings
from anomalib_slsg.training.images import GatheredImages, gather_images
from anomalib_slsg.training.optimizer import OptimizerOptions, sgd_with_cosine
from anomalib_slsg.training.run_watch import RunWatch
from anomalib_slsg.training.schedule import check_precision, refuse_synchronised_norms
from anomalib_slsg.utils.precision import exporting
from anomalib_slsg.utils.seeding import seeded, stream
from anomalib_slsg.utils.validation import check_number

logger = logging.getLogger(__name__)

SIMULATION_STREAM, NORMALITY_STREAM, NETWORK_STREAM = 100, 101, 103  # apart from those of pre-training and order

ALLOWED_MODULES.add("anomalib_slsg")  # lets anomalib's get_model and pipelines load classes by name


class Slsg(RestorableModule):
    """SLSG: self-supervised learning and self-attentive graph convolution for anomaly detection.

    Source: Yang et al., "SLSG: Industrial Image Anomaly Detection by Learning Better Feature Embeddings and One-Class
    Classification". Unless the trainer is told otherwise, training follows the paper: 40 epochs of generative
    pre-training, then 3,500 iterations of 4 normal and 4 simulated images. An epoch's last iteration has fewer where
    images are left over.

    Args:
        backbone: Name of a timm CNN that supports ``features_only``.
        encoder_weights: Initial weights of SegNet's encoder: ``imagenet`` (from the cache of timm's hub, from a Python
            package that carries them, or from the hub, when fitting starts), ``null`` (random), or the path of a state
            dict.
        image_size: Height and width in pixels, or one number for both, multiples of 16, to which the default
            pre-processor resizes; 256 if left out.
        network: How SegNet is built (Table 6).
        pretraining: The generative pre-training of the encoder (Table 4).
        simulation: The simulated anomalies that SegNet is taught by (Table 5).
        loss: Weights of SegNet's loss (Table 7).
        optimizer: How SegNet is trained.
        normality: What measures how unusual images are, beside SegNet. Not in the paper.
        calibration: The promised rate of false alarms. Not in the paper.
        auto_bfloat16: Where the trainer computes in 32 bits, its default, train and infer in bfloat16 if the processor
            multiplies that several times faster.
        cache_gibibytes: Memory of each process for decoded training images; larger sets are read again when needed.
        seed: Seed of the networks' random weights and of all random numbers of the training, not negative; PyTorch's
            own generator if left out.
        pre_processor: anomalib's pre-processor, or a flag for the default, which resizes. It must not normalise.
        post_processor: anomalib's post-processor, or a flag for the default, :class:`ProbabilityPostProcessor`:
            thresholds of 0.5 and no normalisation, because the network's output is a probability (section 4.9).
        evaluator: anomalib's evaluator, or a flag for the default metrics.
        visualizer: anomalib's visualiser, or a flag for the default.

    Raises:
        ValueError: If options are out of range or contradict each other.
    """

    model: SlsgModel

    def __init__(
        self,
        backbone: str = TrainingOptions.backbone,
        encoder_weights: str | None = "imagenet",
        image_size: int | tuple[int, int] | None = None,
        network: NetworkOptions = NetworkOptions(),
        pretraining: PretrainingOptions = PretrainingOptions(),
        simulation: SimulationOptions = SimulationOptions(),
        loss: LossOptions = LossOptions(),
        optimizer: OptimizerOptions = OptimizerOptions(),
        normality: NormalityOptions = NormalityOptions(),
        calibration: CalibrationOptions = CalibrationOptions(),
        auto_bfloat16: bool = True,
        cache_gibibytes: float = 2.0,
        seed: int | None = None,
        pre_processor: PreProcessor | bool = True,
        post_processor: PostProcessor | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        size = None if image_size is None else pre_processing.height_and_width(image_size)
        super().__init__(size, pre_processor, post_processor, evaluator, visualizer)
        self.save_hyperparameters(plain(self.hparams))  # loggers and checkpoints take no frozen dataclasses
        check_number("model.cache_gibibytes", cache_gibibytes, "[0, inf)")
        self.encoder_weights, self.cache_gibibytes = encoder_weights, cache_gibibytes
        self._auto_bfloat16 = auto_bfloat16
        self._build(
            TrainingOptions(backbone, network, pretraining, simulation, loss, optimizer, normality, calibration, seed)
        )
        self.register_buffer("encoder_ready", torch.tensor(False))
        self._watch = RunWatch()
        self._pretraining = GenerativePretraining(self.options.pretraining, self._watch)
        calibrates = self.options.calibration.false_alarm_rate is not None
        self._fit_settings = FitSettings(self.options.optimizer, seed, calibrates, self.fit_normality, self.free_images)
        self._images: GatheredImages | None = None
        self._loco_metrics: list[Metric] = []

    def _build(self, options: TrainingOptions) -> None:
        self.options = options
        self.save_hyperparameters({**self.hparams, **plain(dataclasses.asdict(options))})
        segments = options.optimizer.iterations > 0
        with seeded(None if options.seed is None else stream(options.seed, NETWORK_STREAM)):
            model = SlsgModel(options.backbone, options.network, options.normality, self._auto_bfloat16, segments)
        self.model = model.to(self.device).train(self.training)
        self.model.seg_net.encoder.requires_grad_(False)  # SegNet learns from the pre-trained features as they are
        self.simulator = AnomalySimulator(options.simulation)
        self.loss = SegmentationLoss(options.loss)

    def use_options(self, options: TrainingOptions) -> None:
        """Build the network anew, and train on as a checkpoint's options say."""
        self._build(options)
        self._pretraining.options = options.pretraining
        calibrates = options.calibration.false_alarm_rate is not None
        self._fit_settings.restart(self, options.optimizer, options.seed, calibrates)

    @property
    def normal_images(self) -> NormalImages:
        """The images that are trained with; there while fitting."""
        return self._gathered.training

    @property
    def _gathered(self) -> GatheredImages:
        """The normal images, which are read when they are first asked for."""
        if self._images is None:
            if not self.trainer.training:
                raise RuntimeError("the training images are there only while the model is being fitted")
            loader: Any = self.trainer.train_dataloader
            transform = getattr(self.pre_processor, "transform", None)
            gathered = gather_images(loader, transform, self.cache_gibibytes, self.shows_progress)
            examples = gathered.training.sample(FOREGROUND_IMAGES).to(self.device)
            size = (examples.shape[-2], examples.shape[-1])
            self.model.seg_net.encoder.check_size(*size)
            if self.model.segments:
                self.simulator.fit(examples)
                self.simulator.prepare(size, self.device)
            self._images = gathered
        return self._images

    @property
    def fit_seed(self) -> int:
        """Seed of all random streams of the present fit, the same in all processes."""
        return self._fit_settings.seed

    @property
    def shows_progress(self) -> bool:
        """Whether this process shows progress bars: one does, if the trainer's own is on."""
        bar = self.trainer.progress_bar_callback
        return self.trainer.is_global_zero and bool(getattr(bar, "is_enabled", False))

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Trainer arguments of this model. The schedule is not among them, so that the user's own wins."""
        return {"num_sanity_val_steps": 0}

    @property
    def learning_type(self) -> LearningType:
        """Learning from normal images only."""
        return LearningType.ONE_CLASS

    @staticmethod
    def configure_pre_processor(image_size: tuple[int, int] | None = None) -> PreProcessor:
        """Make the default pre-processor, which resizes, to 256x256 if left out; :class:`SlsgModel` normalises."""
        return pre_processing.default_pre_processor(image_size)

    def configure_post_processor(self) -> PostProcessor:
        """Make the default post-processor: thresholds of 0.5, no normalisation (section 4.9)."""
        return ProbabilityPostProcessor()

    def configure_callbacks(self) -> Sequence[Callback]:
        """Add the checks of files, the watch, the schedule and the generative pre-training."""
        own = (FileChecks(), self._watch, self._fit_settings, self._pretraining)
        return [*cast("Sequence[Callback]", super().configure_callbacks()), *own]

    @classmethod
    def configure_visualizer(cls) -> HeatMaps:
        """Make the default visualiser, whose pictures keep the folders of their images."""
        return HeatMaps()

    def prepare_data(self) -> None:
        """Refuse folders that the data module would pass over, before it is set up."""
        refuse_linked_folders(getattr(self.trainer, "datamodule", None))

    def setup(self, stage: str) -> None:
        """Refuse unsupported precisions, and store weights channels-last, which convolutions are fastest with."""
        check_precision(self.trainer.precision)
        self.to(memory_format=torch.channels_last)

    def on_fit_start(self) -> None:
        """Load what GPT-Net starts from, once everything that a checkpoint holds is restored."""
        refuse_synchronised_norms(self)
        if isinstance(self.model.fast_autocast(), torch.autocast):
            logger.info("Computing in bfloat16, several times faster here; model.auto_bfloat16=false turns it off.")
        normality = self.model.normality
        if normality is not None and not normality.fitted:
            load_or_say(normality.backbone, self.options.normality.encoder_weights, "model.normality.encoder_weights")
        if self.model.segments and not self.encoder_ready and not self._pretraining.supplies_encoder():
            load_or_say(self.model.seg_net.encoder, self.encoder_weights, "model.encoder_weights")

    def fit_normality(self) -> None:
        """Fit the measures of normality, unless a checkpoint has them. It comes before the pre-training."""
        normality, images = self.model.normality, self.normal_images  # read before the loader starts processes
        if normality is None:
            return
        alone = not self.model.segments
        fitting = NormalityFitting(images, self.model.normalise, self.device, self.shows_progress, alone)
        if self.trainer.ckpt_path is None or not fitting.is_done(normality):
            fitting.fit(normality, stream(self.fit_seed, NORMALITY_STREAM))

    def on_train_start(self) -> None:
        """Note that the encoder is pre-trained. The pre-training, a callback, has run before this hook."""
        # fast_dev_run does not pre-train for real
        self.encoder_ready.fill_(bool(self.encoder_ready) or not self.trainer.fast_dev_run)  # type: ignore[attr-defined]
        self.on_train_epoch_start()  # which Lightning leaves out when training goes on in the middle of an epoch

    def on_train_epoch_start(self) -> None:
        """Keep the encoder's batch norm as it is."""
        self.model.train()
        self.model.seg_net.encoder.eval()

    def calibrate(self) -> None:
        """Find the threshold with the promised rate of false alarms, by the normal images."""
        kept = None if self._images is None else self._images.kept  # validation alone has no images
        rate = self.options.calibration.false_alarm_rate
        if kept is not None and rate is not None:
            training = self.model.training
            parts = (part.to(self.device) for part in kept.in_parts(torch.arange(len(kept))))
            normality = self.model.normality
            held_out = None if normality is None else normality.held_out
            self.model.calibration.fit(map(self.model.eval().judge, parts), rate, held_out)
            self.model.train(training)

    on_train_epoch_end = on_validation_start = calibrate  # before metrics are computed and checkpoints written

    def forward(self, batch: Tensor, *args: Any, **kwargs: Any) -> InferenceBatch:
        """Prepare images (B, 3, H, W) in [0, 1], predict and judge, as exported models do."""
        # anomalib's inferencer does not turn gradients off, and maps with gradients cannot become NumPy arrays
        with nullcontext() if self.training or batch.requires_grad or exporting() else torch.no_grad():
            return super().forward(batch, *args, **kwargs)

    def training_step(self, batch: ImageBatch, batch_idx: int) -> STEP_OUTPUT:
        """Tell simulated anomalies from normal images (section 3.2, equation 11).

        Args:
            batch: Normal images in [0, 1].
            batch_idx: Index of the batch; the random stream comes from the number of batches so far.

        Returns:
            The loss; ``None`` where SegNet is left out.
        """
        if not self.model.segments:
            return None
        normal = cast("Tensor", batch.image)
        generator = stream(self.fit_seed, SIMULATION_STREAM, self.trainer.fit_loop.total_batch_idx, self.global_rank)
        others = None
        if len(self.normal_images) > 1:
            others = self.normal_images.others(batch.image_path, len(normal), generator).to(normal, non_blocking=True)
        strength = self.simulator.options.colour_jitter
        simulated = self.simulator(colour_jitter(normal, strength, generator), others, generator)
        images = torch.cat([colour_jitter(normal, strength, generator), simulated.image])
        target = torch.cat([torch.zeros_like(simulated.mask), simulated.mask])
        inputs = self.model.normalise(images).contiguous(memory_format=torch.channels_last)
        with self.model.fast_autocast():
            logits, auxiliary_logits = self.model.seg_net.logits(inputs)
        terms = self.loss(logits, auxiliary_logits, target)
        loss = terms.pop("loss")
        self.log("train_loss", loss, prog_bar=True, batch_size=len(normal))
        self.log_dict({f"train_{name}": term for name, term in terms.items()}, batch_size=len(normal))
        return loss

    def validation_step(self, batch: ImageBatch, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Predict for the evaluator and post-processor."""
        return batch.update(**self.model(batch.image)._asdict())

    def on_test_start(self) -> None:
        """Warn of untrained networks, and add the metrics that depend on the data."""
        self.warn_if_untrained()
        if "evaluator" not in self.given_components:
            self._loco_metrics = replace_loco_metrics(
                self._loco_metrics, self.evaluator, self, self.trainer.test_dataloaders, self.device
            )

    def on_predict_start(self) -> None:
        """Warn of untrained networks."""
        self.warn_if_untrained()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make SGD with a cosine that ends at zero with the last step."""
        return sgd_with_cosine(self.parameters(), self.options.optimizer, self.trainer.estimated_stepping_batches)

    def free_images(self) -> None:
        """Let go of the training images and of the textures."""
        self._images = None
        self.simulator.free_textures()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the training images out of exported models."""
        return {**super().__getstate__(), "_images": None}
