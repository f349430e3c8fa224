"""The numbers of a report: every matrix of one adapter, beside its base and another adapter where they are given.

All quantities are those of the studies (analysis.studies). An input that cannot be had (a tensor with NaN, a base that
lacks a weight, an adapter of another model) is a Problem, and the rest of the report comes out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.adapters.base_weights import BaseWeights
from analysis.adapters.read import AdapterUpdates
from analysis.adapters.updates import Problem, Update
from analysis.linalg.statistics import Shared
from analysis.studies.amplification import AmplifiedSite, measure_all
from analysis.studies.choices import SubspaceOptions
from analysis.studies.spectrum import Spectrum, spectra_of
from analysis.studies.subspace import Comparison, Overlap, by_key, overlaps, shared_by
from lora import adapter_file, peft

SIDES = {"A": "input directions (A)", "B": "output directions (B)"}
LEVEL, SAMPLES, SEED = 0.95, 1000, 0  # of chance's quantiles and of intervals, as the commands have them


@dataclass(frozen=True)
class Agreement:
    """How many directions the two adapters share in the matrices of one role."""

    role: str
    side: str         # A or B
    shared: Shared


@dataclass(frozen=True)
class Report:
    """The contents of a page. `amplified` and `overlaps` are by the matrix's name, and empty without base or other."""

    source: str
    facts: dict[str, Any]
    spectra: list[Spectrum]
    amplified: dict[str, AmplifiedSite]
    overlaps: dict[str, dict[str, Overlap]]  # by side, A or B
    agreements: list[Agreement]
    seeds: Sequence[str]  # why overlap of A may not be learning: one seed, or seeds that are not known
    other: str | None
    scaled: bool          # whether norms are of dW; else alpha is not known and they are of B A
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


def study_adapter(adapter: AdapterUpdates, alpha: float | None, weights: BaseWeights | None, base: str | None,
                  comparison: Comparison | None, problems: Sequence[Problem] = ()) -> Report:
    """The report of `adapter`; `problems` are those met on the way to it."""
    spectra = spectra_of(adapter.updates)
    scaled = all(update.scaling is not None for update in adapter.updates)
    read = None if weights is None else base or "the adapter's own"
    about = facts(adapter, alpha, read, None if comparison is None else comparison.sources[1])
    amplified, base_problems = _amplified(adapter.updates, weights, scaled)
    compared, agreements, other_problems = _compared(adapter, spectra, comparison)
    return Report(adapter.source, about, spectra, amplified, compared, agreements,
                  [] if comparison is None else comparison.notes,
                  None if comparison is None else comparison.sources[1], scaled,
                  [*problems, *adapter.problems, *base_problems, *other_problems])


def _amplified(updates: Sequence[Update], weights: BaseWeights | None,
               scaled: bool) -> tuple[dict[str, AmplifiedSite], list[Problem]]:
    """Amplification by the matrix's name, where its base weight can be read and alpha is known."""
    if weights is None:
        return {}, []
    if not scaled:
        return {}, [Problem("alpha", "is not known, so there is no amplification, and norms are those of B A: "
                                     "give alpha=<number>")]
    sites, problems = measure_all(updates, weights, None, SEED)
    return {site.name: site for site in sites}, problems


def _compared(adapter: AdapterUpdates, spectra: Sequence[Spectrum], comparison: Comparison | None
              ) -> tuple[dict[str, dict[str, Overlap]], list[Agreement], list[Problem]]:
    """phi of every matrix that both adapters have, on both sides; and how many directions are shared beyond chance."""
    if comparison is None:
        return {}, [], []
    names = {update.site: spectrum.name for update, spectrum in zip(adapter.updates, spectra, strict=True)}
    compared, agreements = {}, []
    problems = [problem for problem in comparison.pairs.problems if not _told(problem, adapter)]
    for side in SIDES:
        sites, side_problems = overlaps(comparison, side)
        compared[side] = {names[a.site]: site for (a, _), site in zip(comparison.pairs.pairs, sites, strict=True)}
        options = SubspaceOptions(side, LEVEL, SAMPLES, SEED)
        agreements += [Agreement(key[0], side, shared_by(group, options)) for key, group in by_key(sites).items()]
        problems += side_problems
    return compared, agreements, problems


def _told(problem: Problem, adapter: AdapterUpdates) -> bool:
    """Whether a pair's problem repeats one of `adapter`: by its site, or as a site that only the other has."""
    module, _, role = problem.site.removesuffix(")").partition(" (")  # as Update.label has it
    for site in (told.site for told in adapter.problems):
        if problem.site == f"{adapter.source}: {site}" or site in (module, f"{module}.{role}"):
            return True
        if not role and site.startswith(f"{module}."):  # our layout's names end with the role
            return True
    return False


def facts(adapter: AdapterUpdates, alpha: float | None, weights: str | None, other: str | None) -> dict[str, Any]:
    """The adapter as a whole, by the words of the page; `weights` is the base that is read, `other` is compared."""
    updates = adapter.updates
    stored = _stored(adapter.path)
    scalings = sorted({update.scaling for update in updates if update.scaling is not None})
    layers = {update.layer for update in updates if update.layer is not None}
    roles = ", ".join(dict.fromkeys(update.role for update in updates))
    base = adapter.base.get("name") or adapter.base.get("path")
    compared = {} if other is None else {"compared with": other}
    return {"source": adapter.source, "method": stored.pop("method"), "rank": _range([u.rank for u in updates]),
            "alpha": stored.pop("alpha", None) or alpha or "unknown", "scaling": _range(scalings) or "unknown",
            "base": base or "not stored", "base weights": weights or "not read",
            "matrices": f"{len(updates)}: {roles} in {len(layers)} layers",
            "parameters": parameters(updates)} | stored | compared


def _stored(path: Path) -> dict[str, Any]:
    """The training that the adapter's own description tells."""
    if (path / adapter_file.DESCRIPTION).is_file():
        description = json.loads((path / adapter_file.DESCRIPTION).read_text())
        method, extra = description["method"], description.get("extra") or {}
        values = {"method": method["name"], "alpha": method.get("alpha"), "task": extra.get("task"),
                  "score": extra.get("score")}
        return {key: value for key, value in values.items() if value is not None}
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
