"""Figure 8 and table 7: the directions of dW beside those of the frozen W, and by how much it amplifies them.

Sections 7.3, H.3, H.4; the paper takes the query projection of the 48th of 96 layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.adapters.read import AdapterUpdates, select
from analysis.adapters.updates import Problem
from analysis.figures.similarity import Panel, similarity_figure
from analysis.linalg.similarity import expected_similarity, right_singular, similarity
from analysis.linalg.statistics import mean_interval
from analysis.studies.amplification import AmplifiedSite, draw_table_7, measure_all, sites_table, summarise
from analysis.studies.study import Study, interval_words, layer_name, phi_table
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
from experiments.models.bases import needed_base, own_base
from experiments.tables.table import Cell, Row, Table
from lora.errors import check_choice

Measured = Mapping[Key, Sequence[AmplifiedSite]]
NORMS = ("projected", "weight", "update")  # columns of table 7: ||U^T W V||, ||W||, ||dW||
FACTOR = "factor"                          # our further column: ||dW|| over ||U^T W V|| with U, V of dW
PROJECTIONS = {"delta_w": "through_update", "w": "through_weight", "random": "through_random"}  # rows of table 7


class OfRuns:
    """A study of runs by rank and seed: it needs those of `of`, and at least one."""

    of: Sequence[Sequence[int]]

    def runs(self) -> list[Key]:
        """The runs that it needs."""
        return [key_of(run) for run in self.of]

    def ready(self, trained: Sequence[Key]) -> bool:
        """True where one run is there."""
        return any(key in trained for key in self.runs())


@dataclass(frozen=True)
class BaseDirections(OfRuns):
    """Figure 8: phi between W's right singular vectors and those of dW, one panel a rank: the first run of a rank.

    Only the corner of W's first directions is drawn, which the claim is about.
    """

    of: Sequence[Sequence[int]]  # runs as [rank, seed]
    roles: Sequence[str]
    layers: str | Sequence[int]  # drawn: middle, quarters, all, or numbers
    window: int                  # of W's directions, the first are drawn
    gaussian: bool               # beside dW the directions of a random Gaussian matrix
    full_svd: bool | None        # of W; null: up to 1024 wide, else 64 leading directions
    level: float                 # of bootstrap intervals
    seed: int                    # of the bootstrap, of subspace iteration and of the Gaussian

    def __post_init__(self) -> None:
        check_drawn(self.roles, self.layers)
        if self.window < 1:
            raise ValueError(f"window {self.window} is not at least 1")

    def answer(self, subject: Subject) -> Answer:
        """Every run in numbers, the first of each rank in pictures."""
        measured, problems = measure_runs(subject, self.runs(), self.roles, self.full_svd, self.seed)
        first = first_of_rank(measured)
        trained = trained_layers(measured)
        layers = drawn_layers(self.layers, trained)
        figure = self._figure(subject, first, layers, layer_words(layers, trained))
        tables = {subject.name: self._summary(measured), f"{subject.name}_sites": self._sites(measured)}
        details = {f"{subject.name}_phi": pd.concat([
            phi_table([site for site in sites if site.layer in layers]).assign(rank=key[0], seed=key[1])
            for key, sites in first.items()], ignore_index=True)}
        notes = ["own: φ(r, r), the share of ΔW's r directions found in W's first r; chance: r / d; low, high: "
                 f"{interval_words(self.level, trained)}", *subject.notes]
        study = Study(subject.name, subject.title, tables, details, {subject.name: figure}, notes, problems)
        return Answer(study, None)

    def _figure(self, subject: Subject, first: Measured, layers: Sequence[int | None], words: str) -> Figure:
        """A row for each drawn layer and role, a column for each rank; in the last row what chance gives."""
        roles = dict.fromkeys(site.role for sites in first.values() for site in sites)
        rows = {f"{layer_name(layer)}, {role}": self._row(
            {key: _at(sites, layer, role) for key, sites in first.items()}, role) for layer in layers for role in roles}
        examples = [sites[0] for sites in first.values()]
        shapes = [(len(site.phi), site.rank, site.d) for site in examples]
        shapes += shapes[-1:] * self.gaussian
        rows["by chance"] = [Panel("", expected_similarity(*shape)[:self.window]) for shape in shapes]
        widths = " and ".join(dict.fromkeys(str(site.d) for site in examples))
        column = f" Last column: a random Gaussian matrix of {examples[-1].rank} rows." if self.gaussian else ""
        window = f" The first {self.window} of W's directions are drawn." if self.window < max(shapes)[0] else ""
        caption = (f"{subject.title}. φ(i, j) of the first i right singular vectors of W and the first j of ΔW, "
                   f"{subject.place}, {words}; runs: {'; '.join(map(run_words, first))}. Last row: "
                   f"random subspaces of {widths} dimensions, on average max(i, j) / {widths}.{column}{window}")
        return similarity_figure(rows, caption, "i, of W", "j, of ΔW")

    def _row(self, by_run: Mapping[Key, AmplifiedSite | None], role: str) -> list[Panel]:
        """The panels of one matrix: a rank each, then a Gaussian with as many directions as the last of them."""
        def panel(title: str, phi: Tensor | None) -> Panel:
            return Panel(title, None if phi is None else phi[:self.window])

        words = f"{update_words(role)}, " if len(self.roles) == 1 else ""
        panels = [panel(f"{words}r = {key[0]}", None if site is None else site.phi) for key, site in by_run.items()]
        sites = [site for site in by_run.values() if site is not None]
        if self.gaussian:
            panels.append(panel("random Gaussian", gaussian_phi(sites[-1], self.seed) if sites else None))
        return panels

    def _sites(self, measured: Measured) -> pd.DataFrame:
        rows = [{"layer": site.layer, "role": site.role, "rank": site.rank, "seed": seed, "d": site.d,
                 "own": _own(site), "chance": site.rank / site.d, "module": site.module}
                for (_, seed), sites in measured.items() for site in sites]
        return pd.DataFrame(rows).astype({"layer": "Int64"})

    def _summary(self, measured: Measured) -> pd.DataFrame:
        """Means over the sites of a role and rank."""
        rows = []
        for (role, rank), group in groups_of(measured).items():
            own = mean_interval([_own(site) for site in group], groups=[site.layer for site in group],
                                level=self.level, seed=self.seed)
            rows.append({"role": role, "rank": rank, "sites": len(group), "own": own.mean, "low": own.low,
                         "high": own.high, "chance": sum(site.rank / site.d for site in group) / len(group)})
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class AmplificationTable(OfRuns):
    """Table 7: norms of W seen through dW, through its own and through random directions, a block for each rank."""

    of: Sequence[Sequence[int]]  # runs as [rank, seed]
    roles: Sequence[str]
    layers: str | Sequence[int]  # of the table: middle, quarters, all, or numbers; several are averaged
    columns: Mapping[str, str]   # column of the paper's CSV -> which of NORMS
    digits: int                  # decimals of ours
    full_svd: bool | None        # of W; null: up to 1024 wide, else 64 leading directions
    level: float                 # of bootstrap intervals
    seed: int                    # of the bootstrap and of subspace iteration

    def __post_init__(self) -> None:
        check_drawn(self.roles, self.layers)
        for name in self.columns.values():
            check_choice("column", name, NORMS)

    def answer(self, subject: Subject) -> Answer:
        """The table for the chosen layers, and every layer of the first run of each rank in a picture."""
        measured, problems = measure_runs(subject, self.runs(), self.roles, self.full_svd, self.seed)
        trained = trained_layers(measured)
        layers = drawn_layers(self.layers, trained)
        chosen = {key: [site for site in sites if site.layer in layers] for key, sites in measured.items()}
        of = f"{', '.join(self.roles)} of {subject.place}"
        notes = [f"ours: {of}, {layer_words(layers, trained)}; mean over runs ± standard deviation over runs (number "
                 "of runs)", "factor: norm of dW over the norm of W in the directions of dW; the paper's from its two "
                 "printed norms", *subject.notes, *(f"problem: {problem}" for problem in problems)]
        name = f"{subject.name}_layers"
        sites = pd.concat([sites_table(sites).assign(seed=key[1]) for key, sites in measured.items()],
                          ignore_index=True)
        summary, sentences = summarise([site for sites in measured.values() for site in sites], self.level, self.seed)
        title = f"{subject.title}: {of}, every layer"
        study = Study(name, title, {f"{subject.name}_summary": summary, name: sites}, {},
                      {name: self._figure(title, first_of_rank(measured))}, [*sentences, *subject.notes], problems)
        return Answer(study, self._table(subject, chosen, notes))

    def _figure(self, title: str, first: Measured) -> Figure:
        """A column for each role and rank."""
        columns = {f"{role}, r = {key[0]}": {site.layer: site for site in sites if site.role == role}
                   for key, sites in first.items() for role in dict.fromkeys(site.role for site in sites)}
        return draw_table_7(columns, f"{title}; runs: {'; '.join(map(run_words, first))}")

    def _table(self, subject: Subject, chosen: Measured, notes: list[str]) -> Table:
        """Two lines for each rank and projection; a rank that the paper lacks has a dash for its numbers."""
        printed = {(row["rank"], row["projection"]): row for row in subject.printed}
        ranks = dict.fromkeys([*(int(row["rank"]) for row in subject.printed), *(rank for rank, _ in self.runs())])
        rows = []
        for rank in sorted(ranks):
            for projection in PROJECTIONS:
                row = printed.get((str(rank), projection), {})
                cells = {column: Cell(row.get(column, ""), "", _values(chosen, rank, projection, norm))
                         for column, norm in self.columns.items()}
                if projection == "delta_w":
                    cells[FACTOR] = Cell(self._printed_factor(row), "", _values(chosen, rank, projection, FACTOR))
                rows.append(Row([str(rank), projection], [str(rank), projection], "", "", [], "", cells))
        return Table(title=subject.title, labels=["rank", "projection"], columns=[*self.columns, FACTOR], rows=rows,
                     aggregate="mean", digits=self.digits, params=False, average=False, notes=notes)

    def _printed_factor(self, row: Mapping[str, str]) -> str:
        """The factor that the paper's printed norms give, '' where it has none."""
        column = {norm: name for name, norm in self.columns.items()}
        if not row or not {"projected", "update"} <= column.keys():
            return ""
        return f"{float(row[column['update']]) / float(row[column['projected']]):.{self.digits}f}"


