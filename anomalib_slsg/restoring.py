"""RestorableModule: loads checkpoints, which know their network, without running code that they may name."""

from pathlib import Path
from typing import Any

import torch

from anomalib_slsg.deployment.export import ExportableModule
from anomalib_slsg.options import TrainingOptions
from anomalib_slsg.processing import pre_processing
from anomalib_slsg.processing.post_processing import ProbabilityPostProcessor
from anomalib_slsg.training import loading
from anomalib_slsg.training.images import update_augmentations


class RestorableModule(ExportableModule):
    """anomalib's module, whose checkpoints bring their options along. Components that are given stay as they are.

    Args:
        image_size: Size of the default pre-processor.
        pre_processor: As for ``Slsg``.
        others: Post-processor, evaluator and visualiser, as for ``Slsg``.

    Attributes:
        options: What decides the network and its training.
        image_size: Height and width, if they were given.
        given_components: Names of the components that are not left to their defaults.
    """

    options: TrainingOptions

    def __init__(self, image_size: tuple[int, int] | None, pre_processor: Any, *others: Any) -> None:
        super().__init__(pre_processing.resolve_pre_processor(pre_processor, image_size), *others)
        self.image_size = image_size
        given = zip(loading.COMPONENTS, (pre_processor, *others), strict=True)
        self.given_components = [name for name, component in given if component is not True]

    def use_options(self, options: TrainingOptions) -> None:
        """Build the network and what it is trained with anew.

        Args:
            options: A checkpoint's options.
        """
        raise NotImplementedError

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Load a model as anomalib does, but build nothing from the names of classes in the file.

        Args:
            checkpoint_path: The file.
            *args: Further arguments of anomalib's method of this name.
            **kwargs: Further arguments, and options of ``Slsg``. Those that the network depends on are the checkpoint's
                all the same.

        Returns:
            The model.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a checkpoint of this model, its weights are not finite, or it could not keep the
                pre-processor and none is given.
        """
        checkpoint = loading.read_checkpoint(checkpoint_path, "cpu")
        loading.check_checkpoint(checkpoint, checkpoint_path)
        given = TrainingOptions(**{name: kwargs[name] for name in kwargs.keys() & vars(TrainingOptions())})
        options = loading.options_to_load(checkpoint.get("hyper_parameters", {}), given)
        own_size = {"image_size": None} if "pre_processor" in kwargs else {}  # the checkpoint's is not its size
        safe = {**loading.NOTHING_BUILT, **own_size, **kwargs, **vars(options)}
        return super().load_from_checkpoint(checkpoint_path, *args, **safe)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note in a checkpoint whether it holds the pre-processor."""
        super().on_save_checkpoint(checkpoint)
        pre_processing.note_unsaved(self.pre_processor, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take a checkpoint's options and weights, and of the components what was not given."""
        trainer = loading.attached_trainer(self)
        name = str(trainer.ckpt_path) if trainer and trainer.ckpt_path else "the checkpoint"
        loading.check_checkpoint(checkpoint, name)
        options = loading.options_to_load(checkpoint.get("hyper_parameters", {}), self.options)
        if options != self.options:
            self.use_options(options)
            self.to(memory_format=torch.channels_last)
        given = {component: getattr(self, component) for component in self.given_components}
        pre_processing.check_restorable(checkpoint, "pre_processor" in given, name)
        for component in loading.COMPONENTS:  # callbacks, too, whose states are tensors that the model holds
            checkpoint.get("callbacks", {}).pop(getattr(getattr(self, component), "state_key", None), None)
        if not isinstance(given.get("post_processor"), ProbabilityPostProcessor | None):
            checkpoint.pop("anomalib_post_processor_config", None)  # the default's own keeps what it was given
        default = self.pre_processor
        super().on_load_checkpoint(checkpoint)
        for component, own in given.items():
            setattr(self, component, own)
        pre_processing.restore_pre_processor(self.pre_processor, default, self.image_size)
        checkpoint["state_dict"] = loading.weights_to_load(self.state_dict(), checkpoint["state_dict"], name)
        update_augmentations(self)
