"""Script of test_ranks: trains in two processes of different seeds, each of which notes what it came to."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from anomalib_slsg.normality.composition import Composition
from anomalib_slsg.pretraining.gan import InpaintingGAN
from anomalib_slsg.pretraining.options import PretrainingOptions
from tests.support.models import tiny_slsg
from tests.support.training import drawn_parts, quiet_engine
from tests.support.watching import watch


def main(tree: Path, results: Path) -> None:
    """Fit a tiny model to the images below ``tree``; write ``rank<number>.json`` into ``results``."""
    torch.manual_seed(int(os.environ.get("LOCAL_RANK", "0")))  # PyTorch's own is the same in all processes
    model = tiny_slsg(seed=None, pretraining=PretrainingOptions(epochs=1, batch_size=2))
    patch = pytest.MonkeyPatch()
    steps = watch(patch, InpaintingGAN, "step")
    # rounding may lead processes to other words
    fit = Composition.fit
    patch.setattr(
        Composition, "fit", lambda self, features, *rest: fit(self, features + 0.1 * model.global_rank, *rest)
    )
    engine = quiet_engine(results, max_steps=2, devices=2, strategy="ddp", logger=False)
    engine.fit(model, drawn_parts(tree, mask_dir=None))
    sums = {name: float(value.double().sum()) for name, value in model.model.state_dict().items()}
    seen = [total for (_, images, *_), _ in steps for total in images.double().sum(dim=(1, 2, 3)).tolist()]
    result = {"seed": model.fit_seed, "sums": sums, "pre-trained with": seen}
    (results / f"rank{engine.trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
