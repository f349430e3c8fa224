"""The numbers of a report: every matrix of one adapter, beside its base and another adapter where they are given.

What cannot be had (a tensor with NaN, a base that lacks a weight, an adapter of another model) is a Problem, and the
rest of the study comes out.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.adapters.base_weights import BaseWeights
from analysis.adapters.pair import pair
from analysis.adapters.read import Adapter, read_updates
from analysis.adapters.updates import Problem, Update
from analysis.linalg.amplify import amplification, leading_directions
from analysis.linalg.similarity import similarity
from analysis.linalg.singular import effective_rank, energy_shares, stable_rank, update_svd
from analysis.linalg.statistics import Shared, shared_directions
from analysis.studies.directions import directions, left_out
from experiments.models.bases import open_base
from experiments.runs.initial import common_start
from experiments.store.locate import locate
from lora import adapter_file, peft

UNREADABLE = (ValueError, OSError)  # of one input of several: its message becomes a problem


@dataclass(frozen=True)
class Matrix:
    """What one dW is made of; its norms are those of B A where no alpha is known."""

    update: Update
    column: str        # the role, with the module's last word where one layer has two of a role
    S: Tensor          # (rank,) singular values
    energy: Tensor     # (rank,) share of ||dW||_F^2 in the first k directions
    effective_rank: float
    stable_rank: float
    norm: float        # ||dW||_F

    @property
    def layer(self) -> str:
        return "outside" if self.update.layer is None else str(self.update.layer)

    @property
    def name(self) -> str:
        return self.column if self.update.layer is None else f"layer {self.update.layer} {self.column}"


@dataclass(frozen=True)
class Amplified:
    """Table 7 for one matrix, with as many directions as dW has that are not zero to rounding."""

    weight_norm: float      # ||W||_F
    through_update: float   # ||U^T W V||_F, U and V of dW
    through_random: float   # of random matrices, root mean square
    through_weight: float   # of W itself: the largest there is
    error: float            # relative, of through_weight
    factor: float           # ||dW||_F / through_update
    factor_random: float    # ||dW||_F / through_random: of a dW as large in random directions


@dataclass(frozen=True)
class Overlap:
    """phi(i, j) with the same matrix of the other adapter."""

    inputs: Tensor    # (rank1, rank2) of A's right singular vectors, in R^n_in
    outputs: Tensor   # (rank1, rank2) of B's left singular vectors, in R^n_out
    n_in: int
    n_out: int


@dataclass(frozen=True)
class Agreement:
    """How many directions the two adapters share in the matrices of one role."""

    column: str
    side: str         # A or B
    shape: tuple[int, int]  # the two ranks
    d: int
    shared: Shared


@dataclass(frozen=True)
class Study:
    """All that a page shows. `amplified` and `overlaps` are by the matrix's name, and empty without base or other."""

    source: str
    facts: dict[str, Any]
    matrices: list[Matrix]
    amplified: dict[str, Amplified]
    overlaps: dict[str, Overlap]
    agreements: list[Agreement]
    seeds: list[str]     # why overlap of A may not be learning: one seed, or seeds that are not known
    other: str | None
    scaled: bool         # whether norms are of dW; else alpha is not known and they are of B A
    problems: list[Problem]

    @property
    def name(self) -> str:
        """Last part of the source."""
        return Path(self.source).name

    @property
    def other_name(self) -> str:
        """Last part of the other's source, or the whole where the last parts are equal."""
        other = self.other or ""
        return other if Path(other).name == self.name else Path(other).name


