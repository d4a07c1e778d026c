"""RestorableModule: loads checkpoints, which know their network, without running code that they may name."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from anomalib.metrics import Evaluator
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import Visualizer

from anomalib_slsg.deployment.export import ExportableModule
from anomalib_slsg.options import TrainingOptions
from anomalib_slsg.processing.pre_processing import (
    check_restorable,
    note_unsaved,
    resolve_pre_processor,
    restore_pre_processor,
)
from anomalib_slsg.training.images import update_augmentations
from anomalib_slsg.training.loading import (
    NOTHING_BUILT,
    attached_trainer,
    check_checkpoint,
    options_to_load,
    read_checkpoint,
    weights_to_load,
)


class RestorableModule(ExportableModule):
    """anomalib's module, whose checkpoints bring their options along. Components that are given stay as they are.

    Args:
        pre_processor: As for ``Slsg``, as all of these.
        post_processor: As for ``Slsg``.
        evaluator: As for ``Slsg``.
        visualizer: As for ``Slsg``.
        image_size: Size of the default pre-processor.

    Attributes:
        options: What decides the network and its training.
        image_size: Height and width, if they were given.
        given_components: Names of those that are not left to their defaults.
    """

    options: TrainingOptions

    def __init__(
        self,
        pre_processor: PreProcessor | bool,
        post_processor: PostProcessor | bool,
        evaluator: Evaluator | bool,
        visualizer: Visualizer | bool,
        image_size: tuple[int, int] | None,
    ) -> None:
        resolved = resolve_pre_processor(pre_processor, image_size)
        super().__init__(resolved, post_processor, evaluator, visualizer)
        self.image_size = image_size
        given = {
            "pre_processor": pre_processor,
            "post_processor": post_processor,
            "evaluator": evaluator,
            "visualizer": visualizer,
        }
        self.given_components = [name for name, component in given.items() if component is not True]

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
        checkpoint = read_checkpoint(checkpoint_path, "cpu")
        check_checkpoint(checkpoint, checkpoint_path)
        names = {each.name for each in dataclasses.fields(TrainingOptions)}
        given = TrainingOptions(**{name: kwargs[name] for name in names & kwargs.keys()})
        options = options_to_load(checkpoint.get("hyper_parameters", {}), given)
        decided = {name: getattr(options, name) for name in names}
        return super().load_from_checkpoint(checkpoint_path, *args, **{**NOTHING_BUILT, **kwargs, **decided})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note in a checkpoint whether it holds the pre-processor."""
        super().on_save_checkpoint(checkpoint)
        note_unsaved(self.pre_processor, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take a checkpoint's options and weights, and of the components what was not given."""
        trainer = attached_trainer(self)
        name = (trainer.ckpt_path if trainer else None) or "the checkpoint"
        check_checkpoint(checkpoint, name)
        options = options_to_load(checkpoint.get("hyper_parameters", {}), self.options)
        if options != self.options:
            self.use_options(options)
            self.to(memory_format=torch.channels_last)
        given = {component: getattr(self, component) for component in self.given_components}
        check_restorable(checkpoint, "pre_processor" in given, name)
        default = self.pre_processor
        super().on_load_checkpoint(checkpoint)
        for component, own in given.items():
            setattr(self, component, own)
        restore_pre_processor(self.pre_processor, default, self.image_size)
        checkpoint["state_dict"] = weights_to_load(self.state_dict(), checkpoint["state_dict"], name)
        update_augmentations(self)
