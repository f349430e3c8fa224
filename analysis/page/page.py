"""A report as one HTML page: the numbers of each chart, which the template (page.html.j2) draws.

The page needs no network. Every value is in its table of numbers, and in the charts on hover or tap.
"""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from torch import Tensor

from analysis.figures.amplification import Projections
from analysis.linalg.similarity import expected_similarity
from analysis.page.numbers import SIDES, Agreement, Report
from analysis.page.reading import named_share, reading, shown
from analysis.studies.spectrum import Spectrum
from analysis.studies.study import layer_name
from analysis.studies.subspace import Overlap

MOST_LAYERS = 12   # whose similarity is drawn; the table of numbers has all
MOST_STEPS = 12    # of k, i or j that a map shows, where the rank is larger


def render(report: Report, made: Mapping[str, str]) -> str:
    """The page; `made` is the date, version and command at its foot."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters["shown"] = shown
    return environment.get_template("page.html.j2").render(
        report=report, reading=reading(report), maps=layer_maps(report), energies=energy_maps(report),
        spectra=spectrum_panels(report), amplification=amplification_chart(report), similarity=similarity_maps(report),
        numbers=numbers(report), made=made)


def made_by(values: Mapping[str, Any]) -> dict[str, str]:
    """Today's date, the version, and the command with these values."""
    given = [f"{key}={str(value).replace(' ', '')}" if isinstance(value, list) else f"{key}={value}"
             for key, value in values.items() if value is not None]
    return {"date": datetime.now(UTC).date().isoformat(), "version": version("lora-lab"),
            "command": f"python -m analysis.report {shlex.join(given)}"}


def layer_maps(report: Report) -> list[dict[str, Any]]:
    """Layers x roles: where the energy is, and how many directions it has."""
    total = sum(matrix.norm ** 2 for matrix in report.spectra)
    rank = max(len(matrix.S) for matrix in report.spectra)
    update = "ΔW" if report.scaled else "BA"
    shares = [matrix.norm ** 2 / total for matrix in report.spectra]
    maps = [
        _layer_map(report, "Energy", f"share of all ‖{update}‖²", 0, max(shares),
                   lambda m: m.norm ** 2 / total, named_share),
        _layer_map(report, f"‖{update}‖", "Frobenius norm", 0, max(m.norm for m in report.spectra), lambda m: m.norm),
        _layer_map(report, "Effective rank", f"1 to {rank}, by entropy", 1, rank,
                   lambda m: m.effective_rank),
        _layer_map(report, "Stable rank", f"1 to {rank}: ‖{update}‖² / σ₁²", 1, rank, lambda m: m.stable_rank)]
    factors = {name: site.whole.factor for name, site in report.amplified.items()}
    if finite := [factor for factor in factors.values() if math.isfinite(factor)]:
        maps.append(_layer_map(report, "Amplification", "‖ΔW‖ / ‖UᵀWV‖", 0, max(finite),
                               lambda m: factors.get(m.name)))
    return maps


def _layer_map(report: Report, title: str, note: str, low: int, high: float,
               value: Callable[[Spectrum], float | None], form: Callable[[float], str] = shown) -> dict[str, Any]:
    """One cell a matrix, coloured from `low` to `high`; a matrix that is not there, or has no value, is empty."""
    matrices = {(matrix.layer, matrix.role): matrix for matrix in report.spectra}
    roles = list(dict.fromkeys(matrix.role for matrix in report.spectra))
    rows = []
    for layer in dict.fromkeys(matrix.layer for matrix in report.spectra):
        cells = []
        for role in roles:
            matrix = matrices.get((layer, role))
            number = None if matrix is None else value(matrix)
            cells.append(None if matrix is None or number is None else
                         _cell(number, low, high, form(number), f"{matrix.name}: {title.lower()} {form(number)}"))
        rows.append(("outside" if layer is None else str(layer), cells))
    return {"title": title, "note": note, "low": str(low), "high": str(high) if isinstance(high, int) else form(high),
            "corner": "layer", "columns": roles, "rows": rows}


def _cell(value: float, low: float, high: float, text: str, tip: str) -> dict[str, Any]:
    depth = 1.0 if high <= low else min(1.0, (value - low) / (high - low))
    return {"depth": round(depth, 3), "text": text, "tip": tip}


