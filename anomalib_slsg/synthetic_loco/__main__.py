"""``python -m anomalib_slsg.synthetic_loco`` writes SyntheticLOCO's trees."""

from functools import partial

from jsonargparse import ArgumentParser

from anomalib_slsg.synthetic_loco.scenes import SCENES
from anomalib_slsg.synthetic_loco.tree import TreePlan, write_tree
from anomalib_slsg.utils.progress import progress_bar

ALL = "all"


def main(arguments: list[str] | None = None) -> None:
    """Write one category or all, with a progress bar.

    Args:
        arguments: Command line arguments; those of the process if left out.
    """
    parser = ArgumentParser(prog="python -m anomalib_slsg.synthetic_loco", description="Write SyntheticLOCO.")
    parser.add_argument("--category", type=str, default=ALL, help=f"{', '.join(SCENES)}, or {ALL} of them")
    parser.add_class_arguments(TreePlan, skip={"category"}, as_positional=False)
    options = parser.parse_args(arguments).as_dict()
    category = options.pop("category")
    try:
        plans = [TreePlan(category=name, **options) for name in (SCENES if category == ALL else [category])]
        with progress_bar() as progress:
            for plan in plans:
                task = progress.add_task(plan.category, total=plan.total)
                write_tree(plan, partial(progress.advance, task))
                progress.update(task, completed=plan.total)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
