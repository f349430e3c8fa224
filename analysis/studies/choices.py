"""Choices that the commands share, read from plain values and checked before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora.errors import check_choice

ALL = "all"
WHICH = {"A": "the right singular vectors of A", "B": "the left singular vectors of B",
         "dW": "the right singular vectors of ΔW"}


@dataclass(frozen=True)
class Choices:
    """The updates that are studied, by role and layer (None: all), and the bootstrap of intervals."""

    roles: list[str] | None
    layers: list[int] | None
    level: float
    seed: int


@dataclass(frozen=True)
class SubspaceOptions:
    """The directions that are compared (a key of WHICH), and the statistics' quantile, draws and seed."""

    which: str
    level: float
    samples: int
    seed: int

    def __post_init__(self) -> None:
        check_choice("which", self.which, WHICH)
        check_level(self.level)
        if self.samples < 1:
            raise ValueError(f"samples {self.samples} is not at least 1")


def check_given(values: Mapping[str, Any], keys: Sequence[str]) -> None:
    """ValueError for an adapter that is not given."""
    for key in keys:
        if values[key] is None:
            raise ValueError(f"{key} is not given: {key}=<run, folder or loralib file>")


def check_loralib(values: Mapping[str, Any], paths: Sequence[Path], keys: Sequence[str] = ("alpha", "fused")) -> None:
    """ValueError for what is said of loralib files where none of the adapters at `paths` is one."""
    for key in keys:
        if values[key] is not None and not any(path.is_file() for path in paths):
            given = " and ".join(map(str, paths))
            raise ValueError(f"{key} {values[key]} is of a loralib file, which does not store it; {given} stores "
                             "its own: leave it out")


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")


def read_choices(values: Mapping[str, Any]) -> Choices:
    """The choices among a command's values; ValueError for layers or a level that cannot be."""
    check_level(values["level"])
    return Choices(chosen_roles(values["roles"]), chosen_layers(values["layers"]), values["level"], values["seed"])


def chosen_roles(roles: Any) -> list[str] | None:
    """One role or several, or None for all."""
    return None if roles in (None, ALL) else [str(role) for role in _several(roles)]


def chosen_layers(layers: Any) -> list[int] | None:
    """One layer's number or several, or None for all."""
    if layers in (None, ALL):
        return None
    numbers = _several(layers)
    if not numbers or any(not isinstance(number, int) or isinstance(number, bool) for number in numbers):
        raise ValueError(f"layers {layers!r} is neither {ALL} nor numbers, as [0,5,11]")
    return numbers


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
