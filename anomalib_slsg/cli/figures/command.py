"""``slsg figures``: draws the paper's figures of a checkpoint."""

from importlib import import_module
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from anomalib_slsg.cli.folders import new_folder
from anomalib_slsg.utils.files import write_text

# name of each figure's files, and where its function of this name is
FIGURES = {
    "3": ("simulation", "networks"),
    "5": ("localisation", "verdicts"),
    "6": ("types_of_anomaly", "verdicts"),
    "7": ("features", "networks"),
    "8": ("neighbours", "networks"),
    "9": ("losses", "trained"),
    "10": ("reconstructions", "trained"),
    "11": ("thresholds", "verdicts"),
    "4.8": ("speed", "costs"),
}

WITHOUT_SIMULATION = ("10", "4.8")  # figures of networks that saw no simulated anomalies, and of times
PROCEDURAL = "SegNet learnt from simulated anomalies with procedural textures; the paper's are those of DTD."


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="the model (.ckpt)")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="images, as slsg train takes them")
    parser.add_argument(
        "--figure", nargs="+", choices=tuple(FIGURES), default=None, help="the paper's numbers, 4.8 for that table; all"
    )
    parser.add_argument("--output", type=Path, default=None, help="folder of the figures; else results/figures")
    parser.add_argument("--models", type=dict[str, Path], default={}, help="further checkpoints: '{name: file, ...}'")


def run(options: Namespace) -> int:
    """Draw the figures.

    Returns:
        0.

    Raises:
        OSError: If there is no such file, or figures cannot be written.
        ValueError: If a figure that was asked for cannot be drawn of this checkpoint or these data.
    """
    from anomalib_slsg.cli.figures.subject import Subject
    from anomalib_slsg.report.figures.column import add_to_caption, save_figure

    subject = Subject(options.checkpoint, options.data, options.models)
    print(subject.images.sentence)
    output: Path | None = None
    for number in options.figure or FIGURES:
        name, module = FIGURES[number]
        try:
            made = getattr(import_module(f"anomalib_slsg.cli.figures.{module}"), name)(subject)
        except ValueError as error:
            if options.figure:
                raise ValueError(f"figure {number}: {error}") from error
            print(f"Figure {number} is left out: {error}.")
            continue
        if subject.procedural and number not in WITHOUT_SIMULATION:
            add_to_caption(made.figure, PROCEDURAL)
        output = output or new_folder(options.output or Path("results") / "figures")
        stem = f"figure_{number.replace('.', '_')}_{name}"
        files = save_figure(made.figure, output, stem)
        if made.markdown is not None:
            files.append(output / f"{stem}.md")
            write_text(files[-1], made.markdown)
        print(f"Figure {number}: {', '.join(map(str, files))}")
    return 0
