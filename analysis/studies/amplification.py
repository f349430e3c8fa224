"""How much dW amplifies what W has little of (section 7.3, table 7), and where in W its directions are (figure 8)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from analysis.adapters.base_weights import BaseWeights
from analysis.adapters.read import AdapterUpdates, select
from analysis.adapters.updates import Problem, Update
from analysis.figures.amplification import Projections, amplification_figure
from analysis.figures.lines import spread
from analysis.figures.similarity import Panel, similarity_figure
from analysis.linalg.amplify import Amplification, Leading, amplification, exact_directions, leading_directions
from analysis.linalg.similarity import expected_similarity, similarity
from analysis.linalg.singular import determined, update_svd
from analysis.linalg.statistics import mean_interval
from analysis.studies.choices import Choices
from analysis.studies.study import (
    Study,
    interval_text,
    interval_words,
    layer_name,
    left_out,
    name_of,
    phi_table,
    role_names,
    site_name,
)

EXACT = 1024  # a W no larger than this has its full SVD taken, in about a second
LEADING = 64  # directions of a larger one, and those of any W that are drawn beside dW's


@dataclass(frozen=True)
class AmplifiedSite:
    """Table 7 and figure 8 for one matrix."""

    layer: int | None
    role: str
    module: str
    norms: Amplification
    own: Leading        # W's directions, at least as many as dW has
    phi: Tensor         # (W's directions, rank): similarity of right singular vectors
    d: int              # n_in, the space that they are in

    @property
    def name(self) -> str:
        return site_name(self.layer, self.role)

    @property
    def rank(self) -> int:
        """How many directions dW has: its rank, or fewer where some are zero to rounding."""
        return len(self.norms.factors)

    @property
    def chance(self) -> Tensor:
        """The factor with W seen through k random directions, ||dW_k|| / ||U^T W V||, for k = 1..rank: (rank,)."""
        return self.norms.update_norms / self.norms.through_random

    @property
    def through_weight(self) -> Tensor:
        """||U^T W V||_F for the first 1..rank directions of W: (rank,)."""
        return self.own.norms[:self.rank]

    def projections(self, k: int) -> Projections:
        """Table 7's row for k directions."""
        norms = self.norms
        return Projections(norms.weight_norm, norms.update_norms[k - 1].item(), norms.through_update[k - 1].item(),
                           self.through_weight[k - 1].item(), norms.through_random[k - 1].item())

    @property
    def whole(self) -> Projections:
        """Table 7's row for all of dW's directions."""
        return self.projections(self.rank)


def measure(update: Update, W: Tensor, role: str, full: bool | None, seed: int) -> AmplifiedSite:
    """One site, from its base weight. `full` asks for W's full SVD; None takes it where W is small."""
    assert update.scaling is not None
    exact = max(W.shape) <= EXACT if full is None else full
    count = min(W.shape) if exact else min(max(LEADING, update.rank), *W.shape)
    own = exact_directions(W, count) if exact else leading_directions(W, count, seed=seed)
    V = determined(update_svd(update.A, update.B)).V
    return AmplifiedSite(update.layer, role, update.module, amplification(W, update.A, update.B, update.scaling), own,
                         similarity(own.svd.V.double(), V), W.shape[1])


def amplification_study(adapter: AdapterUpdates, weights: BaseWeights, caption: str, choices: Choices,
                        full: bool | None) -> Study:
    """All of the command, before anything is written. `caption` is what titles call the adapter."""
    updates = select(adapter, choices.roles, choices.layers)
    if any(update.scaling is None for update in updates):
        raise ValueError(f"{adapter.source} does not store alpha, without which ΔW has no scale: give alpha=<number>")
    sites, problems = measure_all(updates, weights, full, choices.seed)
    if not sites:
        raise ValueError(f"{weights.path} has no weight for any update of {adapter.source}: {problems[-1]}")
    title = f"Amplification of the base weights by {caption}"
    summary, notes = summarise(sites, choices.level, choices.seed)
    first = [replace(site, phi=site.phi[:LEADING]) for site in sites]
    tables = {"amplification": summary, "amplification_sites": sites_table(sites)}
    figures = {"amplification": draw_table_7(by_role(sites), f"{title} (table 7)"),
               "directions_of_w": _directions_figure(first, title)}
    notes += _explained(sites, choices.level)
    details = {"amplification_ranks": _ranks(sites), "directions_of_w_phi": phi_table(first)}
    return Study("amplification", title, tables, details, figures, notes, [*adapter.problems, *problems])


def measure_all(updates: Sequence[Update], weights: BaseWeights, full: bool | None,
                seed: int) -> tuple[list[AmplifiedSite], list[Problem]]:
    """The sites whose base weight can be read, and a problem for each other and for directions that are left out."""
    names, sites, problems = role_names(updates), [], []
    for update in updates:
        try:
            W = weights.weight(update)
        except (ValueError, OSError) as error:
            problems.append(Problem(update.label, f"its base weight cannot be read: {error}"))
            continue
        sites.append(measure(update, W, name_of(update, names), full, seed))
        problems += left_out(update, "ΔW", sites[-1].rank)
    return sites, problems


