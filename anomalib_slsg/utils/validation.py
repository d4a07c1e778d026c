"""Checks of options, whose errors name the option."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def check_choice(name: str, value: object, choices: Sequence[object]) -> Any:
    """Check that a value is one of several.

    Args:
        name: The option's name on the command line.
        value: Its value.
        choices: What it may be.

    Returns:
        The value.

    Raises:
        ValueError: If it is none of them.
    """
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    return value


def check_number(name: str, value: object, interval: str, *, whole: bool = False) -> Any:
    """Check that a value is a number within an interval.

    Args:
        name: The option's name on the command line.
        value: Its value.
        interval: Smallest and largest number, for instance ``(0, 1]``, which 0 does not belong to, or ``[1, inf)``.
        whole: Whether it has to be a whole number.

    Returns:
        The value, as a number of Python.

    Raises:
        ValueError: If it is no number or outside.
    """
    if not lies_in(value, interval, whole=whole):
        raise ValueError(f"{name} must {'be a whole number' if whole else 'lie'} in {interval}, got {value!r}")
    return value.item() if isinstance(value, np.generic) else value


def check_numbers(
    name: str, value: object, number: int, interval: str, *, whole: bool = False, ascending: bool = False
) -> tuple[Any, ...]:
    """Check that a value is so many numbers within an interval.

    Args:
        name: The option's name on the command line.
        value: Its value, a list or tuple.
        number: How many numbers.
        interval: As for :func:`check_number`.
        whole: Whether they have to be whole numbers.
        ascending: Whether none may be smaller than the one before.

    Returns:
        The value as a tuple.

    Raises:
        ValueError: If it is something else.
    """
    given = tuple(value) if isinstance(value, Sequence) else ()  # OmegaConf has lists of its own
    inside = all(lies_in(each, interval, whole=whole) for each in given)
    if len(given) != number or not inside or (ascending and list(given) != sorted(given)):
        kind = "whole numbers" if whole else "numbers"
        order = ", the smaller one first" if ascending else ""
        raise ValueError(f"{name} must be {number} {kind} in {interval}{order}, got {value!r}")
    return tuple(each.item() if isinstance(each, np.generic) else each for each in given)


def lies_in(value: object, interval: str, *, whole: bool = False) -> bool:
    """Tell whether a value is a number within an interval; see :func:`check_number`."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return False
    low, high = map(float, interval[1:-1].split(","))
    number = float(value)  # of which no comparison holds if it is not a number
    above = number > low or (interval[0] == "[" and number == low)
    return above and (number < high or (interval[-1] == "]" and number == high))
