"""Figures 3, 4, 6 and 7: phi(i, j) between the A matrices of two runs (sections 7.2, H.1, H.2).

Two ranks (3, 6) or two seeds (4, 7), in the middle layer (3, 4) or in layers spread over the depth (6, 7).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from analysis.adapters.read import AdapterUpdates
from analysis.adapters.updates import Problem
from analysis.linalg.similarity import right_singular, similarity
from analysis.studies.choices import WHICH, SubspaceOptions
from analysis.studies.study import Study, phi_table
from analysis.studies.subspace import (
    Drawn,
    Overlap,
    by_key,
    draw_shared,
    draw_similarity,
    explained,
    overlaps,
    read,
    sentence,
    sites_table,
    summary,
)
from experiments.artifacts.studies.question import (
    Answer,
    Key,
    Subject,
    check_drawn,
    drawn_layers,
    key_of,
    layer_words,
    run_words,
    update_words,
)
from experiments.runs.initial import compare_adapters


@dataclass(frozen=True)
class Similarity:
    """phi between the two runs of each pair: the first pair that is there is drawn, all are in the numbers."""

    pairs: Sequence[Sequence[Sequence[int]]]  # [[rank, seed], [rank, seed]]: of i and of j
    which: str                                # of choices.WHICH
    roles: Sequence[str]
    layers: str | Sequence[int]               # drawn: middle, quarters, all, or numbers
    zoom: bool                                # beside each panel its lower-left triangle
    gaussian: bool                            # beside them two random Gaussian matrices of the same shapes
    level: float                              # of bootstrap intervals and of chance's quantiles
    samples: int                              # random subspaces that chance is drawn from
    seed: int                                 # of both

    def __post_init__(self) -> None:
        check_drawn(self.roles, self.layers)
        if not self.pairs or any(len(two) != 2 for two in self.pairs):
            raise ValueError(f"pairs {self.pairs!r} are not pairs of [rank, seed], as [[[8,0],[64,1]]]")
        if len({frozenset(two) for two in self.keys()}) < len(self.pairs):
            raise ValueError(f"pairs {self.pairs!r} have two runs twice, in one order or both: each counts as one more "
                             "independent pair, and their φ(i, i) are equal")
        self.options()  # checks which, level and samples

    def options(self) -> SubspaceOptions:
        return SubspaceOptions(self.which, self.level, self.samples, self.seed)

    def keys(self) -> list[tuple[Key, Key]]:
        """The pairs, each run as (rank, seed)."""
        return [(key_of(a), key_of(b)) for a, b in self.pairs]

    def runs(self) -> list[Key]:
        """The runs that it needs."""
        return list(dict.fromkeys(key for two in self.keys() for key in two))

    def ready(self, trained: Sequence[Key]) -> bool:
        """True where one pair is whole."""
        return any(a in trained and b in trained for a, b in self.keys())

    def answer(self, subject: Subject) -> Answer:
        """Every pair in numbers, the first in pictures."""
        compared: dict[tuple[Key, Key], list[Overlap]] = {}
        problems, notes = [], []
        for a, b in self.keys():
            label = f"{run_words(a)} and {run_words(b)}"
            if a not in subject.adapters or b not in subject.adapters:
                problems.append(Problem(label, "not compared: an adapter is not there"))
                continue
            try:
                compared[a, b], pair_notes, pair_problems = self._compared(subject.adapters[a], subject.adapters[b])
            except ValueError as error:
                problems.append(Problem(label, str(error)))
                continue
            notes += pair_notes
            problems += pair_problems
        if not compared:
            raise ValueError(f"{subject.name}: nothing can be compared: {'; '.join(map(str, problems))}")
        return Answer(self._study(subject, compared, notes, problems), None)

    def _compared(self, a: AdapterUpdates, b: AdapterUpdates) -> tuple[list[Overlap], list[str], list[Problem]]:
        """phi at every site that both have, with notes on their common start and problems of single sites."""
        comparison = compare_adapters(a, b, self.roles)
        sites, problems = overlaps(comparison, self.which)
        return sites, list(comparison.notes), [*comparison.pairs.problems, *problems]

    def _study(self, subject: Subject, compared: dict[tuple[Key, Key], list[Overlap]], notes: list[str],
               problems: list[Problem]) -> Study:
        options, every = self.options(), [site for sites in compared.values() for site in sites]
        groups = by_key(every)
        readings = {key: read(group, options) for key, group in groups.items()}
        (a, b), first = next(iter(compared.items()))
        trained = sorted({site.layer for site in first if site.layer is not None})
        layers = drawn_layers(self.layers, trained)
        drawn = [site for site in first if site.layer in layers]
        random = self._gaussians(drawn[0]) if self.gaussian else None
        words = f"{WHICH[self.which]}, {subject.place}"
        figures = {
            subject.name: draw_similarity(
                drawn, Drawn(layers, self.zoom, random, update_words, f"i, r = {a[0]}", f"j, r = {b[0]}"),
                f"{subject.title}. φ(i, j) of {words}, {layer_words(layers, trained)}. i: {run_words(a)}; "
                f"j: {run_words(b)}. {_seeds(a, b)}{self._reference(drawn)}"),
            f"{subject.name}_shared": draw_shared(
                readings, groups, f"{subject.title}: φ(i, i) of {words}, over all layers and {len(compared)} "
                                  f"pair{'s' * (len(compared) > 1)} of runs")}
        tables = {subject.name: summary(readings, groups, options), f"{subject.name}_sites": self._sites(compared)}
        notes = [*(sentence(key, reading) for key, reading in readings.items()), *notes, *explained(every, options),
                 "a and b: " + "; ".join(f"{run_words(a)} and {run_words(b)}" for a, b in compared)
                 + f" ({subject.place}, all layers)", *subject.notes]
        return Study(subject.name, subject.title, tables, {f"{subject.name}_phi": phi_table(drawn)}, figures, notes,
                     problems)

    def _gaussians(self, site: Overlap) -> Tensor:
        """phi of two standard normal matrices of the site's shapes."""
        draw = torch.Generator().manual_seed(self.seed)
        rank1, rank2 = site.phi.shape
        return similarity(*(right_singular(torch.randn(rank, site.d, generator=draw)) for rank in (rank1, rank2)))

    def _reference(self, drawn: Sequence[Overlap]) -> str:
        """The last row and column in words."""
        widths = " and ".join(dict.fromkeys(str(site.d) for site in drawn))
        column = " Last column: two random Gaussian matrices." if self.gaussian else ""
        return f"Last row: random subspaces of {widths} dimensions, on average max(i, j) / {widths}.{column}"

    def _sites(self, compared: dict[tuple[Key, Key], list[Overlap]]) -> pd.DataFrame:
        """A row for each site of each pair."""
        frames = []
        for (a, b), sites in compared.items():
            frame = sites_table(sites, self.options())
            frame.insert(2, "seed_a", a[1])
            frame.insert(3, "seed_b", b[1])
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)


def _seeds(a: Key, b: Key) -> str:
    """Why two ranks are compared between seeds, or what it means that they are not."""
    if a[1] == b[1]:
        return "Both have one seed and so start with related A: overlap is not all learning. "
    return "" if a[0] == b[0] else "Their seeds differ, as runs of one seed start with related A at any rank. "
