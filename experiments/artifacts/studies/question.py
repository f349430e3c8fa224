"""Common ground of figures 3, 4, 6, 7, 8 and table 7 of the paper: runs by rank and seed, and layers that are drawn.

A kind of study is a dataclass that conf/artifact/<name>.yaml makes. It says which runs it needs, and studies those
whose adapters are there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from analysis.adapters.read import AdapterUpdates
from analysis.figures.lines import spread
from analysis.studies.study import Study
from experiments.tables.names import display_name
from experiments.tables.table import Table
from lora.errors import check_choice
from lora.sites import ROLES

Key = tuple[int, int]  # rank and seed of a run
LAYERS = ("middle", "quarters", "all")


@dataclass(frozen=True)
class Subject:
    """The subject of a study: the trained runs of one model and task, and the artifact's name and title."""

    name: str                        # figure3
    title: str
    model: str                       # a file of conf/model
    task: str
    adapters: Mapping[Key, AdapterUpdates]
    printed: Sequence[Mapping[str, str]]  # rows of the paper's table, if it is one
    notes: Sequence[str]             # on models and tasks that stand in for the paper's

    @property
    def place(self) -> str:
        """The model and the task as captions name them, as 'RoBERTa-nano on MNLI'."""
        return f"{display_name(self.model)} on {display_name(self.task)}"


@dataclass(frozen=True)
class Answer:
    """A study, and the paper's table with our numbers where the artifact is one."""

    study: Study
    table: Table | None


class Question(Protocol):
    """A kind of study."""

    def runs(self) -> list[Key]:
        """The runs that it needs."""

    def ready(self, trained: Sequence[Key]) -> bool:
        """True where these are enough for some of it."""

    def answer(self, subject: Subject) -> Answer:
        """The study, before anything is written; ValueError where nothing of it can be had."""


def key_of(run: Sequence[int]) -> Key:
    """(rank, seed) of a run as an artifact names it; ValueError for anything else."""
    if len(run) != 2 or any(not isinstance(n, int) or isinstance(n, bool) for n in run) or run[0] < 1 or run[1] < 0:
        raise ValueError(f"run {list(run)!r} is not [rank, seed], as [64, 0]")
    return run[0], run[1]


def check_drawn(roles: Sequence[str], layers: str | Sequence[int]) -> None:
    """ValueError for a role that does not exist, and for layers that are neither numbers nor one of LAYERS."""
    for role in roles:
        check_choice("role", role, ROLES)
    if isinstance(layers, str):
        check_choice("layers", layers, (*LAYERS, "[0,5,11]"))
    elif not layers or any(not isinstance(layer, int) or isinstance(layer, bool) for layer in layers):
        raise ValueError(f"layers {list(layers)!r} are neither numbers nor one of {', '.join(LAYERS)}")


def drawn_layers(layers: str | Sequence[int], present: Sequence[int | None]) -> list[int | None]:
    """The layers that are drawn. `middle` is the last of the first half, as the paper's 48th of 96."""
    numbers: list[int | None] = [*sorted({layer for layer in present if layer is not None})]
    if not numbers:
        raise ValueError("no update is in a numbered layer")
    if isinstance(layers, str):
        return {"middle": numbers[(len(numbers) - 1) // 2:][:1], "quarters": spread(numbers), "all": numbers}[layers]
    for layer in layers:
        if layer not in numbers:
            raise ValueError(f"layer {layer} is not one of {', '.join(map(str, numbers))}")
    return list(layers)


def run_words(key: Key) -> str:
    """A run as captions call it."""
    return f"r = {key[0]}, seed {key[1]}"


def layer_words(drawn: Sequence[int | None], present: Sequence[int | None]) -> str:
    """The drawn layers among those present: 'layer 2 of 0 to 5'."""
    numbers = [layer for layer in present if layer is not None]
    return f"layer{'s' * (len(drawn) > 1)} {', '.join(map(str, drawn))} of {min(numbers)} to {max(numbers)}"


def update_words(role: str) -> str:
    """dW of a role as a figure's title shows it."""
    return rf"$\Delta W_\mathrm{{{role}}}$" if role in ROLES else f"ΔW of {role}"
