"""What one adapter's updates are made of: spectrum, effective and stable rank, norm and energy of dW at every site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd
from torch import Tensor

from analysis.adapters.read import read_updates, select
from analysis.adapters.updates import Problem
from analysis.figures.spectrum import Measure, energy_figure, layers_figure, spectrum_figure
from analysis.linalg.singular import effective_rank, energy_shares, numerical_rank, stable_rank, update_svd
from analysis.linalg.statistics import mean_interval
from analysis.studies.study import Study, name_of, role_names, shown
from experiments.store.locate import short_name

NEARLY = 0.9  # an update with more of ||dW||_F^2 in one direction is nearly rank one
Value = TypeVar("Value")


@dataclass(frozen=True)
class Site:
    """The spectrum of one dW; of B A where no alpha is known, which only its norm depends on."""

    layer: int | None
    role: str
    module: str
    S: Tensor   # (rank,)

    @property
    def name(self) -> str:
        return self.role if self.layer is None else f"layer {self.layer}'s {self.role}"


def study(source: str, roles: Sequence[str] | None, layers: Sequence[int] | None, alpha: float | None,
          fused: Sequence[str] | None, level: float, seed: int) -> Study:
    """All of the command, before anything is written."""
    adapter = read_updates(source, alpha=alpha, fused=fused)
    updates = select(adapter, roles, layers)
    names = role_names(updates)
    sites = [Site(u.layer, name_of(u, names), u.module,
                  update_svd(u.A, u.B, 1.0 if u.scaling is None else u.scaling).S) for u in updates]
    problems = [*adapter.problems, *(Problem(u.label, "alpha is not known: its norm is that of B A")
                                     for u in updates if u.scaling is None)]
    title = f"Spectrum of the updates in {short_name(source)}"
    summary, notes = _summary(sites, level, seed)
    figures = {"spectrum": spectrum_figure(by_role(sites, lambda S: S[:numerical_rank(S)]),
                                           f"{title}: singular values of ΔW over the largest, a line for each layer."),
               "ranks": layers_figure(_measures(sites), f"{title}. Dashed: the rank, the largest that either can be."),
               "energy": energy_figure(by_role(sites, energy_shares),
                                       f"{title}: share of ‖ΔW‖² (squared Frobenius norm) in its first k directions.")}
    explained = ("effective rank: exp of the entropy of the singular values as shares of their sum; stable rank: "
                 "‖ΔW‖² over the largest singular value squared; first: share of ‖ΔW‖² in the first direction; "
                 f"brackets: {level:.0%} bootstrap interval over layers")
    return Study("spectrum", title, {"spectrum": summary, "spectrum_sites": _sites(sites)}, {}, figures,
                 [_reading(sites), *notes, explained], problems)


def by_role(sites: Sequence[Site], measure: Callable[[Tensor], Value]) -> dict[str, dict[int | None, Value]]:
    """A measure of the singular values of each site, by role and layer."""
    found: dict[str, dict[int | None, Value]] = {}
    for site in sites:
        found.setdefault(site.role, {})[site.layer] = measure(site.S)
    return found


def _measures(sites: Sequence[Site]) -> list[Measure]:
    rank = max(len(site.S) for site in sites)
    return [Measure("effective rank of ΔW", by_role(sites, effective_rank), least=0, most=rank),
            Measure("stable rank of ΔW", by_role(sites, stable_rank), least=0, most=rank),
            Measure("‖ΔW‖ (Frobenius norm)", by_role(sites, lambda S: S.norm().item()), least=0)]


def _summary(sites: Sequence[Site], level: float, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Means over the sites of a role and rank, and each in a sentence."""
    groups: dict[tuple[str, int], list[Site]] = {}
    for site in sites:
        groups.setdefault((site.role, len(site.S)), []).append(site)
    rows, notes = [], []
    for (role, rank), group in groups.items():
        layers = [site.layer for site in group]
        effective, stable, first = (
            mean_interval([measure(site.S) for site in group], groups=layers, level=level, seed=seed)
            for measure in (effective_rank, stable_rank, _first))
        rows.append({"role": role, "rank": rank, "sites": len(group), "effective_rank": effective.mean,
                     "stable_rank": stable.mean, "first": first.mean})
        notes.append(f"{role} (rank {rank}, {len(group)} site{'s' * (len(group) > 1)}): effective rank "
                     f"{shown(effective)}, stable rank {shown(stable)}, first direction {shown(first)} of ‖ΔW‖²")
    return pd.DataFrame(rows), notes


def _first(S: Tensor) -> float:
    return energy_shares(S)[0].item()


def _reading(sites: Sequence[Site]) -> str:
    """Which updates are nearly rank one, and how far the others are from it."""
    by_first = sorted(sites, key=lambda site: _first(site.S), reverse=True)
    nearly = [site for site in by_first if _first(site.S) > NEARLY]
    others = by_first[len(nearly):]

    def words(site: Site) -> str:
        return f"{site.name} ({_first(site.S):.0%}, stable rank {stable_rank(site.S):.3g})"

    named = ", ".join(map(words, nearly[:4])) + (f" and {len(nearly) - 4} more" if len(nearly) > 4 else "")
    text = (f"nearly rank one, over {NEARLY:.0%} of ‖ΔW‖² in one direction: {named or 'none'}, of {len(sites)} updates")
    return text if not others else f"{text}; the others go from {words(others[0])} to {words(others[-1])}"


def _sites(sites: Sequence[Site]) -> pd.DataFrame:
    rows = [{"layer": site.layer, "role": site.role, "rank": len(site.S), "effective_rank": effective_rank(site.S),
             "stable_rank": stable_rank(site.S), "first": _first(site.S), "norm": site.S.norm().item(),
             **{f"s{k}": value for k, value in enumerate(site.S.tolist(), 1)}, "module": site.module}
            for site in sites]
    return pd.DataFrame(rows).astype({"layer": "Int64"})
