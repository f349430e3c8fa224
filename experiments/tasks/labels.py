"""What the label column of a file holds: classes by their names, numbers, or nothing."""

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np


def label_name(value: Any) -> str:
    """A label as text: the numbers 1 and 1.0 are '1', and true of YAML or JSON is 'true'."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_missing(value: Any) -> bool:
    """True for what files hold where there is no label: null, a blank, or NaN, also as the text that prints it."""
    return value is None or str(value).strip().lower() in ("", "nan")


def finite_number(value: Any) -> float | None:
    """`value` as a finite number, or None; true is none, and neither is 1_000, which is one to Python alone."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def almost_the_same(names: Iterable[str]) -> list[str]:
    """The first of `names` that are the same but for spaces, case, Unicode form or number format; [] if none are.

    Spaces are also those of no width.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_plain(name), []).append(name)
    return next((group for group in groups.values() if len(group) > 1), [])


def _plain(name: str) -> str:
    """A class's name without what a reader does not see: 1.0 is '1', and ' Neg' is 'neg'."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")  # zero-width spaces and joiners
    text = " ".join(unicodedata.normalize("NFKC", seen).casefold().split())
    number = finite_number(text)
    return text if number is None else label_name(number)