def _values(chosen: Measured, rank: int, projection: str, norm: str) -> list[float]:
    """One number a run: a norm of table 7, averaged over the run's chosen sites."""
    return [sum(_norm(site, projection, norm) for site in sites) / len(sites)
            for (run_rank, _), sites in chosen.items() if run_rank == rank and sites]


def _norm(site: AmplifiedSite, projection: str, norm: str) -> float:
    if norm == FACTOR:
        return site.norms.factors[-1].item()
    value: float = getattr(site.whole, PROJECTIONS[projection] if norm == "projected" else norm)
    return value


def measure_runs(subject: Subject, runs: Sequence[Key], roles: Sequence[str], full: bool | None,
                 seed: int) -> tuple[dict[Key, list[AmplifiedSite]], list[Problem]]:
    """The sites of every run whose adapter is there; ValueError where there are none."""
    measured, problems = {}, []
    for key in runs:
        if key not in subject.adapters:
            problems.append(Problem(run_words(key), "left out: its adapter is not there"))
            continue
        adapter = subject.adapters[key]
        try:
            weights, base_problems = needed_base(_base(subject, adapter), adapter)
            sites, site_problems = measure_all(select(adapter, roles), weights, full, seed)
        except (ValueError, OSError) as error:
            problems.append(Problem(run_words(key), str(error)))
            continue
        problems += [Problem(f"{run_words(key)}: {problem.site}", problem.message)
                     for problem in (*adapter.problems, *base_problems, *site_problems)]
        if sites:
            measured[key] = sites
    if not measured:
        raise ValueError(f"{subject.name}: nothing can be measured: {'; '.join(map(str, problems))}")
    return measured, problems