def study_adapter(adapter: Adapter, facts: dict[str, Any], base: BaseWeights | None = None,
                  other: Adapter | None = None, problems: Sequence[Problem] = ()) -> Study:
    """The numbers of `adapter`; `problems` are those met on the way to it."""
    matrices = [measured(update, column) for update, column in zip(adapter.updates, columns(adapter), strict=True)]
    scaled = all(update.scaling is not None for update in adapter.updates)
    own = [*problems, *adapter.problems]
    if other is not None:
        facts = {**facts, "compared with": other.source}
    amplified: dict[str, Amplified] = {}
    if base is not None and not scaled:
        own.append(Problem("alpha", "is not known, so there is no amplification, and norms are those of B A: "
                                    "give alpha=<number>"))
    elif base is not None:
        amplified = _amplified(matrices, base, own)
    overlaps, seeds = _overlaps(matrices, adapter, other, own) if other is not None else ({}, [])
    return Study(adapter.source, facts, matrices, amplified, overlaps, agreements(matrices, overlaps), seeds,
                 other.source if other is not None else None, scaled, own)


def columns(adapter: Adapter) -> list[str]:
    """Each update's role, with the last word of its module where a layer has several of that role."""
    count = Counter((update.layer, update.role) for update in adapter.updates)
    twice = {role for (_, role), times in count.items() if times > 1}
    return [f"{u.role} {u.word}" if u.role in twice else u.role for u in adapter.updates]


def measured(update: Update, column: str) -> Matrix:
    """Spectrum, energy and ranks of one update."""
    S = update_svd(update.A, update.B, 1.0 if update.scaling is None else update.scaling).S
    return Matrix(update, column, S, energy_shares(S), effective_rank(S), stable_rank(S), S.norm().item())


def _amplified(matrices: Sequence[Matrix], base: BaseWeights, problems: list[Problem]) -> dict[str, Amplified]:
    """Amplification of every matrix whose base weight can be read; the others are added to `problems`."""
    found = {}
    for matrix in matrices:
        update = matrix.update
        assert update.scaling is not None
        try:
            W = base.weight(update)
        except UNREADABLE as error:
            problems.append(Problem(update.label, f"no amplification: {error}"))
            continue
        each = amplification(W, update.A, update.B, update.scaling)
        problems += left_out(update, "ΔW", len(each.factors))
        own = leading_directions(W, len(each.factors))
        found[matrix.name] = Amplified(each.weight_norm, each.through_update[-1].item(),
                                       each.through_random[-1].item(), own.norms[-1].item(), own.error,
                                       each.factors[-1].item(),
                                       (each.update_norms[-1] / each.through_random[-1]).item())
    return found


def _overlaps(matrices: Sequence[Matrix], adapter: Adapter, other: Adapter,
              problems: list[Problem]) -> tuple[dict[str, Overlap], list[str]]:
    """phi of every matrix that both adapters have, and what to say of their seeds; the rest goes to `problems`."""
    try:
        pairs = pair(adapter, other)
    except ValueError as error:
        problems.append(Problem("other", str(error)))
        return {}, []
    problems += [problem for problem in pairs.problems if not _told(problem, adapter)]
    names = {matrix.update.site: matrix.name for matrix in matrices}
    found = {}
    for a, b in pairs.pairs:
        V_a, V_b, U_a, U_b = (directions(update, which) for which in "AB" for update in (a, b))
        for update, what, V in ((a, "A", V_a), (b, "the other's A", V_b), (a, "B", U_a), (b, "the other's B", U_b)):
            problems += left_out(update, what, V.shape[1])
        found[names[a.site]] = Overlap(similarity(V_a, V_b), similarity(U_a, U_b), a.A.shape[1], a.B.shape[0])
    return found, common_start((adapter.source, other.source), pairs)[1]


def _told(problem: Problem, adapter: Adapter) -> bool:
    """Whether a pair's problem repeats one of `adapter`: by its site, or as a site that only the other has."""
    module, _, role = problem.site.removesuffix(")").partition(" (")  # as Update.label has it
    for own in (each.site for each in adapter.problems):
        if problem.site == f"{adapter.source}: {own}" or own in (module, f"{module}.{role}"):
            return True
        if not role and own.startswith(f"{module}."):  # our layout's names end with the role
            return True
    return False


