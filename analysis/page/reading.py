"""A report in a few plain sentences with numbers: how many directions, where, what they amplify, which are shared."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from analysis.linalg.statistics import mean_interval
from analysis.page.numbers import LEVEL, SIDES, Agreement, Report
from analysis.studies.spectrum import NEARLY, Spectrum
from analysis.studies.study import FEW_LAYERS


def shown(value: float) -> str:
    """A number as the page shows it, to about three digits."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.1 or size < 1e-12:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.01 else f"{value:.1e}"


def named_share(value: float) -> str:
    """A share as the page shows it: all of it is 100 %, and nothing less is."""
    percent = 100 * value
    if 99.5 <= percent < 100 - 1e-9:
        return f"{math.floor(percent * 10) / 10:.1f} %"
    return f"{percent:.0f} %" if percent >= 9.5 or percent == 0 else f"{percent:.1f} %"


def headline(report: Report) -> dict[str, Any]:
    """The page in a few numbers."""
    matrices = report.spectra
    largest = max(matrices, key=lambda matrix: matrix.norm)
    lowest = min(matrices, key=lambda matrix: matrix.effective_rank)
    factors = [site.whole.factor for site in report.amplified.values()]
    return {"adapter": report.source, "matrices": len(matrices), "rank": report.facts["rank"],
            "parameters": report.facts["parameters"],
            "effective_rank": statistics.fmean(matrix.effective_rank for matrix in matrices),
            "stable_rank": statistics.fmean(matrix.stable_rank for matrix in matrices),
            "lowest_effective_rank": {"matrix": lowest.name, "value": lowest.effective_rank},
            "largest_norm": {"matrix": largest.name, "value": largest.norm},
            "amplification": statistics.median(factors) if factors else None,
            "shared_directions": {f"{agreement.role} {agreement.side}": agreement.shared.leading
                                  for agreement in report.agreements},
            "notes": list(report.seeds),
            "problems": [str(problem) for problem in report.problems]}


def reading(report: Report) -> list[str]:
    """The numbers in words."""
    return [_ranks(report.spectra), _nearly_one(report.spectra), _energy(report.spectra), *_amplification(report),
            *_shared(report), *(f"{note[0].upper()}{note[1:]}." for note in report.seeds)]


def _ranks(matrices: Sequence[Spectrum]) -> str:
    lowest, highest = (most(len(matrix.S) for matrix in matrices) for most in (min, max))
    if highest == 1:
        return "Every update has rank 1, so its effective rank is 1."
    mean = mean_interval([matrix.effective_rank for matrix in matrices], groups=[matrix.layer for matrix in matrices],
                         level=LEVEL)
    few = ", too few for it to be exact" if mean.n < FEW_LAYERS else ""
    interval = ("" if mean.low is None or mean.high is None else
                f" ({named_share(LEVEL)} bootstrap interval over {mean.n} layers{few}: {shown(mean.low)} to "
                f"{shown(mean.high)})")
    low, high = _ends(matrices, lambda matrix: matrix.effective_rank)
    roles = list(dict.fromkeys(matrix.role for matrix in matrices))
    by_role = ", ".join(f"{role} {shown(statistics.fmean(m.effective_rank for m in matrices if m.role == role))}"
                        for role in roles)
    rank = f"{highest}" if lowest == highest else f"{lowest} to {highest}"
    return (f"Of rank {rank}, the updates use an effective rank of {shown(mean.mean)} on average{interval}, "
            f"from {shown(low.effective_rank)} in {low.name} to {shown(high.effective_rank)} in {high.name}"
            + (f"; by role: {by_role}." if 1 < len(roles) <= 8 else "."))


