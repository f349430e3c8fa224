"""The values that a key may have, with words for the error that refuses another; `a | b` takes either."""

import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, is_dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lora.errors import is_number, nearest


@dataclass(frozen=True)
class Values:
    """The values of a key: in words, as a test, and what may be meant by a value that is none of them."""

    words: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()                 # words among them
    listed: Callable[[Any], str] | None = None    # of a list: one value as its items
    each: "Values | None" = None                  # of a mapping: those of its names

    def __or__(self, other: "Values") -> "Values":
        return Values(f"{self.words} or {other.words}", lambda value: self.holds(value) or other.holds(value),
                      self.choices + other.choices, self.listed or other.listed, self.each or other.each)

    def check(self, key: str, value: Any) -> None:
        """Raise ValueError for a value that the key cannot have."""
        if self.holds(value):
            return
        if self.each is not None and isinstance(value, Mapping):
            for name, item in value.items():
                self.each.check(f"{key}.{name}", item)
        if self.listed is not None and self.holds([value]):
            raise ValueError(f"{key} {value!r} is not a list: write [{self.listed(value)}]")
        quoted = isinstance(value, int | float) and self.holds(str(value))
        hint = f": write \"{key}='{value}'\"" if quoted else nearest(str(value), self.choices)
        raise ValueError(f"{key} {value!r} is not {self.words}{hint}")


ANYTHING = Values("anything", lambda value: True)
NULL = Values("null", lambda value: value is None)
FLAG = Values("true or false", lambda value: isinstance(value, bool))
TEXT = Values("a text", lambda value: isinstance(value, str) and value != "")


def choice(*allowed: str) -> Values:
    """One of some words."""
    words = f"one of {', '.join(sorted(allowed))}" if len(allowed) > 1 else allowed[0]
    return Values(words, lambda value: isinstance(value, str) and value in allowed, allowed)


def whole(least: int | None = None) -> Values:
    """A whole number."""
    words = "a whole number" if least is None else f"a whole number of at least {least}"
    return Values(words, lambda value: isinstance(value, int) and is_number(value)
                  and (least is None or value >= least))


def number(words: str = "", within: Callable[[float], bool] = lambda value: True) -> Values:
    """A finite number within limits, which `words` say."""
    return Values(f"a number {words}".strip(), lambda value: is_number(value) and within(value))


def list_of(values: Values, least: int = 0, most: float = math.inf, listed: Callable[[Any], str] = str) -> Values:
    """A list of a number of items, each of `values`; `listed` writes one value as items."""
    count = f" of {least}" if least == most else f" of {least} or more" if least else ""
    words = "" if values is ANYTHING else f", each {values.words}"
    return Values(f"a list{count}{words}", lambda value: isinstance(value, list | tuple)
                  and least <= len(value) <= most and all(map(values.holds, value)), listed=listed)


def by_name(values: Values) -> Values:
    """A mapping of names to `values`."""
    words = "a mapping" if values is ANYTHING else f"a mapping, each value {values.words}"
    return Values(words, lambda value: isinstance(value, Mapping) and all(map(values.holds, value.values())),
                  each=values)


OF_TYPE: dict[Any, Values] = {int: whole(), float: number(), bool: FLAG, str: TEXT | Values("''", lambda v: v == ""),
                              Path: TEXT, None: NULL, types.NoneType: NULL}


def of_hint(hint: Any) -> Values:
    """The values of a type hint; anything where the hint is of no kind that YAML has."""
    if hint in OF_TYPE:
        return OF_TYPE[hint]
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return reduce(or_, map(of_hint, arguments))
    if origin is Literal:
        return choice(*map(str, arguments))
    if not inspect.isclass(origin):
        return ANYTHING
    items = [of_hint(argument) for argument in arguments if argument is not Ellipsis]
    if issubclass(origin, Mapping):
        return by_name(items[1] if len(items) > 1 else ANYTHING)
    if issubclass(origin, Sequence | AbstractSet):
        return list_of(reduce(or_, items) if items else ANYTHING)
    return ANYTHING


def arguments_of(target: Callable[..., Any]) -> dict[str, tuple[Values, bool]]:
    """The values of each argument that a class or function names, by its type hints, and whether it must be given."""
    home = target.__init__ if inspect.isclass(target) and not is_dataclass(target) else target  # type: ignore[misc]
    try:
        hints = get_type_hints(home)
    except (NameError, TypeError):  # hints that only a type checker resolves
        hints = {}
    return {name: (of_hint(hints.get(name, Any)), parameter.default is parameter.empty)
            for name, parameter in inspect.signature(target).parameters.items()
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)}


def takes_any(target: Callable[..., Any]) -> bool:
    """True for a function that takes arguments by any name."""
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(target).parameters.values())
