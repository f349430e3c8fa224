"""What the commands of this package share: the choice of sites, and how tables and figures leave.

A study is computed whole before anything is written. It is printed, and its tables (CSV, and Markdown with notes and
problems) and figures (PNG and PDF) go to the output folder and to wandb.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.adapters.updates import Problem, Update
from analysis.linalg.statistics import Interval


@dataclass(frozen=True)
class Study:
    """Tables and figures by name, and what a reader must know."""

    name: str                       # of the command: files begin with it
    title: str
    tables: Mapping[str, pd.DataFrame]  # the first is the reading, and is printed last
    details: Mapping[str, pd.DataFrame]  # tables for programs alone: CSV
    figures: Mapping[str, Figure]
    notes: Sequence[str]
    problems: Sequence[Problem]


def role_names(updates: Sequence[Update]) -> dict[str, str]:
    """By module, the name of its matrices: the role, with the module's last word where a layer has two of a role."""
    words: dict[str, set[str]] = {}
    for update in updates:
        words.setdefault(update.role, set()).add(update.word)
    return {f"{u.module} {u.role}": u.role if len(words[u.role]) == 1 else f"{u.role} {u.word}" for u in updates}


def name_of(update: Update, names: Mapping[str, str]) -> str:
    """The update's name among role_names."""
    return names[f"{update.module} {update.role}"]


def place(layer: int | None) -> str:
    """A layer in words."""
    return "outside the layers" if layer is None else f"layer {layer}"


def shown(interval: Interval, digits: int = 3) -> str:
    """'0.42 [0.31, 0.50]', without brackets for a single value."""
    text = f"{interval.mean:.{digits}g}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:.{digits}g}, {interval.high:.{digits}g}]"