def _nearly_one(matrices: Sequence[Spectrum]) -> str:
    by_first = sorted(matrices, key=lambda matrix: -matrix.first)
    nearly = [matrix for matrix in by_first if matrix.nearly_rank_one]
    if not nearly:
        return (f"No update is nearly rank one: the first direction has at most {named_share(by_first[0].first)} of "
                f"its matrix's energy, in {by_first[0].name}.")
    names = ", ".join(f"{matrix.name} ({named_share(matrix.first)})" for matrix in nearly[:4])
    more = f" and {len(nearly) - 4} more" if len(nearly) > 4 else ""
    verb = "is" if len(nearly) == 1 else "are"
    return (f"{len(nearly)} of {len(matrices)} updates {verb} nearly rank one, with over {named_share(NEARLY)} of "
            f"their energy in one direction: {names}{more}.")


def _energy(matrices: Sequence[Spectrum]) -> str:
    total = sum(matrix.norm ** 2 for matrix in matrices)
    by_role, by_layer = ({key: sum(m.norm ** 2 for m in matrices if of(m) == key) / total
                          for key in dict.fromkeys(map(of, matrices))}
                         for of in (lambda m: m.role, lambda m: "outside" if m.layer is None else str(m.layer)))
    roles = ", ".join(f"{column} {named_share(share)}" for column, share in by_role.items())
    half, held = [], 0.0
    for layer, share in sorted(by_layer.items(), key=lambda item: -item[1]):
        if held >= 0.5:
            break
        half.append(layer)
        held += share
    low, high = _ends(matrices, lambda matrix: matrix.norm)
    where = ", ".join(sorted(half, key=lambda layer: (not layer.isdigit(), int(layer) if layer.isdigit() else 0)))
    verb = "holds" if len(half) == 1 else "hold"
    return (f"Energy by role: {roles}. {len(half)} of {len(by_layer)} layers {verb} {named_share(held)}: {where}. "
            f"The largest update is {high.name} (norm {shown(high.norm)}), "
            f"the smallest {low.name} ({shown(low.norm)}).")


def _amplification(report: Report) -> list[str]:
    if not report.amplified:
        return []
    norms = {name: site.whole for name, site in report.amplified.items()}
    factors = {name: site.factor for name, site in norms.items()}
    least, most = min(factors, key=factors.__getitem__), max(factors, key=factors.__getitem__)
    factor, factor_random, over_random, over_own = (statistics.median(values) for values in (
        factors.values(), [site.factor_random for site in norms.values()],
        [site.over_random for site in norms.values()], [site.over_own for site in norms.values()]))
    return [f"ΔW amplifies the directions it acts on {shown(factor)} times (median of {len(factors)} matrices; "
            f"{shown(factors[least])} in {least} to {shown(factors[most])} in {most}); in random directions an update "
            f"as large would amplify {shown(factor_random)} times. W itself has {shown(over_random)} times as much "
            f"there as in random directions, and {named_share(over_own)} of what it has in its own top ones (medians)."]


def _shared(report: Report) -> list[str]:
    """A sentence for each side: how many directions of each role are shared."""
    sentences = []
    for side, words in SIDES.items():
        if roles := [_shared_role(agreement) for agreement in report.agreements if agreement.side == side]:
            level = named_share(report.agreements[0].shared.level)
            sentences.append(f"Shared with {report.other_name} beyond chance, {words}: {'; '.join(roles)}. In brackets "
                             f"the mean of φ(1, 1), and what {level} of random pairs stay below.")
    return sentences


def _shared_role(agreement: Agreement) -> str:
    shared = agreement.shared
    count = {0: "none", 1: "the first"}.get(shared.leading, f"the first {shared.leading}")
    return (f"{agreement.role} {count} of {len(shared.phi)} (over {shared.sites} "
            f"matri{'x' if shared.sites == 1 else 'ces'}: {shown(shared.phi[0].item())}, chance "
            f"{shown(shared.phi_chance[0].item())})")


def _ends(matrices: Sequence[Spectrum], of: Callable[[Spectrum], float]) -> tuple[Spectrum, Spectrum]:
    return min(matrices, key=of), max(matrices, key=of)