def _base(subject: Subject, adapter: AdapterUpdates) -> str | None:
    """None for the base that the adapter names where it is on this machine, else the model of conf/model."""
    return None if own_base(adapter.base) is not None else subject.model


def trained_layers(measured: Measured) -> list[int]:
    """The numbered layers of all runs."""
    return sorted({site.layer for sites in measured.values() for site in sites if site.layer is not None})


def first_of_rank(measured: Measured) -> dict[Key, Sequence[AmplifiedSite]]:
    """The first run of each rank, by rank."""
    first: dict[int, Key] = {}
    for key in measured:
        first.setdefault(key[0], key)
    return {key: measured[key] for key in sorted(first.values())}


def groups_of(measured: Measured) -> dict[tuple[str, int], list[AmplifiedSite]]:
    """The sites of all runs by role and rank."""
    groups: dict[tuple[str, int], list[AmplifiedSite]] = {}
    for (rank, _), sites in sorted(measured.items()):
        for site in sites:
            groups.setdefault((site.role, rank), []).append(site)
    return groups


def gaussian_phi(site: AmplifiedSite, seed: int) -> Tensor:
    """phi of W's directions and those of a standard normal matrix (rank, d): (W's directions, rank)."""
    draw = torch.Generator().manual_seed(seed)
    return similarity(site.own.svd.V.double(), right_singular(torch.randn(site.rank, site.d, generator=draw)))


def _at(sites: Sequence[AmplifiedSite], layer: int | None, role: str) -> AmplifiedSite | None:
    return next((site for site in sites if (site.layer, site.role) == (layer, role)), None)


def _own(site: AmplifiedSite) -> float:
    """phi(r, r) between W and dW of rank r."""
    k = min(site.phi.shape)
    return site.phi[k - 1, k - 1].item()
