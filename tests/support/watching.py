"""What models, callbacks and loggers were given, for tests to look at afterwards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger


def watch(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[tuple[Any, ...], Any]]:
    """Note arguments, without those by name, and results of all calls of an object's or a class's method."""
    calls: list[tuple[tuple[Any, ...], Any]] = []
    method = getattr(owner, name)

    def watched(*arguments: Any, **named: Any) -> Any:
        result = method(*arguments, **named)
        calls.append((arguments, result))
        return result

    monkeypatch.setattr(owner, name, watched)
    return calls


class PretrainingSteps(DummyLogger):
    """Notes the steps of the pre-training, and does something as soon as the losses of one of them arrive."""

    def __init__(self, at: int | None = None, action: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.at, self.action = at, action
        self.steps: list[int] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step is None or "pretraining/l1" not in metrics:
            return
        self.steps.append(step)
        if step == self.at:
            self.action()


class SeenImages(Callback):
    """Keeps the images that the model trains with, by name."""

    def __init__(self) -> None:
        self.images: dict[str, torch.Tensor] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.images |= dict(zip(batch.image_path, batch.image, strict=True))
