"""``python -m anomalib_slsg.synthetic_loco`` writes SyntheticLOCO's trees."""

from functools import partial
from pathlib import Path

from jsonargparse import ArgumentParser
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from anomalib_slsg.synthetic_loco.scenes import SCENES
from anomalib_slsg.synthetic_loco.tree import TreePlan, write_tree

ALL = "all"


def write_trees(
    root: Path = Path("./datasets/SyntheticLOCO"),
    category: str = ALL,
    image_size: int = 256,
    train_images: int = 120,
    validation_images: int = 20,
    test_images: int = 40,
    data_seed: int = 0,
) -> None:
    """Write one category or all, with a progress bar.

    Args:
        root: Folder of the data set.
        category: ``tray``, ``bottle``, ``connector_board`` or ``all``.
        image_size: Side of the images in pixels, at least 64.
        train_images: Number of normal training images.
        validation_images: Number of normal validation images.
        test_images: Number of test images of each type: good, logical, structural.
        data_seed: Seed of the drawing.

    Raises:
        ValueError: An option is out of its range, or the folder holds other data.
    """
    names = list(SCENES) if category == ALL else [category]
    plans = [
        TreePlan(root, name, image_size, train_images, validation_images, test_images, data_seed) for name in names
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        for plan in plans:
            task = progress.add_task(plan.category, total=plan.total)
            write_tree(plan, partial(progress.advance, task))
            progress.update(task, completed=plan.total)


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``write_trees``.

    Args:
        arguments: Command line arguments; those of the process if left out.
    """
    parser = ArgumentParser(prog="python -m anomalib_slsg.synthetic_loco", description="Write SyntheticLOCO.")
    parser.add_function_arguments(write_trees, as_group=False, as_positional=False)
    options = parser.instantiate_classes(parser.parse_args(arguments))
    try:
        write_trees(**options.as_dict())
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
