"""Parts that all studies share: the result of a study, names of sites, intervals in words, phi as a table.

A study is computed whole before anything is written. Its tables leave as CSV, and as Markdown with notes and
problems; its figures as PNG and PDF.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.adapters.updates import Problem, Update
from analysis.linalg.similarity import expected_similarity
from analysis.linalg.statistics import Interval

FEW_LAYERS = 6  # below this a percentile bootstrap is clearly narrower than its level says


@dataclass(frozen=True)
class Study:
    """Tables and figures by name, with the notes and problems that a reader must know."""

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


def layer_name(layer: int | None) -> str:
    """A layer in words."""
    return "outside the layers" if layer is None else f"layer {layer}"


def site_name(layer: int | None, role: str) -> str:
    """A matrix in words: 'layer 0 q'."""
    return role if layer is None else f"layer {layer} {role}"


def interval_text(interval: Interval, digits: int = 3) -> str:
    """'0.42 [0.31, 0.50]', without brackets for a single value."""
    text = f"{interval.mean:.{digits}g}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:.{digits}g}, {interval.high:.{digits}g}]"


def interval_words(level: float, layers: Iterable[int | None]) -> str:
    """The kind of interval that a study has; of few layers it says that it is narrower than its level."""
    count = len(set(layers))
    few = f": only {count}, so the true interval is wider" if 1 < count < FEW_LAYERS else ""
    return f"{level:.0%} bootstrap interval over layers{few}"


def left_out(update: Update, factor: str, count: int) -> list[Problem]:
    """A problem where `factor` of an update ("a's B", "ΔW") has fewer directions, `count`, than its rank."""
    if count >= update.rank:
        return []
    return [Problem(update.label, f"{factor} has {count} directions: the other {update.rank - count} are zero to "
                                  "rounding, and left out")]


class Compared(Protocol):
    """A site with phi(i, j)."""

    @property
    def layer(self) -> int | None: ...
    @property
    def role(self) -> str: ...
    @property
    def d(self) -> int: ...
    @property
    def phi(self) -> Tensor: ...


def phi_table(sites: Sequence[Compared]) -> pd.DataFrame:
    """Every number of a heat map: layer, role, i, j, phi, and the value by chance."""
    frames = []
    for site in sites:
        rank1, rank2 = site.phi.shape
        i, j = torch.meshgrid(torch.arange(1, rank1 + 1), torch.arange(1, rank2 + 1), indexing="ij")
        chance = expected_similarity(rank1, rank2, site.d)
        frames.append(pd.DataFrame({"layer": site.layer, "role": site.role, "i": i.flatten(), "j": j.flatten(),
                                    "phi": site.phi.flatten().round(decimals=5),
                                    "chance": chance.flatten().round(decimals=5)}))
    return pd.concat(frames, ignore_index=True).astype({"layer": "Int64"})
