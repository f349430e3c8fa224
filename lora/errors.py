"""Errors that name the bad value, the allowed ones and the nearest."""

import difflib
from collections.abc import Collection


def nearest(value: str, allowed: Collection[str]) -> str:
    """'; did you mean 'x'?' for the allowed word closest to `value`, or '' when none is close."""
    near = difflib.get_close_matches(str(value), allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_choice(what: str, value: str, allowed: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is not one of {', '.join(sorted(allowed))}{nearest(value, allowed)}")
