"""Resolve many configs that differ in a few values: OmegaConf parses every interpolation of every config again.

Only two kinds of interpolation are resolved here: `${preset:key,default}`, which the row of a preset fills, and those
that look no further than their own group. OmegaConf resolves the latter, once for each content of a group. A config
with any other is OmegaConf's as a whole.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.presets import named_row, size_of

FILLED = re.compile(r"\$\{preset:([\w.]+)(?:,[^${}]*)?\}")
OWN = re.compile(r"\$\{(?:\.\w+|(?:if_pinned|model_name|environment):[^${}]*)\}")  # of siblings and the environment
NAMED = ("model", "method", "task")  # the groups by whose names a preset's row is found


class Plainly:
    """Resolves the configs of one command."""

    def __init__(self) -> None:
        self.groups: dict[str, Any] = {}  # a group's content as text -> resolved

    def __call__(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The resolved config; None where it takes OmegaConf to resolve or refuse it."""
        try:
            row = self._row(config)
            filled = {key: _filled(value, row) for key, value in config.items()}
            return {key: self._own(value) for key, value in filled.items()}
        except (_Other, OmegaConfBaseException):
            return None

    def _row(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the preset's row for the config; ValueError where it has none."""
        if (preset := config["preset"]) is None:
            return {}
        model, method, task = (
            self._own({key: value for key, value in config[group].items() if _may_name(value)})["name"]
            for group in NAMED)
        if any(map(_is_interpolation, _texts([preset, model, method, task]))):
            raise _Other
        given = {key: value for key, value in config["method"].items() if not _is_interpolation(value)}
        values: dict[str, Any] = named_row(preset, model, method, task, size_of(given))["values"]
        return values

    def _own(self, value: Any) -> Any:
        """A top key's value without interpolations."""
        texts = [text for text in _texts(value) if _is_interpolation(text)]
        if not texts:
            return value
        if not isinstance(value, dict) or any(map(_is_interpolation, (OWN.sub("", text) for text in texts))):
            raise _Other
        if (content := repr(value)) not in self.groups:
            self.groups[content] = _resolved({"group": value})["group"]
        return self.groups[content]


class _Other(Exception):
    """An interpolation that is not resolved here."""


def _is_interpolation(value: Any) -> bool:
    """True for a text that OmegaConf reads as more than a text."""
    return isinstance(value, str) and ("${" in value or value == "???")


def _may_name(value: Any) -> bool:
    """False for a value that is no part of a name: a collection, or one that a preset fills."""
    return not isinstance(value, dict | list) and not (isinstance(value, str) and FILLED.fullmatch(value))


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _filled(value: Any, row: Mapping[str, Any]) -> Any:
    """`value` with the row's values where it asks for them, and the default for those that the row does not state."""
    if isinstance(value, dict):
        return {key: _filled(item, row) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, row) for item in value]
    if isinstance(value, str) and (match := FILLED.fullmatch(value)):
        return row[match[1]] if match[1] in row else _default(value)
    return value


@functools.cache
def _default(text: str) -> Any:
    """The value of `${preset:key,default}` without a preset; an error of OmegaConf where it has no default."""
    return _resolved({"preset": None, "value": text})["value"]


def _resolved(content: dict[str, Any]) -> dict[str, Any]:
    """`content` as OmegaConf resolves it."""
    resolved: Any = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    return dict(resolved)
