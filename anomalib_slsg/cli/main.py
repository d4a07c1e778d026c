"""The command line ``slsg``; each subcommand has a file of its own."""

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from anomalib_slsg.cli import export, predict, train
from anomalib_slsg.cli.console import quiet
from anomalib_slsg.data.reading import read_deep_images

COMMANDS = {
    "train": (train, "learn from a folder of images of good parts"),
    "predict": (predict, "judge images with a trained model"),
    "export": (export, "write a model for other programs"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; that of the process if left out.

    Returns:
        The exit code: 0, or 2 after an error, which is one line on standard error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = ArgumentParser(prog="slsg", description="Anomaly detection that learns from images of good parts.")
    commands = parser.add_subcommands()
    for name, (module, description) in COMMANDS.items():
        subparser = ArgumentParser(description=description)
        if name in given:  # the others' would load what is not needed
            module.add_arguments(subparser)
        commands.add_subcommand(name, subparser, help=description)
    options = parser.parse_args(given)
    try:
        with quiet():
            read_deep_images()
            return COMMANDS[options.subcommand][0].run(options[options.subcommand])
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
