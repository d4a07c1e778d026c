"""Checks of options, whose errors name the option."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Check that a value is one of several.

    Args:
        name: The option's name on the command line.
        value: Its value.
        choices: What it may be.

    Raises:
        ValueError: If it is none of them.
    """
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        msg = f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}"
        raise ValueError(msg)


def check_number(
    name: str,
    value: object,
    low: float,
    high: float = math.inf,
    *,
    whole: bool = False,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Check that a value is a number within an interval.

    Args:
        name: The option's name on the command line.
        value: Its value.
        low: Smallest number.
        high: Largest number.
        whole: Whether it has to be a whole number.
        open_low: Whether ``low`` itself is too small.
        open_high: Whether ``high`` itself is too large.

    Raises:
        ValueError: If it is no number or outside.
    """
    if not lies_in(value, low, high, whole=whole, open_low=open_low, open_high=open_high):
        kind = "be a whole number in" if whole else "lie in"
        open_high = open_high or high == math.inf
        msg = f"{name} must {kind} {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}, got {value!r}"
        raise ValueError(msg)


def check_pair(
    name: str, value: object, low: float, high: float, *, whole: bool = False, open_low: bool = False
) -> tuple[Any, Any]:
    """Check that a value is two ascending numbers within an interval.

    Args:
        name: The option's name on the command line.
        value: Its value, a list or tuple.
        low: Smallest number.
        high: Largest number.
        whole: Whether they have to be whole numbers.
        open_low: Whether ``low`` itself is too small.

    Returns:
        The value as a tuple.

    Raises:
        ValueError: If it is something else.
    """
    pair = tuple(value) if isinstance(value, (list, tuple)) else ()
    inside = [lies_in(number, low, high, whole=whole, open_low=open_low) for number in pair]
    if len(pair) != 2 or not all(inside) or pair[0] > pair[1]:
        kind = "whole numbers" if whole else "numbers"
        interval = f"{'(' if open_low else '['}{low}, {high}]"
        msg = f"{name} must be two {kind} in {interval}, the smaller one first, got {value!r}"
        raise ValueError(msg)
    return pair


def lies_in(
    value: object, low: float, high: float, *, whole: bool = False, open_low: bool = False, open_high: bool = False
) -> bool:
    """Tell whether a value is a number within an interval; see :func:`check_number`."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return False
    number = float(value)  # of which no comparison holds if it is not a number
    return (low < number if open_low else low <= number) and (number < high if open_high else number <= high)