def by_role(sites: Sequence[AmplifiedSite]) -> dict[str, dict[int | None, AmplifiedSite]]:
    """The sites by role and layer."""
    roles: dict[str, dict[int | None, AmplifiedSite]] = {}
    for site in sites:
        roles.setdefault(site.role, {})[site.layer] = site
    return roles


def _explained(sites: Sequence[AmplifiedSite], level: float) -> list[str]:
    error = max(site.own.error for site in sites)
    how = " and ".join(dict.fromkeys("full SVD" if site.own.exact else "subspace iteration" for site in sites))
    return ["factor: ‖ΔW‖ over ‖UᵀWV‖, U and V the directions of ΔW (table 7 has k = rank; amplification_ranks.csv has "
            "every k); through_random: root mean square over random U and V; factor_random: ‖ΔW‖ over it, the "
            "factor of a ΔW as large in random directions",
            f"W's own directions by {how}: ‖WV − US‖ is at most {error:.2g} of ‖S‖; brackets: "
            f"{interval_words(level, [site.layer for site in sites])}"]


def summarise(sites: Sequence[AmplifiedSite], level: float, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Means over the sites of a role and rank, and each in a sentence."""
    groups: dict[tuple[str, int], list[AmplifiedSite]] = {}
    for site in sites:
        groups.setdefault((site.role, site.rank), []).append(site)
    rows, notes = [], []
    for (role, rank), group in groups.items():
        rows_of, layers = [site.projections(rank) for site in group], [site.layer for site in group]
        factor, random, over, share = (mean_interval(ratios, groups=layers, level=level, seed=seed) for ratios in (
            [row.factor for row in rows_of], [row.factor_random for row in rows_of],
            [row.over_random for row in rows_of], [row.over_own for row in rows_of]))
        rows.append({"role": role, "rank": rank, "sites": len(group), "factor": factor.mean, "low": factor.low,
                     "high": factor.high, "factor_random": random.mean, "over_random": over.mean,
                     "over_own": share.mean})
        notes.append(
            f"{role} (rank {rank}, {len(group)} site{'s' * (len(group) > 1)}): ΔW is {interval_text(factor)} times as "
            f"large as W in ΔW's directions, and {interval_text(random)} times as large as W in random ones; in ΔW's "
            f"W has {interval_text(over)} times what it has in random ones, and {interval_text(share)} of what it has "
            f"in its own {rank} top ones")
    return pd.DataFrame(rows), notes


def _row(site: AmplifiedSite, k: int) -> dict[str, Any]:
    norms = site.projections(k)
    return {"layer": site.layer, "role": site.role, "k": k, "factor": norms.factor,
            "factor_random": norms.factor_random, "update_norm": norms.update,
            "through_update": norms.through_update, "through_weight": norms.through_weight,
            "through_random": norms.through_random, "weight_norm": norms.weight}


def sites_table(sites: Sequence[AmplifiedSite]) -> pd.DataFrame:
    rows = [_row(site, site.rank) | {"own_error": site.own.error, "module": site.module} for site in sites]
    return pd.DataFrame(rows).rename(columns={"k": "rank"}).astype({"layer": "Int64"})


def _ranks(sites: Sequence[AmplifiedSite]) -> pd.DataFrame:
    return pd.DataFrame([_row(site, k) for site in sites for k in range(1, site.rank + 1)]).astype({"layer": "Int64"})


def draw_table_7(columns: Mapping[str, Mapping[int | None, AmplifiedSite]], title: str) -> Figure:
    """A column of panels for each key; its sites by layer."""
    return amplification_figure(
        {name: {layer: site.whole for layer, site in layers.items()} for name, layers in columns.items()},
        {name: {layer: site.norms.factors for layer, site in layers.items()} for name, layers in columns.items()},
        {name: {layer: site.chance for layer, site in layers.items()} for name, layers in columns.items()},
        f"{title}. Above: Frobenius norms, with as many directions as ΔW has; below: ‖ΔW‖ over ‖UᵀWV‖ for the first k "
        "directions of ΔW, on an axis that spans k ≥ 2; dashed: for random directions, mean over layers.")


def _directions_figure(sites: Sequence[AmplifiedSite], title: str) -> Figure:
    roles = by_role(sites)

    def row(phis: Mapping[str, Tensor]) -> list[Panel]:
        return [Panel(role, phis.get(role)) for role in roles]

    rows = {layer_name(layer): row({role: layers[layer].phi for role, layers in roles.items() if layer in layers})
            for layer in spread([site.layer for site in sites])}
    first = {site.role: site for site in reversed(sites)}
    rows["by chance"] = row({role: expected_similarity(site.phi.shape[0], site.phi.shape[1], site.d)
                             for role, site in first.items()})
    return similarity_figure(rows, f"{title} (figure 8): φ(i, j) of the first i right singular vectors of W and the "
                                   "first j of ΔW. Last row: random subspaces, max(i, j) / d on average.",
                             "i, of W", "j, of ΔW")