def energy_maps(report: Report) -> list[dict[str, Any]]:
    """For each role layers x k: share of ||dW||_F^2 in the first k directions."""
    maps = []
    for role, matrices in by_role(report).items():
        k_shown = steps(max(len(matrix.S) for matrix in matrices))
        k_shown = k_shown[:-1] or k_shown  # all of the rank has all of the energy
        rows = []
        for matrix in matrices:
            shares = {k: matrix.energy[k - 1].item() for k in k_shown if k <= len(matrix.S)}
            cells = [_cell(shares[k], 0, 1, named_share(shares[k]),
                           f"{matrix.name}: {named_share(shares[k])} of the energy in the first {k}")
                     if k in shares else None for k in k_shown]
            rows.append(("outside" if matrix.layer is None else str(matrix.layer), cells))
        maps.append({"title": role, "note": "first k directions", "low": "0 %", "high": "100 %",
                     "corner": "layer \\ k", "columns": k_shown, "rows": rows})
    return maps


def by_role(report: Report) -> dict[str, list[Spectrum]]:
    """The matrices of each role."""
    roles: dict[str, list[Spectrum]] = {}
    for matrix in report.spectra:
        roles.setdefault(matrix.role, []).append(matrix)
    return roles


def steps(rank: int) -> list[int]:
    """Of 1..rank all, or where these are too many the powers of two and what is halfway between them."""
    if rank <= MOST_STEPS:
        return list(range(1, rank + 1))
    powers = {2 ** n for n in range(rank.bit_length())}
    return sorted(k for k in {*powers, *(3 * p // 2 for p in powers), rank} if k <= rank)


def spectrum_panels(report: Report) -> dict[str, Any]:
    """For each role a panel a layer, all on one scale, so that heights compare."""
    top, ticks = scale(max(matrix.S[0].item() for matrix in report.spectra))
    panels = {role: [{"title": layer_name(matrix.layer),
                      "note": f"eff. {shown(matrix.effective_rank)}, stable {shown(matrix.stable_rank)}",
                      "bars": [(s / top, f"{matrix.name}: σ{i} = {shown(s)}")
                               for i, s in enumerate(matrix.S.tolist(), start=1)], "marks": []}
                     for matrix in matrices] for role, matrices in by_role(report).items()}
    return {"ticks": [(tick / top, f"{tick:g}") for tick in ticks], "panels": panels}


def scale(highest: float) -> tuple[float, list[float]]:
    """Top of an axis from 0, a little above `highest`, and two to four round ticks."""
    if highest <= 0:
        return 1.0, [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest))
    step = next(power * part for part in (0.5, 1, 2, 5) if highest <= 3.2 * power * part)
    return highest * 1.03, [step * n for n in range(int(highest / step) + 1)]


def amplification_chart(report: Report) -> dict[str, Any] | None:
    """For each matrix ||U^T W V||_F on a logarithmic axis: of random matrices, of dW, of W itself."""
    if not report.amplified:
        return None
    values = [value for site in report.amplified.values() for norms in [site.whole]
              for value in (norms.through_random, norms.through_update, norms.through_weight) if value > 0]
    low, high = math.log10(min(values, default=1.0)), math.log10(max(values, default=1.0))
    low, high = low - 0.05 * (high - low) - 0.02, high + 0.05 * (high - low) + 0.02
    ticks = [m * 10.0 ** n for n in range(math.floor(low), math.ceil(high) + 1)
             for m in ((1,) if high - low > 2 else (1, 2, 5))]

    def place(value: float) -> float:
        return round(100 * (math.log10(value) - low) / (high - low), 2) if value > 0 else 0.0

    rows = []
    for name, site in report.amplified.items():
        norms = site.whole
        marks = [("random", norms.through_random, "random U, V"), ("update", norms.through_update, "U, V of ΔW"),
                 ("weight", norms.through_weight, f"W's own U, V (to {site.own.error:.1g})")]
        rows.append({"name": name, "factor": f"{shown(norms.factor)}×", "marks": [
            (kind, place(value), f"{name}: ‖UᵀWV‖ = {shown(value)} with {label}") for kind, value, label in marks]})
    return {"rows": rows, "ticks": [(place(tick), f"{tick:g}") for tick in ticks if low <= math.log10(tick) <= high]}


def similarity_maps(report: Report) -> dict[str, Any] | None:
    """phi(i, j) for each role and side: by chance, then layers from first to last; and the shared steps."""
    if not report.overlaps:
        return None
    drawn, left_out = [], 0
    for role, matrices in by_role(report).items():
        common = [matrix.name for matrix in matrices if matrix.name in report.overlaps["A"]]
        chosen = spread(common, MOST_LAYERS)
        left_out += len(common) - len(chosen)
        drawn += [(f"{role}: {words}", {name: report.overlaps[side][name] for name in chosen})
                  for side, words in SIDES.items() if chosen]
    highest = max(overlap.phi.max().item() for _, overlaps in drawn for overlap in overlaps.values())
    top = min(1.0, math.ceil(20 * highest - 1e-9) / 20) or 0.05
    return {"groups": [{"title": title, "maps": _phi_maps(overlaps, top)} for title, overlaps in drawn],
            "left_out": left_out, "most_steps": MOST_STEPS, "top": f"{top:g}",
            "shared": [_steps_panel(agreement) for agreement in report.agreements]}


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most `most` of them, from the first to the last by even steps."""
    if len(names) <= most:
        return list(names)
    return [names[round(n * (len(names) - 1) / (most - 1))] for n in range(most)]


def _phi_maps(overlaps: Mapping[str, Overlap], top: float) -> list[dict[str, Any]]:
    """The maps of one role and side; before the first of a shape stands its chance."""
    maps: list[dict[str, Any]] = []
    shape: tuple[int, ...] = ()
    for name, overlap in overlaps.items():
        rank1, rank2 = overlap.phi.shape
        chance = expected_similarity(rank1, rank2, overlap.d)
        if shape != (rank1, rank2, overlap.d):
            shape = rank1, rank2, overlap.d
            maps.append(_phi_map("by chance", f"max(i, j) / {overlap.d}", chance, chance, top))
        p = min(rank1, rank2)
        maps.append(_phi_map(name, f"φ({p}, {p}) = {shown(overlap.last)}", overlap.phi, chance, top))
    return maps


def _phi_map(title: str, note: str, phi: Tensor, chance: Tensor, top: float) -> dict[str, Any]:
    """One map; its cells are coloured from 0 to `top`."""
    i_shown, j_shown = steps(phi.shape[0]), steps(phi.shape[1])
    cells = [(round(min(1.0, phi[i - 1, j - 1].item() / top), 3),
              f"{title}: φ({i}, {j}) = {shown(phi[i - 1, j - 1].item())}, by chance "
              f"{shown(chance[i - 1, j - 1].item())}") for i in i_shown for j in j_shown]
    return {"title": title, "note": note, "cells": cells, "width": len(j_shown),
            "last": (phi.shape[0], phi.shape[1])}


def _steps_panel(agreement: Agreement) -> dict[str, Any]:
    """The gain of each step i to the mean similarity, beside its gain by chance."""
    name, shared = f"{agreement.role}, {agreement.side}", agreement.shared
    gains, limits = shared.gain.tolist(), shared.gain_chance.tolist()
    return {"title": name, "note": f"shared: {shared.leading} of {len(gains)}",
            "bars": [(max(0.0, min(1.0, gain)), f"{name}: step {i} adds {shown(gain)}, chance up to {shown(limit)}")
                     for i, (gain, limit) in enumerate(zip(gains, limits, strict=True), start=1)],
            "marks": [max(0.0, min(1.0, limit)) for limit in limits]}


def numbers(report: Report) -> dict[str, Any]:
    """Every matrix's numbers: column names, and rows of (name, values, singular values)."""
    norm = "‖ΔW‖" if report.scaled else "‖BA‖"
    columns = ["matrix", "rank", norm, "effective rank", "stable rank", "first direction's share"]
    columns += ["‖W‖", "‖UᵀWV‖ of ΔW", "‖UᵀWV‖ of random", "‖UᵀWV‖ of W", "factor"] if report.amplified else []
    columns += ["φ(p, p) of A", "φ(p, p) of B"] if report.overlaps else []
    rows = []
    for matrix in report.spectra:
        values: list[Any] = [len(matrix.S), matrix.norm, matrix.effective_rank, matrix.stable_rank, matrix.first]
        if report.amplified:
            site = report.amplified.get(matrix.name)
            values += [None] * 5 if site is None else _norms(site.whole)
        if report.overlaps:
            values += [overlaps[matrix.name].last if matrix.name in overlaps else None
                       for overlaps in report.overlaps.values()]
        rows.append((matrix.name, values, matrix.S.tolist()))
    return {"columns": columns, "rows": rows}


def _norms(norms: Projections) -> list[float]:
    return [norms.weight, norms.through_update, norms.through_random, norms.through_weight, norms.factor]