def agreements(matrices: Sequence[Matrix], overlaps: dict[str, Overlap]) -> list[Agreement]:
    """For each role, and each shape that its matrices have: directions shared beyond chance, on either side."""
    groups: dict[tuple[str, str, tuple[int, int], int], list[Tensor]] = {}
    for matrix in matrices:
        if (overlap := overlaps.get(matrix.name)) is None:
            continue
        for side, phi, d in (("A", overlap.inputs, overlap.n_in), ("B", overlap.outputs, overlap.n_out)):
            groups.setdefault((matrix.column, side, (phi.shape[0], phi.shape[1]), d), []).append(phi)
    return [Agreement(*key, shared_directions(torch.stack(phis), key[-1], samples=300))
            for key, phis in groups.items() if max(key[2]) <= key[-1]]


def facts(adapter: Adapter, alpha: float | None, weights: str | None) -> dict[str, Any]:
    """What is known of the adapter as a whole, by the words of the page; `weights` says what base is read."""
    updates = adapter.updates
    stored = _stored(locate(adapter.source))
    scalings = sorted({update.scaling for update in updates if update.scaling is not None})
    layers = {update.layer for update in updates if update.layer is not None}
    roles = ", ".join(dict.fromkeys(update.role for update in updates))
    base = adapter.base.get("name") or adapter.base.get("path")
    return {"source": adapter.source, "method": stored.pop("method"), "rank": _range([u.rank for u in updates]),
            "alpha": stored.pop("alpha", None) or alpha or "unknown", "scaling": _range(scalings) or "unknown",
            "base": base or "not stored", "base weights": weights or "not read",
            "matrices": f"{len(updates)}: {roles} in {len(layers)} layers",
            "parameters": parameters(updates)} | stored


def _stored(path: Path) -> dict[str, Any]:
    """What the adapter's own description says of its training."""
    if (path / adapter_file.DESCRIPTION).is_file():
        description = json.loads((path / adapter_file.DESCRIPTION).read_text())
        method, extra = description["method"], description.get("extra") or {}
        known = {"method": method["name"], "alpha": method.get("alpha"), "task": extra.get("task"),
                 "score": extra.get("score")}
        return {key: value for key, value in known.items() if value is not None}
    if (path / peft.CONFIG).is_file():
        config = json.loads((path / peft.CONFIG).read_text())
        kind = "rank-stabilised" if config.get("use_rslora") else "LoRA"
        return {"method": f"{kind} (PEFT)", "alpha": config.get("lora_alpha")}
    return {"method": "LoRA (loralib)"}


def _range(values: Sequence[float]) -> str:
    """One value, or the least and the largest; '' for none."""
    ends = dict.fromkeys(f"{value:g}" for value in (min(values), max(values))) if values else {}
    return " to ".join(ends)


def parameters(updates: Sequence[Update]) -> int:
    """Numbers in A and B; an A that the parts of a fused projection share counts once."""
    seen: dict[str, list[Tensor]] = {}
    count = 0
    for update in updates:
        shared = any(torch.equal(update.A, A) for A in seen.get(update.module, ()))
        count += update.B.numel() + (0 if shared else update.A.numel())
        seen.setdefault(update.module, []).append(update.A)
    return count


def read_base(base: str | None, adapter: Adapter, problems: list[Problem]) -> BaseWeights | None:
    """The base's weights; None where there are none, with a problem where they were asked for."""
    try:
        weights, odd = open_base(base, adapter)
    except UNREADABLE as error:
        problems.append(Problem("base", str(error)))
        return None
    problems += odd
    return weights


def read_other(source: str | None, fused: Sequence[str] | None, problems: list[Problem]) -> Adapter | None:
    """The adapter to compare with; None, and a problem, where it cannot be read. Its alpha changes no direction."""
    try:
        return None if source is None else read_updates(source, fused=fused)
    except UNREADABLE as error:
        problems.append(Problem("other", str(error)))
        return None
