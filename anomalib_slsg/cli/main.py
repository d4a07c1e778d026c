"""The command line ``slsg``; each subcommand has a file of its own."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from jsonargparse import ArgumentParser, Namespace

from anomalib_slsg.cli import doctor, export, predict, report, train
from anomalib_slsg.cli.console import quiet
from anomalib_slsg.cli.figures import command as figures

COMMANDS = {
    "train": (train, "learn from a folder of images of good parts"),
    "predict": (predict, "judge images with a trained model"),
    "report": (report, "write a page of what was found"),
    "export": (export, "write a model for other programs"),
    "figures": (figures, "draw the paper's figures of a trained model"),
    "doctor": (doctor, "say what this machine has, and try a tiny model"),
}
OTHERS = {  # command lines of their own, which are modules, too
    "evaluate": ("anomalib_slsg.metrics.evaluate", "metrics of anomaly maps, by the protocol of MVTec LOCO"),
    "preview": ("anomalib_slsg.simulation.preview", "a contact sheet of simulated anomalies"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; that of the process if left out.

    Returns:
        The exit code: 0, or 2 after an error and 130 after Ctrl-C, which are one line on standard error each.
    """
    # Else threads that wait for each other keep their processor from whatever else runs: with one other program on two
    # cores, judging an image took 30 times as long. Read when torch is imported, which nothing above does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in OTHERS:
        with quiet():
            import_module(OTHERS[given[0]][0]).main(given[1:])
        return 0
    options = _parse(given)
    with quiet():
        return _run(options)


def _parse(given: list[str]) -> Namespace:
    """Read the command line; but for ``train``, whose options are the model's, that loads no library.

    Returns:
        The options; those of the subcommand also have ``explicit``, which are those that were given.
    """
    parser = ArgumentParser(prog="slsg", description="Anomaly detection that learns from images of good parts.")
    commands = parser.add_subcommands()
    for name, (module, description) in COMMANDS.items():
        subparser = ArgumentParser(description=description)
        if name in given:  # the others' would load what is not needed
            module.add_arguments(subparser)
        commands.add_subcommand(name, subparser, help=description)
    for name, (_, description) in OTHERS.items():
        commands.add_subcommand(name, ArgumentParser(description=description), help=description)
    options = parser.parse_args(given)
    options[options.subcommand].explicit = parser.parse_args(given, defaults=False)[options.subcommand]
    return options


def _run(options: Namespace) -> int:
    from anomalib_slsg.data.reading import read_deep_images

    try:
        read_deep_images()
        return COMMANDS[options.subcommand][0].run(options[options.subcommand])
    except (ValueError, OSError, ModuleNotFoundError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
