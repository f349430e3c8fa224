"""A study in a few plain sentences with numbers: how many directions, where, what they amplify, what is shared."""

import math
import statistics
from collections.abc import Callable, Sequence

from analysis.linalg.statistics import mean_interval
from analysis.page.numbers import Agreement, Amplified, Matrix, Study

NEARLY = 0.9  # share of the energy in one direction from which a matrix is called nearly rank one


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


def reading(study: Study) -> list[str]:
    """What the numbers say."""
    return [_ranks(study.matrices), _nearly_one(study.matrices), _energy(study.matrices),
            *_amplification(study), *(_shared(each, study.other_name) for each in study.agreements),
            *(f"{note[0].upper()}{note[1:]}." for note in study.seeds)]


def _ranks(matrices: Sequence[Matrix]) -> str:
    lowest, highest = (most(len(matrix.S) for matrix in matrices) for most in (min, max))
    if highest == 1:
        return "Every update has rank 1, so its effective rank is 1."
    mean = mean_interval([matrix.effective_rank for matrix in matrices], groups=[matrix.layer for matrix in matrices])
    interval = ("" if mean.low is None or mean.high is None else
                f" (95 % interval over layers {shown(mean.low)} to {shown(mean.high)})")
    low, high = _ends(matrices, lambda matrix: matrix.effective_rank)
    columns = list(dict.fromkeys(matrix.column for matrix in matrices))
    roles = ", ".join(f"{column} {shown(statistics.fmean(m.effective_rank for m in matrices if m.column == column))}"
                      for column in columns)
    rank = f"{highest}" if lowest == highest else f"{lowest} to {highest}"
    return (f"Of rank {rank}, the updates use an effective rank of {shown(mean.mean)} on average{interval}, "
            f"from {shown(low.effective_rank)} in {low.name} to {shown(high.effective_rank)} in {high.name}"
            + (f"; by role: {roles}." if 1 < len(columns) <= 8 else "."))


def _nearly_one(matrices: Sequence[Matrix]) -> str:
    first = sorted(matrices, key=lambda matrix: -matrix.energy[0].item())
    nearly = [matrix for matrix in first if matrix.energy[0] >= NEARLY and len(matrix.S) > 1]
    if not nearly:
        most = named_share(first[0].energy[0].item())
        return (f"No update is nearly rank one: the first direction has at most {most} of its matrix's energy, "
                f"in {first[0].name}.")
    names = ", ".join(f"{matrix.name} ({named_share(matrix.energy[0].item())})" for matrix in nearly[:4])
    more = f" and {len(nearly) - 4} more" if len(nearly) > 4 else ""
    verb = "is" if len(nearly) == 1 else "are"
    return (f"{len(nearly)} of {len(matrices)} updates {verb} nearly rank one, with {named_share(NEARLY)} or more of "
            f"their energy in one direction: {names}{more}.")


def _energy(matrices: Sequence[Matrix]) -> str:
    total = sum(matrix.norm ** 2 for matrix in matrices)
    by_role, by_layer = ({key: sum(m.norm ** 2 for m in matrices if of(m) == key) / total
                          for key in dict.fromkeys(map(of, matrices))}
                         for of in (lambda m: m.column, lambda m: m.layer))
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


def _amplification(study: Study) -> list[str]:
    found = study.amplified
    if not found:
        return []
    factor = {name: each.factor for name, each in found.items()}
    least, most = min(factor, key=factor.__getitem__), max(factor, key=factor.__getitem__)
    factor_random = statistics.median(each.factor_random for each in found.values())
    over_random = statistics.median(_ratio(each, each.through_random) for each in found.values())
    of_own = statistics.median(_ratio(each, each.through_weight) for each in found.values())
    return [f"ΔW amplifies the directions it acts on {shown(statistics.median(factor.values()))} times (median of "
            f"{len(factor)} matrices; {shown(factor[least])} in {least} to {shown(factor[most])} in {most}); in "
            f"random directions an update as large would amplify {shown(factor_random)} times. W itself has "
            f"{shown(over_random)} times as much there as in random directions, and {named_share(of_own)} of what "
            "it has in its own top ones (medians)."]


def _ratio(each: Amplified, reference: float) -> float:
    return each.through_update / reference if reference else 0.0


def _shared(agreement: Agreement, other: str) -> str:
    shared = agreement.shared
    first, chance = shared.phi[0].item(), shared.phi_chance[0].item()
    names = {"A": "input directions (A)", "B": "output directions (B)"}[agreement.side]
    some = "all are" if shared.leading == len(shared.phi) else f"the first {shared.leading} are"
    count = {0: "none is", 1: "the first is"}.get(shared.leading, some)
    return (f"{agreement.column}, {names}: of {len(shared.phi)}, {count} shared with {other} beyond chance; "
            f"φ(1, 1) is {shown(first)} on average over {shared.sites} matrices, "
            f"chance stays below {shown(chance)} ({named_share(shared.level)} of draws).")


def _ends(matrices: Sequence[Matrix], of: Callable[[Matrix], float]) -> tuple[Matrix, Matrix]:
    return min(matrices, key=of), max(matrices, key=of)
