"""Slsg: the anomalib model."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, cast

import torch
from anomalib import LearningType
from anomalib.data import AnomalibDataModule, ImageBatch, InferenceBatch
from anomalib.data.datasets import AnomalibVideoDataset
from anomalib.data.utils import LabelName
from anomalib.metrics import Evaluator
from anomalib.models import ALLOWED_MODULES
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import Visualizer
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from torchmetrics import Metric

from anomalib_slsg.checkpoint_options import check_trained_options
from anomalib_slsg.data.normal_images import NormalImages
from anomalib_slsg.data.training_images import TrainingImages
from anomalib_slsg.deployment.export import ExportableModule
from anomalib_slsg.loss import SegmentationLoss
from anomalib_slsg.metrics.defaults import replace_loco_metrics
from anomalib_slsg.networks import SegNet
from anomalib_slsg.networks.statistics import reestimate_batch_norm
from anomalib_slsg.networks.weights import load_encoder_weights
from anomalib_slsg.normality.fitting import FeatureFitting, whole_images
from anomalib_slsg.plain_data import plain
from anomalib_slsg.pretraining.callback import GenerativePretraining
from anomalib_slsg.pretraining.options import PretrainingOptions
from anomalib_slsg.processing.antialiased_resize import keep_antialiasing
from anomalib_slsg.processing.post_processing import ProbabilityPostProcessor
from anomalib_slsg.processing.pre_processing import default_pre_processor, resized_to, resolve_pre_processor
from anomalib_slsg.simulation import AnomalySimulator, SimulationOptions
from anomalib_slsg.simulation.augmentation import colour_jitter
from anomalib_slsg.simulation.foreground import FOREGROUND_IMAGES
from anomalib_slsg.torch_model import SlsgModel, check_image_size
from anomalib_slsg.training.fit_settings import FitSettings
from anomalib_slsg.training.unsupported import refuse_unsupported
from anomalib_slsg.utils.precision import exporting
from anomalib_slsg.utils.progress import shows_progress
from anomalib_slsg.utils.seeding import common_seed, stream
from anomalib_slsg.utils.validation import check_choice, check_number

logger = logging.getLogger(__name__)

STAYING_ENCODER = (
    "with model.freeze_encoder=true and model.encoder_statistics other than 'batch', or with model.initial_features"
)
SIMULATION_STREAM, DISTANCE_STREAM = 100, 101  # apart from the streams of the pre-training


ALLOWED_MODULES.add("anomalib_slsg")  # whose classes get_model, and with it anomalib's pipelines, may name


class Slsg(ExportableModule):
    """SLSG: self-supervised learning and self-attentive graph convolution for anomaly detection.

    Source: Yang et al., "SLSG: Industrial Image Anomaly Detection by Learning Better Feature Embeddings and One-Class
    Classification". Unless the trainer is told otherwise, training follows the paper: 40 epochs of generative
    pre-training, then 3,500 iterations of 4 normal and 4 simulated images. An epoch's last iteration has fewer where
    images are left over.

    Args:
        backbone: Name of a timm CNN that supports ``features_only``.
        encoder_weights: What GPT-Net starts from: ``imagenet`` (fetched when fitting starts), ``null`` (random), or
            the path of a state dict.
        stem_pool: Keep the max-pool of a ResNet's stem; off as in the paper's network.
        decoder_channels: Channels after each of the decoder's four blocks; half as many cost a third of the decoder's
            arithmetic, and together with ``stem_pool`` a quarter of the network's.
        image_size: Height and width in pixels, multiples of 16, to which the default pre-processor resizes; 256x256 if
            left out.
        pretraining: Options of the generative pre-training; ``null`` leaves it out (Table 4, column "ImageNet").
        simulation: Options of the anomaly simulation (Table 5).
        attention: Self-attention in the SG block (Table 6).
        graph: Graph convolution in the SG block (Table 6).
        eliminate_position: Subtract the positional similarity when neighbours are chosen (Table 6, "Eliminate PS").
        num_neighbors: Neighbours of each node (Table 6, "TopK").
        residual: Add the SG block's input to its output; off is equation 7.
        bottleneck_skip: Feed the SG block's output to deeper decoder blocks (Table 6, "Bottleneck Skip").
        feature_distance: Add to SegNet's evidence how far features of the encoder are from those of normal images at
            the same place. Not in the paper, whose network is ``false``. ``auto`` does so where the distance tells
            simulated anomalies from normal images, which it may not where parts lie anywhere; ``true`` always. It
            needs two images or more and an encoder that stays as it is while SegNet trains. Quantised to INT8, such
            a model keeps its encoder unrounded.
        composition: Add to the evidence of the image score how unusual it is what the image is made of, wherever its
            parts lie: one too many, or one that does not belong to the others. Maps stay as they are. Not in the
            paper, either. Values and needs are those of ``feature_distance``.
        initial_features: Measure both by the features of a second encoder, which keeps ``encoder_weights`` as they are,
            instead of by those of the encoder that GPT-Net has trained. It takes memory and an encoder's time.
        focal_weight: alpha_4 of equation 11 (Table 7: 0 for "w/o focal loss").
        l1_weight: alpha_5 of equation 11 (Table 7: 0 for "w/o l1 loss").
        auxiliary_weight: alpha_6 of equation 11 (Table 7: 0 for "w/o auxiliary loss").
        focal_gamma: Focusing exponent of the focal loss.
        learning_rate: Rate of SGD at the start; a cosine, of which the paper does not speak, takes it to zero.
        momentum: Momentum of SGD. Not in the paper.
        weight_decay: Weight decay of SGD. Not in the paper.
        iterations: Training steps when the trainer is given neither ``max_steps`` nor ``max_epochs``; 1,000 epochs,
            Lightning's own default, and unlimited ones count as not given.
        train_batch_size: Normal images per step, beside as many simulated ones, when the data module has its
            default batch size, 32 with most. Another one given to the data module wins.
        colour_jitter: Largest relative change of brightness and saturation of training images.
        freeze_encoder: Keep the pre-trained encoder as it is while SegNet trains. The paper does not say.
        encoder_statistics: Batch-norm statistics of the encoder in SegNet, of which the paper does not speak:
            ``reestimated`` once on whole normal images, ``batch`` statistics while training, or ``kept`` as they were
            loaded or left by GPT-Net.
        auto_bfloat16: Where the trainer computes in 32 bits, its default, train and infer in bfloat16 if the processor
            multiplies that several times faster.
        score_pixels: The image score averages this many of the highest pixels of a 256x256 map.
        cache_gibibytes: Memory of each process for decoded training images; larger sets are read again when needed.
        seed: Seeds Python, NumPy and PyTorch before the networks are built, and this model's pre-training and
            simulation. The order of SegNet's batches is the data module's, from PyTorch's generator: make a model
            right before it is fitted. anomalib 2.7's command line reads ``--seed_everything`` but does not act on it;
            from Python, ``lightning.seed_everything`` serves as well.
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
        backbone: str = "resnet18",
        encoder_weights: str | None = "imagenet",
        stem_pool: bool = False,
        decoder_channels: Sequence[int] = (256, 128, 64, 32),
        image_size: tuple[int, int] | None = None,
        pretraining: PretrainingOptions | None = PretrainingOptions(),  # noqa: B008
        simulation: SimulationOptions = SimulationOptions(),  # noqa: B008
        attention: bool = True,
        graph: bool = True,
        eliminate_position: bool = True,
        num_neighbors: int = 9,
        residual: bool = False,
        bottleneck_skip: bool = True,
        feature_distance: bool | Literal["auto"] = "auto",
        composition: bool | Literal["auto"] = "auto",
        initial_features: bool = False,
        focal_weight: float = 0.4,
        l1_weight: float = 0.6,
        auxiliary_weight: float = 0.3,
        focal_gamma: float = 4.0,
        learning_rate: float = 0.04,
        momentum: float = 0.9,
        weight_decay: float = 3e-5,
        iterations: int = 3500,
        train_batch_size: int = 4,
        colour_jitter: float = 0.1,
        freeze_encoder: bool = True,
        encoder_statistics: Literal["reestimated", "batch", "kept"] = "reestimated",
        auto_bfloat16: bool = True,
        score_pixels: int = 100,
        cache_gibibytes: float = 2.0,
        seed: int | None = None,
        pre_processor: PreProcessor | bool = True,
        post_processor: PostProcessor | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        super().__init__(
            pre_processor=resolve_pre_processor(pre_processor, image_size),
            post_processor=post_processor,
            evaluator=evaluator,
            visualizer=visualizer,
        )
        check_choice("model.encoder_statistics", encoder_statistics, ("reestimated", "batch", "kept"))
        check_choice("model.feature_distance", feature_distance, (True, False, "auto"))
        check_choice("model.composition", composition, (True, False, "auto"))
        if initial_features and encoder_weights is None:
            msg = "model.initial_features needs weights that tell something: give model.encoder_weights"
            raise ValueError(msg)
        check_number("model.learning_rate", learning_rate, 0, open_low=True)
        check_number("model.momentum", momentum, 0, 1, open_high=True)
        check_number("model.weight_decay", weight_decay, 0)
        check_number("model.iterations", iterations, 1, whole=True)
        check_number("model.train_batch_size", train_batch_size, 1, whole=True)
        check_number("model.colour_jitter", colour_jitter, 0, 1)
        check_number("model.cache_gibibytes", cache_gibibytes, 0)
        if seed is not None:
            seed_everything(seed, workers=True)
        # checkpoints hold plain data, which come back as dictionaries
        self.pretraining_options = _as_options(PretrainingOptions, pretraining)
        simulation_options = _as_options(SimulationOptions, simulation)
        self.encoder_weights = encoder_weights
        self.learning_rate, self.momentum, self.weight_decay = learning_rate, momentum, weight_decay
        self.iterations, self.train_batch_size = iterations, train_batch_size
        self.colour_jitter = colour_jitter
        self.feature_distance, self.composition = feature_distance, composition
        self.freeze_encoder, self.encoder_statistics = freeze_encoder, encoder_statistics
        self.cache_gibibytes = cache_gibibytes
        self.simulator = AnomalySimulator(simulation_options)
        self.loss = SegmentationLoss(focal_weight, l1_weight, auxiliary_weight, focal_gamma)
        seg_net = SegNet(
            backbone=backbone,
            stem_pool=stem_pool,
            decoder_channels=decoder_channels,
            num_neighbors=num_neighbors,
            attention=attention,
            graph=graph,
            eliminate_position=eliminate_position,
            residual=residual,
            bottleneck_skip=bottleneck_skip,
            feature_distance=feature_distance is not False,
            composition=composition is not False,
            initial_encoder=initial_features,
        )
        self.model = SlsgModel(seg_net, score_pixels=score_pixels, auto_bfloat16=auto_bfloat16)
        if freeze_encoder:
            self.model.seg_net.encoder.requires_grad_(False)
        self.seed = seed
        self.register_buffer("encoder_ready", torch.tensor(False))
        self._normal_images: NormalImages | None = None
        self._seed = 0
        self._default_evaluator = evaluator is True
        self._loco_metrics: list[Metric] = []

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **kwargs: Any) -> "Slsg":
        """Load as anomalib does; a seed among the options leaves the caller's random numbers as they are.

        Args:
            *args: Those of anomalib's method, the path first.
            **kwargs: The same, and options that replace the checkpoint's.

        Returns:
            The model.
        """
        with isolate_rng():
            return cast("Slsg", super().load_from_checkpoint(*args, **kwargs))

    @property
    def normal_images(self) -> NormalImages:
        """The training images; there while fitting."""
        if self._normal_images is None:
            msg = "the training images are there only while the model is being fitted"
            raise RuntimeError(msg)
        return self._normal_images

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
        """Make the default pre-processor, which resizes; :class:`SlsgModel` normalises.

        Args:
            image_size: Height and width in pixels; 256x256 if left out.

        Returns:
            The pre-processor.
        """
        return default_pre_processor(image_size)

    def configure_post_processor(self) -> PostProcessor:
        """Make the default post-processor: thresholds of 0.5, no normalisation (section 4.9).

        Returns:
            The post-processor.
        """
        return ProbabilityPostProcessor()

    def configure_callbacks(self) -> Sequence[Callback]:
        """Add the generative pre-training, unless it is off or the trainer has one already, and the schedule."""
        callbacks = [*cast("Sequence[Callback]", super().configure_callbacks()), FitSettings()]
        # a trainer keeps what models have brought along, also one with other options
        self._drop_callbacks(lambda callback: getattr(callback, "of_a_model", False))
        if self.post_processor is not None:  # of two earlier ones Lightning would replace one only
            self._drop_callbacks(lambda callback: type(callback) in (PostProcessor, ProbabilityPostProcessor))
        if not self._pretraining_callbacks() and self.pretraining_options is not None:
            pretraining = GenerativePretraining(self.pretraining_options)
            pretraining.of_a_model = True
            callbacks.append(pretraining)
        return callbacks

    def setup(self, stage: str) -> None:
        """Refuse what cannot be computed or fitted with; fill in the metrics that depend on the data."""
        precision = self.trainer.precision
        if precision.endswith("-true") and precision != "32-true":
            msg = f"trainer.precision={precision} is not supported; use 32-true, bf16-mixed or 16-mixed"
            raise ValueError(msg)
        if stage == "fit":
            refuse_unsupported(self.trainer, self)
        self.to(memory_format=torch.channels_last)
        if stage in {"validate", "test"} and self._default_evaluator:
            self._loco_metrics = replace_loco_metrics(self._loco_metrics, self.evaluator, self.trainer)

    def on_fit_start(self) -> None:
        """Load what GPT-Net starts from, once everything that a checkpoint holds is restored."""
        self._refuse_to_measure_a_changing_encoder()
        self._seed = common_seed(self.trainer, self.seed)
        if isinstance(self.model.fast_autocast(), torch.autocast):
            logger.info(
                "Computing in bfloat16, which this processor multiplies several times faster, with channels last; "
                "model.auto_bfloat16=false leaves the precision to the trainer."
            )
        else:
            logger.info("Computing in the trainer's precision, %s, with channels last.", self.trainer.precision)
        supplied = any(callback.supplies_encoder(self.trainer) for callback in self._pretraining_callbacks())
        if not self.encoder_ready and not supplied:
            if self.encoder_weights is None:
                logger.info("The encoder starts from random weights; 'imagenet' weights detect better.")
            else:
                load_encoder_weights(self.model.seg_net.encoder, self.encoder_weights)
        initial_encoder = self.model.seg_net.initial_encoder
        # a checkpoint brings it along, and so does a model that has been fitted before
        if initial_encoder is not None and not self.encoder_ready and self.trainer.ckpt_path is None:
            load_encoder_weights(initial_encoder, cast("str", self.encoder_weights))
        self._gather_normal_images()

    def on_train_start(self) -> None:
        """Finish the encoder after the pre-training: its batch norm has seen masked images only."""
        if not self.encoder_ready:
            if self.encoder_statistics == "reestimated":
                with self.model.fast_autocast():
                    reestimate_batch_norm(self.model.seg_net.encoder, whole_images(self.model, self.normal_images))
            # a trial's encoder is nobody's pre-trained one
            self.encoder_ready.fill_(not self.trainer.fast_dev_run)  # type: ignore[attr-defined]
        self._fit_feature_statistics()
        # Lightning leaves out on_train_epoch_start when training goes on in the middle of an epoch
        self._set_modes()

    def on_train_epoch_start(self) -> None:
        """Put the encoder's batch norm into its mode."""
        self._set_modes()

    def _fit_feature_statistics(self) -> None:
        """Learn normal features, unless fitting goes on from a checkpoint."""
        seg_net = self.model.seg_net
        resumed = self.trainer.ckpt_path is not None
        unfitted = [part for part in seg_net.statistics if not (part.fitted and resumed)]
        for part in unfitted:
            part.forget()  # what an earlier fit has learnt from other images
        if not unfitted:
            return
        options = " and ".join(f"model.{part.option}" for part in unfitted)
        if self._measures_a_changing_encoder:
            logger.warning("%s: left out, because the encoder has to stay as it is, %s.", options, STAYING_ENCODER)
            return
        if len(self.normal_images) < 2:
            logger.warning("%s: left out, because at least two normal images are needed, and there is one.", options)
            return
        generator = stream(self._seed, DISTANCE_STREAM)
        FeatureFitting(
            self.model,
            self.normal_images,
            lambda images, others: self.simulator(images, others, generator).image,
            always=[part for part in unfitted if getattr(self, part.option) is True],
            agree=self.trainer.strategy.broadcast,
        ).fit(unfitted)

    @property
    def _measures_a_changing_encoder(self) -> bool:
        changes = not self.freeze_encoder or self.encoder_statistics == "batch"
        return changes and self.model.seg_net.initial_encoder is None

    def _refuse_to_measure_a_changing_encoder(self) -> None:
        always = [part.option for part in self.model.seg_net.statistics if getattr(self, part.option) is True]
        if always and self._measures_a_changing_encoder:
            msg = f"model.{always[0]}=true needs an encoder that stays as it is, {STAYING_ENCODER}"
            raise ValueError(msg)

    def _set_modes(self) -> None:
        self.model.train()
        if self.encoder_statistics != "batch":
            self.model.seg_net.encoder.eval()

    def forward(self, batch: Tensor, *args: Any, **kwargs: Any) -> InferenceBatch:
        """Prepare, predict and judge, as exported models do.

        Args:
            batch: Images in [0, 1] of shape (B, 3, H, W).
            *args: Unused.
            **kwargs: Unused.

        Returns:
            Maps, scores, masks and labels. There are gradients in training mode, and where the images ask for them.
        """
        # anomalib's inferencer leaves gradients on, with which maps are no arrays and cannot be drawn
        with nullcontext() if self.training or batch.requires_grad or exporting() else torch.no_grad():
            return super().forward(batch, *args, **kwargs)

    def training_step(self, batch: ImageBatch, batch_idx: int) -> STEP_OUTPUT:
        """Tell simulated anomalies from normal images (section 3.2, equation 11).

        Args:
            batch: Normal images in [0, 1].
            batch_idx: Index of the batch; the random stream comes from the number of batches so far.

        Returns:
            The loss.
        """
        del batch_idx
        normal = cast("Tensor", batch.image)
        generator = stream(self._seed, SIMULATION_STREAM, self.trainer.fit_loop.total_batch_idx, self.global_rank)
        others = None
        if len(self.normal_images) > 1:
            others = self.normal_images.others(batch.image_path, len(normal), generator).to(normal, non_blocking=True)
        base = colour_jitter(normal, self.colour_jitter, generator)
        simulated = self.simulator(base, others, generator)
        images = torch.cat([colour_jitter(normal, self.colour_jitter, generator), simulated.image])
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
        """Predict for the evaluator and post-processor.

        Args:
            batch: Images in [0, 1].
            *args: Unused.
            **kwargs: Unused.

        Returns:
            The batch with maps and scores.
        """
        del args, kwargs
        return batch.update(**self.model(batch.image)._asdict())

    def on_test_start(self) -> None:
        """Warn of untrained networks."""
        self.warn_if_untrained()

    def on_predict_start(self) -> None:
        """Warn of untrained networks."""
        self.warn_if_untrained()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make SGD with a cosine that ends at zero with the last step."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = SGD(trainable, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay)
        steps = self.trainer.estimated_stepping_batches
        total = int(steps) if steps != float("inf") else self.iterations
        # CosineAnnealingLR restores its old length from checkpoints: the rate would rise again in prolonged training
        scheduler = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(step / max(total, 1), 1))) / 2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Turn options into plain data."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["hyper_parameters"] = plain(dict(checkpoint["hyper_parameters"]))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse other options than it was trained with; restore the pre-processor, also for the data in use."""
        check_trained_options(checkpoint.get("hyper_parameters", {}), self.hparams)
        super().on_load_checkpoint(checkpoint)
        if self.pre_processor is None:  # the trainer has the default one, which resizes, among its callbacks
            self._drop_callbacks(lambda callback: isinstance(callback, PreProcessor))
        elif isinstance(self.pre_processor, PreProcessor):
            keep_antialiasing(self.pre_processor)  # which anomalib leaves out
            asked_for, restored = self.hparams.get("image_size"), resized_to(self.pre_processor.transform)
            if asked_for is not None and restored is not None and tuple(asked_for) != restored:
                logger.warning("model.image_size: the checkpoint's %s counts, not %s.", list(restored), list(asked_for))
        datamodule = getattr(self._trainer, "datamodule", None)
        if isinstance(datamodule, AnomalibDataModule):
            # its images are resized as the pre-processor before this one did; setup, which does this, too, may be a
            # user's own and choose images
            datamodule._update_augmentations()

    def free_images(self) -> None:
        """Let go of the training images and of the textures."""
        self._normal_images = None
        self.simulator.free_textures()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the training images out of exported models."""
        return {**super().__getstate__(), "_normal_images": None}

    def _gather_normal_images(self) -> None:
        self.trainer.fit_loop.setup_data()
        if self.trainer.train_dataloader is None:  # with limit_train_batches=0, which leaves the training out
            return
        loader = cast("DataLoader", self.trainer.train_dataloader)
        dataset = loader.dataset.dataset if isinstance(loader.dataset, TrainingImages) else loader.dataset
        if isinstance(dataset, AnomalibVideoDataset):
            msg = f"the training set, a {type(dataset).__name__}, has clips of videos; this model takes single images"
            raise ValueError(msg)
        transform = getattr(self.pre_processor, "transform", None)
        self._normal_images = NormalImages(
            dataset,
            cast("Callable[[list], ImageBatch]", loader.collate_fn),
            transform=transform,
            num_workers=loader.num_workers,
            cache_gibibytes=self.cache_gibibytes,
            show_progress=shows_progress(self.trainer),
        )
        is_own_collate = loader.collate_fn == getattr(loader.dataset, "collate_fn", None)
        if isinstance(loader.dataset, TrainingImages) and self._normal_images.cache is not None and is_own_collate:
            loader.dataset.keep(self._normal_images.cache, transform)
        labels = getattr(getattr(dataset, "samples", None), "label_index", ())
        if anomalous := sum(label == LabelName.ABNORMAL for label in labels):
            logger.warning("%d of the training images are labelled anomalous, and will pass for normal.", anomalous)
        if len(self._normal_images) == 1:
            logger.warning(
                "There is one training image. Logical anomalies, which mix two, are left out; give more images."
            )
        examples = self._normal_images.sample(FOREGROUND_IMAGES).to(self.device)
        height, width = examples.shape[-2:]
        check_image_size(height, width)
        self.model.seg_net.encoder.check_size(height, width)
        self.simulator.fit(examples)
        self.simulator.prepare((height, width), self.device)

    def _pretraining_callbacks(self) -> list[GenerativePretraining]:
        return [callback for callback in self._trainer_callbacks() if isinstance(callback, GenerativePretraining)]

    def _drop_callbacks(self, unwanted: Callable[[Callback], bool]) -> None:
        if self._trainer is not None:
            kept = [callback for callback in self._trainer_callbacks() if not unwanted(callback)]
            self.trainer.callbacks = kept  # type: ignore[attr-defined]

    def _trainer_callbacks(self) -> list[Callback]:
        return self.trainer.callbacks if self._trainer is not None else []  # type: ignore[attr-defined]


def _as_options(kind: type, value: Any) -> Any:
    return kind(**plain(value)) if isinstance(value, Mapping) else value
