"""Groups of options: frozen dataclasses of plain values that check themselves."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from anomalib_slsg.utils.validation import check_choice, check_number, check_numbers


@dataclass(frozen=True)
class Options:
    """Base class of option groups. Fields made by the functions below are checked; plain fields are not.

    The metadata ``allowed`` of a field says what it may be, for the page of options.
    """

    group: ClassVar[str]  # its name on the command line

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: If a value lies outside its range. The message names the option.
        """
        for each in dataclasses.fields(self):
            if check := each.metadata.get("check"):
                value = check(f"{self.group}.{each.name}", getattr(self, each.name))
                object.__setattr__(self, each.name, value)


def number(default: float, interval: str, *, optional: bool = False) -> Any:
    """Make the field of a number; a whole one if its default is.

    Args:
        default: Its default.
        interval: Where it lies, for instance ``(0, 1]``; see :func:`~anomalib_slsg.utils.validation.check_number`.
        optional: Whether ``None`` will do, too.

    Returns:
        The field.
    """
    check = partial(check_number, interval=interval, whole=isinstance(default, int))

    def check_or_none(name: str, value: object) -> Any:
        return None if value is None and optional else check(name, value)

    allowed = f"{interval} or null" if optional else interval
    return field(default=default, metadata={"check": check_or_none, "allowed": allowed})


def numbers(default: tuple[float, ...], interval: str, *, ascending: bool = False) -> Any:
    """Make the field of as many numbers as its default has, whole ones if they are; a list will do for a tuple.

    Args:
        default: Its default.
        interval: Where they lie.
        ascending: Whether none may be smaller than the one before.

    Returns:
        The field.
    """
    whole = all(isinstance(each, int) for each in default)
    check = partial(check_numbers, number=len(default), interval=interval, whole=whole, ascending=ascending)
    return field(default=default, metadata={"check": check, "allowed": interval})


def choice(default: object, choices: Sequence[object]) -> Any:
    """Make the field of one of several values.

    Args:
        default: Its default.
        choices: What it may be.

    Returns:
        The field.
    """
    check = partial(check_choice, choices=choices)
    return field(default=default, metadata={"check": check, "allowed": ", ".join(map(str, choices))})
