"""``python -m anomalib_slsg.report FOLDER`` writes the report of a folder."""

from jsonargparse import ArgumentParser

from anomalib_slsg.report.html import write_report


def main(arguments: list[str] | None = None) -> None:
    """Write the report and say where it is.

    Args:
        arguments: Command line arguments; those of the process if left out.
    """
    parser = ArgumentParser(prog="python -m anomalib_slsg.report", description="Write the report of what was found.")
    parser.add_function_arguments(write_report, as_positional=True)
    try:
        print(write_report(**parser.parse_args(arguments)))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
