"""Errors that name the bad value, the allowed ones and the nearest."""

import difflib
import math
import operator
from collections.abc import Collection
from typing import Any


def nearest(value: str, allowed: Collection[str]) -> str:
    """'; did you mean 'x'?' for the allowed word closest to `value`, or '' when none is close."""
    near = difflib.get_close_matches(str(value), allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(sorted(allowed))}{nearest(value, allowed)}")


def check_whole(name: str, value: object, least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, int) or not is_number(value) or value < least:
        raise ValueError(f"{name} {value!r} is not a whole number of at least {least}")


def check_number(name: str, value: Any, *, least: float | None = None, above: float | None = None,
                 most: float | None = None, below: float | None = None) -> None:
    """Raise ValueError unless `value` is a finite number within the limits that are given."""
    limits = {"of at least": (operator.ge, least), "above": (operator.gt, above), "below": (operator.lt, below),
              "at most": (operator.le, most)}
    given = {word: (holds, limit) for word, (holds, limit) in limits.items() if limit is not None}
    if not is_number(value) or not all(holds(value, limit) for holds, limit in given.values()):
        words = " and ".join(f"{word} {limit}" for word, (_, limit) in given.items())
        raise ValueError(f"{name} {value!r} is not a number {words}")


def is_number(value: object) -> bool:
    """True for a finite number; false for a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
