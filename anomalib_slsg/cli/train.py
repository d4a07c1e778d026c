"""``slsg train``: from a folder of images to a model, a table and heat maps."""

import dataclasses
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from anomalib_slsg.cli.console import quiet
from anomalib_slsg.cli.folders import new_folder
from anomalib_slsg.utils.validation import check_number

if TYPE_CHECKING:
    from anomalib.data import AnomalibDataModule
    from anomalib.engine import Engine

    from anomalib_slsg.lightning_model import Slsg
    from anomalib_slsg.report.judged import Judged

MINUTES = 10.0
SCHEDULES = {"short": (5, 500), "paper": (40, 3500)}  # epochs of pre-training, iterations of SegNet
RUN = "run"  # where the trainer writes; removed at the end
OWN: set[str | int] = {"image_size", "pre_processor", "post_processor", "evaluator", "visualizer"}  # not below --model


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments."""
    with quiet():
        from anomalib_slsg.lightning_model import Slsg

    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images of good parts, or a folder 'good' of them")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results; else results/<FOLDER>")
    parser.add_argument(
        "--minutes", type=float, default=None, help="how long it may take, 10 if left out; 0: the least"
    )
    parser.add_argument("--schedule", choices=tuple(SCHEDULES), default=None, help="a length in steps, not in minutes")
    parser.add_argument("--false_alarm_rate", type=float, default=0.05, help="share of good parts that may be rejected")
    parser.add_argument("--image_size", type=int, default=256, help="side in pixels that the model looks at")
    parser.add_argument("--ckpt_path", type=Path, default=None, help="what a stopped training has left, to go on from")
    parser.add_class_arguments(Slsg, "model", instantiate=False, skip=OWN)


def run(options: Namespace) -> int:
    """Train, judge the test images and say how it went.

    Returns:
        0.

    Raises:
        OSError: If there is no such folder, or results cannot be written.
        ValueError: If it has no suitable images, or an option is out of range.
    """
    start = time.monotonic()
    from anomalib.engine import Engine

    from anomalib_slsg.cli.budget import TimeBudget
    from anomalib_slsg.cli.data import find_data
    from anomalib_slsg.cli.judging import common_folder, judge_images
    from anomalib_slsg.cli.models import TrainedModel
    from anomalib_slsg.cli.report import describe_run
    from anomalib_slsg.cli.run_progress import RunProgress
    from anomalib_slsg.cli.training_images import TrainingImagesLook
    from anomalib_slsg.data.training_images import kept_for_calibration
    from anomalib_slsg.normality.calibration import what_a_rate_takes
    from anomalib_slsg.options import plain
    from anomalib_slsg.report.html import write_report

    steps_given = "model.optimizer.iterations" in options.explicit
    if options.minutes is not None and (options.schedule is not None or steps_given):
        length = "--model.optimizer.iterations" if options.schedule is None else "--schedule"
        raise ValueError(f"--minutes and {length} contradict each other; give one of them")
    minutes = check_number("--minutes", MINUTES if options.minutes is None else options.minutes, "[0, inf)")
    check_number("--false_alarm_rate", options.false_alarm_rate, "(0, 0.5]")
    model = make_model(options, minutes)
    images = find_data(options.folder)
    if not images.test:
        raise ValueError(f"'{options.folder / 'test'}' has no images; put them there into folders, one of them 'good'")
    print(images.sentence)
    state: Path | None = options.ckpt_path
    wanted = options.output or Path("results") / options.folder.resolve().name
    output = new_folder(wanted) if state is None else _folder_of(state)
    by_time = options.schedule is None and not steps_given and minutes > 0
    budget = TimeBudget(start + 60 * minutes, len(images.test)) if by_time else None
    look = TrainingImagesLook()
    engine = Engine(
        default_root_dir=output / RUN,
        logger=False,
        enable_model_summary=False,
        callbacks=[RunProgress(budget), look, *([] if budget is None else [budget])],
    )
    promised = model.options.calibration.false_alarm_rate
    kept = 0 if promised is None else len(kept_for_calibration(len(images.datamodule.train_data)))
    unpromised = ""
    if promised is not None and not kept:
        takes = what_a_rate_takes(promised, normality=bool(model.options.normality.measures))
        unpromised = f", so no rate of false alarms is promised: {takes}"
    print(
        f"Training {_length(model, minutes if by_time else None)}; {kept} good image{' is' if kept == 1 else 's are'} "
        f"kept from training, to find the threshold{unpromised}."
    )
    checkpoint = _fit(engine, model, images.datamodule, output, state)
    look.write(output, checkpoint)
    judged, broken = judge_images(
        TrainedModel(checkpoint), list(images.test), common_folder(list(images.test)), output, images.test
    )
    if budget is not None:
        trained = f"SegNet was trained for {engine.trainer.global_step} iterations."
        print(trained if model.model.segments else LEFT_OUT)
    for line in [*results(judged), *(f"Not judged: {sentence}" for sentence in broken)]:
        print(line)
    card = {}
    if (calibration := model.model.calibration).fitted:
        print(calibration.sentence())
        card = {"calibration": calibration.card()}
    chosen = plain({**dataclasses.asdict(model.options), "image_size": options.image_size})
    describe_run(output, checkpoint, time.monotonic() - start, options=chosen, **card)
    write_report(output)
    print(f"This took {(time.monotonic() - start) / 60:.1f} minutes. In '{output}':")
    print(f"  model      {checkpoint.name}\n  report     report.html\n  table      scores.csv\n  heat maps  heat_maps/")
    print(f"Next: slsg predict {checkpoint} NEW_IMAGES")
    return 0


LEFT_OUT = "There was no time for SegNet, so normality judges alone; give more --minutes for finer heat maps."


def make_model(options: Namespace, minutes: float) -> "Slsg":
    """Make the model; options of it that were given win over those of the schedule.

    Args:
        options: Those of the command line.
        minutes: How long the training may take.

    Returns:
        The model.
    """
    from anomalib_slsg.lightning_model import Slsg
    from anomalib_slsg.normality.options import CalibrationOptions
    from anomalib_slsg.options import as_options
    from anomalib_slsg.pretraining.options import PretrainingOptions
    from anomalib_slsg.training.optimizer import OptimizerOptions

    epochs, iterations = SCHEDULES.get(options.schedule, (0, SCHEDULES["paper"][1] if minutes > 0 else 0))
    chosen: dict[str, Any] = options.model.as_dict()
    scheduled = (
        ("pretraining", PretrainingOptions, {"epochs": epochs}),
        ("optimizer", OptimizerOptions, {"iterations": iterations}),
        ("calibration", CalibrationOptions, {"false_alarm_rate": options.false_alarm_rate}),
    )
    for name, kind, values in scheduled:
        free = {field: value for field, value in values.items() if f"model.{name}.{field}" not in options.explicit}
        chosen[name] = dataclasses.replace(as_options(kind, chosen[name]), **free)
    chosen["seed"] = 0 if chosen["seed"] is None else chosen["seed"]
    return Slsg(**chosen, image_size=options.image_size, visualizer=False)


def _fit(engine: "Engine", model: "Slsg", datamodule: "AnomalibDataModule", output: Path, state: Path | None) -> Path:
    """Train, and leave nothing of the trainer's folders but the model and what belongs to it."""
    try:
        engine.fit(model, datamodule=datamodule, ckpt_path=state)
    except BaseException as error:
        if not any(output.rglob("*.ckpt")):  # from which the training could go on
            shutil.rmtree(output)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                print("Stopped before there was anything to save.", file=sys.stderr)
        raise
    checkpoint = Path(engine.trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    for file in checkpoint.parent.iterdir():
        shutil.move(file, output / file.name)
    shutil.rmtree(output / RUN)
    return output / checkpoint.name


def results(judged: "Iterable[Judged]") -> list[str]:
    """Say of each folder how many images were judged rightly."""
    folders: dict[tuple[bool, str], list[bool]] = defaultdict(list)
    for image in judged:
        name = Path(image.file).parent.name
        folders[bool(image.anomalous), name].append(image.verdict == "anomalous")
    width = max((len(name) for _, name in folders), default=0)
    return [
        f"  {name:{width}}  {sum(alarms)} of {len(alarms)} {'bad images found' if bad else 'good images rejected'}"
        for (bad, name), alarms in sorted(folders.items())
    ]


def _folder_of(state: Path) -> Path:
    """The folder of results whose training has left a state."""
    run = next((each for each in state.parents if each.name == RUN), None)
    if run is None or not state.is_file():
        raise ValueError(f"--ckpt_path '{state}' is not what a stopped 'slsg train' has left")
    return run.parent


def _length(model: "Slsg", minutes: float | None) -> str:
    epochs, iterations = model.options.pretraining.epochs, model.options.optimizer.iterations
    if iterations == 0:
        return "normality alone, as fast as possible"
    if minutes:
        return f"for about {minutes:g} minutes"
    return f"{f'for {epochs} epochs of pre-training and then ' if epochs else 'for '}{iterations} iterations of SegNet"
