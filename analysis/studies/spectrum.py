"""What one adapter's updates are made of: spectrum, effective and stable rank, norm and energy of dW at every site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd
from torch import Tensor

from analysis.adapters.read import AdapterUpdates, select
from analysis.adapters.updates import Problem, Update
from analysis.figures.spectrum import Measure, energy_figure, layers_figure, spectrum_figure
from analysis.linalg.singular import effective_rank, energy_shares, numerical_rank, stable_rank, update_svd
from analysis.linalg.statistics import mean_interval
from analysis.studies.choices import Choices
from analysis.studies.study import Study, interval_text, interval_words, name_of, role_names, site_name

NEARLY = 0.9
Value = TypeVar("Value")


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of one dW; of B A where no alpha is known, on which its norm alone depends."""

    layer: int | None
    role: str   # with the module's last word where a layer has two of a role
    module: str
    S: Tensor   # (rank,) singular values, falling

    @property
    def name(self) -> str:
        return site_name(self.layer, self.role)

    @property
    def effective_rank(self) -> float:
        return effective_rank(self.S)

    @property
    def stable_rank(self) -> float:
        return stable_rank(self.S)

    @property
    def norm(self) -> float:
        """||dW||_F."""
        return self.S.norm().item()

    @property
    def energy(self) -> Tensor:
        """Share of ||dW||_F^2 in the first k directions, k = 1..rank: (rank,)."""
        return energy_shares(self.S)

    @property
    def first(self) -> float:
        """Share of ||dW||_F^2 in the first direction."""
        return self.energy[0].item()

    @property
    def nearly_rank_one(self) -> bool:
        """Whether the first direction has over NEARLY of ||dW||_F^2; an update of rank 1 has all of it, and counts."""
        return self.first > NEARLY


def spectra_of(updates: Sequence[Update]) -> list[Spectrum]:
    """The spectrum of every update, in their order."""
    names = role_names(updates)
    return [Spectrum(update.layer, name_of(update, names), update.module,
                     update_svd(update.A, update.B, 1.0 if update.scaling is None else update.scaling).S)
            for update in updates]


def spectrum_study(adapter: AdapterUpdates, caption: str, choices: Choices) -> Study:
    """All of the command, before anything is written. `caption` is what titles call the adapter."""
    updates = select(adapter, choices.roles, choices.layers)
    sites = spectra_of(updates)
    title = f"Spectrum of the updates in {caption}"
    summary, notes = _summary(sites, choices)
    figures = {"spectrum": spectrum_figure(by_role(sites, lambda site: site.S[:numerical_rank(site.S)]),
                                           f"{title}: singular values of ΔW over the largest, a line for each layer."),
               "ranks": layers_figure(_measures(sites), f"{title}. Dashed: the rank, the largest that either can be."),
               "energy": energy_figure(by_role(sites, lambda site: site.energy),
                                       f"{title}: share of ‖ΔW‖² (squared Frobenius norm) in its first k directions.")}
    explained = ("effective rank: exp of the entropy of the singular values as shares of their sum; stable rank: "
                 "‖ΔW‖² over the largest singular value squared; first: share of ‖ΔW‖² in the first direction; "
                 f"brackets: {interval_words(choices.level, [site.layer for site in sites])}")
    return Study("spectrum", title, {"spectrum": summary, "spectrum_sites": _sites(sites)}, {}, figures,
                 [_reading(sites), *notes, explained], [*adapter.problems, *_unscaled(updates)])


def _unscaled(updates: Sequence[Update]) -> list[Problem]:
    """A problem where alpha is not known of some updates."""
    count = sum(update.scaling is None for update in updates)
    if not count:
        return []
    return [Problem("alpha", f"is not known of {count} updates: their norms are those of B A; give alpha=<number>")]


def by_role(sites: Sequence[Spectrum], measure: Callable[[Spectrum], Value]) -> dict[str, dict[int | None, Value]]:
    """A measure of each site, by role and layer."""
    measures: dict[str, dict[int | None, Value]] = {}
    for site in sites:
        measures.setdefault(site.role, {})[site.layer] = measure(site)
    return measures


def _measures(sites: Sequence[Spectrum]) -> list[Measure]:
    rank = max(len(site.S) for site in sites)
    return [Measure("effective rank of ΔW", by_role(sites, lambda site: site.effective_rank), least=0, most=rank),
            Measure("stable rank of ΔW", by_role(sites, lambda site: site.stable_rank), least=0, most=rank),
            Measure("‖ΔW‖ (Frobenius norm)", by_role(sites, lambda site: site.norm), least=0)]


def _summary(sites: Sequence[Spectrum], choices: Choices) -> tuple[pd.DataFrame, list[str]]:
    """Means over the sites of a role and rank, and each in a sentence."""
    groups: dict[tuple[str, int], list[Spectrum]] = {}
    for site in sites:
        groups.setdefault((site.role, len(site.S)), []).append(site)
    rows, notes = [], []
    for (role, rank), group in groups.items():
        layers = [site.layer for site in group]
        effective, stable, first = (
            mean_interval(values, groups=layers, level=choices.level, seed=choices.seed)
            for values in ([site.effective_rank for site in group], [site.stable_rank for site in group],
                           [site.first for site in group]))
        rows.append({"role": role, "rank": rank, "sites": len(group), "effective_rank": effective.mean,
                     "stable_rank": stable.mean, "first": first.mean})
        notes.append(f"{role} (rank {rank}, {len(group)} site{'s' * (len(group) > 1)}): effective rank "
                     f"{interval_text(effective)}, stable rank {interval_text(stable)}, first direction "
                     f"{interval_text(first)} of ‖ΔW‖²")
    return pd.DataFrame(rows), notes


def _reading(sites: Sequence[Spectrum]) -> str:
    """The updates that are nearly rank one, and how far the others are from it."""
    by_first = sorted(sites, key=lambda site: site.first, reverse=True)
    nearly = [site for site in by_first if site.nearly_rank_one]
    others = by_first[len(nearly):]

    def words(site: Spectrum) -> str:
        return f"{site.name} ({site.first:.0%}, stable rank {site.stable_rank:.3g})"

    named = ", ".join(map(words, nearly[:4])) + (f" and {len(nearly) - 4} more" if len(nearly) > 4 else "")
    text = (f"nearly rank one, over {NEARLY:.0%} of ‖ΔW‖² in one direction: {named or 'none'}, of {len(sites)} updates")
    return text if not others else f"{text}; the others go from {words(others[0])} to {words(others[-1])}"


def _sites(sites: Sequence[Spectrum]) -> pd.DataFrame:
    rows = [{"layer": site.layer, "role": site.role, "rank": len(site.S), "effective_rank": site.effective_rank,
             "stable_rank": site.stable_rank, "first": site.first, "norm": site.norm,
             **{f"s{k}": value for k, value in enumerate(site.S.tolist(), 1)}, "module": site.module}
            for site in sites]
    return pd.DataFrame(rows).astype({"layer": "Int64"})
