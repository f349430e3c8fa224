"""A study as one HTML page: what each chart shows, in numbers that the template (page.html.j2) draws.

The page needs no network. Every value is in its table of numbers, and in the charts on hover or tap.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from torch import Tensor

from analysis.linalg.similarity import expected_similarity
from analysis.page.numbers import Agreement, Matrix, Overlap, Study
from analysis.page.reading import named_share, reading, shown

MOST_LAYERS = 12   # whose similarity is drawn; the table of numbers has all
MOST_STEPS = 12    # of k, i or j that a map shows, where the rank is larger


def render(study: Study) -> str:
    """The page."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters["shown"] = shown
    return environment.get_template("page.html.j2").render(
        study=study, reading=reading(study), maps=layer_maps(study), energies=energy_maps(study),
        spectra=spectra(study), amplification=amplification_chart(study), similarity=similarity_maps(study),
        numbers=numbers(study))


def layer_maps(study: Study) -> list[dict[str, Any]]:
    """Layers x roles: where the energy is, and how many directions it has."""
    total = sum(matrix.norm ** 2 for matrix in study.matrices)
    rank = max(len(matrix.S) for matrix in study.matrices)
    what = "ΔW" if study.scaled else "BA"
    shares = [matrix.norm ** 2 / total for matrix in study.matrices]
    maps = [
        _layer_map(study, "Energy", f"share of all ‖{what}‖²", 0, max(shares),
                   lambda m: m.norm ** 2 / total, named_share),
        _layer_map(study, f"‖{what}‖", "Frobenius norm", 0, max(m.norm for m in study.matrices), lambda m: m.norm),
        _layer_map(study, "Effective rank", f"1 to {rank}, by entropy", 1, rank,
                   lambda m: m.effective_rank),
        _layer_map(study, "Stable rank", f"1 to {rank}: ‖{what}‖² / σ₁²", 1, rank, lambda m: m.stable_rank)]
    if factors := [each.factor for each in study.amplified.values() if math.isfinite(each.factor)]:
        maps.append(_layer_map(study, "Amplification", "‖ΔW‖ / ‖UᵀWV‖", 0, max(factors),
                               lambda m: study.amplified[m.name].factor if m.name in study.amplified else None))
    return maps


def _layer_map(study: Study, title: str, note: str, low: int, high: float,
               value: Callable[[Matrix], float | None], form: Callable[[float], str] | None = None) -> dict[str, Any]:
    """One cell a matrix, coloured from `low` to `high`; a matrix that is not there, or has no value, is empty."""
    form = form or shown
    found = {(matrix.layer, matrix.column): matrix for matrix in study.matrices}
    columns = list(dict.fromkeys(matrix.column for matrix in study.matrices))
    rows = []
    for layer in dict.fromkeys(matrix.layer for matrix in study.matrices):
        cells = []
        for column in columns:
            matrix = found.get((layer, column))
            number = None if matrix is None else value(matrix)
            cells.append(None if matrix is None or number is None else
                         _cell(number, low, high, form(number), f"{matrix.name}: {title.lower()} {form(number)}"))
        rows.append((layer, cells))
    return {"title": title, "note": note, "low": str(low), "high": str(high) if isinstance(high, int) else form(high),
            "corner": "layer", "columns": columns, "rows": rows}


def _cell(value: float, low: float, high: float, text: str, tip: str) -> dict[str, Any]:
    depth = 1.0 if high <= low else min(1.0, (value - low) / (high - low))
    return {"depth": round(depth, 3), "text": text, "tip": tip}


def energy_maps(study: Study) -> list[dict[str, Any]]:
    """For each role layers x k: share of ||dW||_F^2 in the first k directions."""
    maps = []
    for column, matrices in by_column(study).items():
        k_shown = steps(max(len(matrix.S) for matrix in matrices))
        k_shown = k_shown[:-1] or k_shown  # all of the rank has all of the energy
        rows = [(matrix.layer, [_cell(share := matrix.energy[k - 1].item(), 0, 1, named_share(share),
                                      f"{matrix.name}: {named_share(share)} of the energy in the first {k}")
                                if k <= len(matrix.S) else None for k in k_shown]) for matrix in matrices]
        maps.append({"title": column, "note": "first k directions", "low": "0 %", "high": "100 %",
                     "corner": "layer \\ k", "columns": k_shown, "rows": rows})
    return maps


def by_column(study: Study) -> dict[str, list[Matrix]]:
    """The matrices of each role."""
    found: dict[str, list[Matrix]] = {}
    for matrix in study.matrices:
        found.setdefault(matrix.column, []).append(matrix)
    return found


def steps(rank: int) -> list[int]:
    """Of 1..rank all, or where these are too many the powers of two and what is halfway between them."""
    if rank <= MOST_STEPS:
        return list(range(1, rank + 1))
    powers = {2 ** n for n in range(rank.bit_length())}
    return sorted(k for k in {*powers, *(3 * p // 2 for p in powers), rank} if k <= rank)


def spectra(study: Study) -> dict[str, Any]:
    """For each role a panel a layer, all on one scale, so that heights compare."""
    top, ticks = scale(max(matrix.S[0].item() for matrix in study.matrices))
    panels = {column: [{"title": "outside the layers" if matrix.layer == "outside" else f"layer {matrix.layer}",
                        "note": f"eff. {shown(matrix.effective_rank)}, stable {shown(matrix.stable_rank)}",
                        "bars": [(s / top, f"{matrix.name}: σ{i} = {shown(s)}")
                                 for i, s in enumerate(matrix.S.tolist(), start=1)], "marks": []}
                       for matrix in matrices] for column, matrices in by_column(study).items()}
    return {"ticks": [(tick / top, f"{tick:g}") for tick in ticks], "panels": panels}


def scale(highest: float) -> tuple[float, list[float]]:
    """Top of an axis from 0, a little above `highest`, and two to four round ticks."""
    if highest <= 0:
        return 1.0, [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest))
    step = next(power * part for part in (0.5, 1, 2, 5) if highest <= 3.2 * power * part)
    return highest * 1.03, [step * n for n in range(int(highest / step) + 1)]


def amplification_chart(study: Study) -> dict[str, Any] | None:
    """For each matrix ||U^T W V||_F on a logarithmic axis: of random matrices, of dW, of W itself."""
    if not study.amplified:
        return None
    values = [v for each in study.amplified.values()
              for v in (each.through_random, each.through_update, each.through_weight) if v > 0]
    low, high = math.log10(min(values, default=1.0)), math.log10(max(values, default=1.0))
    low, high = low - 0.05 * (high - low) - 0.02, high + 0.05 * (high - low) + 0.02
    ticks = [m * 10.0 ** n for n in range(math.floor(low), math.ceil(high) + 1)
             for m in ((1,) if high - low > 2 else (1, 2, 5))]

    def place(value: float) -> float:
        return round(100 * (math.log10(value) - low) / (high - low), 2) if value > 0 else 0.0

    rows = []
    for matrix in study.matrices:
        if (each := study.amplified.get(matrix.name)) is None:
            continue
        marks = [("random", each.through_random, "random U, V"), ("update", each.through_update, "U, V of ΔW"),
                 ("weight", each.through_weight, f"W's own U, V (to {each.error:.1g})")]
        rows.append({"name": matrix.name, "factor": f"{shown(each.factor)}×", "marks": [
            (kind, place(value), f"{matrix.name}: ‖UᵀWV‖ = {shown(value)} with {label}")
            for kind, value, label in marks]})
    return {"rows": rows, "ticks": [(place(tick), f"{tick:g}") for tick in ticks if low <= math.log10(tick) <= high]}


def similarity_maps(study: Study) -> dict[str, Any] | None:
    """phi(i, j) for each role and side: what chance gives, then layers from first to last; and the shared steps."""
    if not study.overlaps:
        return None
    groups, left_out = [], 0
    sides = {"A": "input directions (A)", "B": "output directions (B)"}
    for column, matrices in by_column(study).items():
        common = [matrix for matrix in matrices if matrix.name in study.overlaps]
        chosen = spread(common, MOST_LAYERS)
        left_out += len(common) - len(chosen)
        for side in sides if common else ():
            maps: list[dict[str, Any]] = []
            for matrix in chosen:
                phi, d = phi_and_size(study.overlaps[matrix.name], side)
                chance = expected_similarity(phi.shape[0], phi.shape[1], d)
                if not maps or maps[0]["shape"] != (*phi.shape, d):
                    maps.append(_phi_map("by chance", f"max(i, j) / {d}", chance, chance, d))
                maps.append(_phi_map(matrix.name, f"φ({phi.shape[0]}, {phi.shape[1]}) = {shown(phi[-1, -1].item())}",
                                     phi, chance, d))
            groups.append({"title": f"{column}: {sides[side]}", "maps": maps})
    return {"groups": groups, "left_out": left_out, "most_steps": MOST_STEPS,
            "shared": [_steps_panel(each) for each in study.agreements]}


def spread(matrices: Sequence[Matrix], most: int) -> list[Matrix]:
    """At most `most` of them, from the first to the last by even steps."""
    if len(matrices) <= most:
        return list(matrices)
    return [matrices[round(n * (len(matrices) - 1) / (most - 1))] for n in range(most)]


def phi_and_size(overlap: Overlap, side: str) -> tuple[Tensor, int]:
    """phi of one side, and the dimension that its directions live in."""
    return (overlap.inputs, overlap.n_in) if side == "A" else (overlap.outputs, overlap.n_out)


def _phi_map(title: str, note: str, phi: Tensor, chance: Tensor, d: int) -> dict[str, Any]:
    i_shown, j_shown = steps(phi.shape[0]), steps(phi.shape[1])
    cells = [(round(min(1.0, phi[i - 1, j - 1].item()), 3),
              f"{title}: φ({i}, {j}) = {shown(phi[i - 1, j - 1].item())}, by chance "
              f"{shown(chance[i - 1, j - 1].item())}") for i in i_shown for j in j_shown]
    return {"title": title, "note": note, "cells": cells, "width": len(j_shown), "shape": (*phi.shape, d),
            "last": (phi.shape[0], phi.shape[1])}


def _steps_panel(agreement: Agreement) -> dict[str, Any]:
    """What each step i adds to the mean similarity, beside what it adds by chance."""
    shared = agreement.shared
    values = [max(0.0, min(1.0, gain)) for gain in shared.gain.tolist()]
    return {"title": f"{agreement.column}, {agreement.side}",
            "note": f"shared: {shared.leading} of {len(values)}",
            "bars": [(value, f"{agreement.column}, {agreement.side}: step {i} adds {shown(gain)}, "
                             f"chance up to {shown(limit)}")
                     for i, (value, gain, limit) in enumerate(zip(values, shared.gain.tolist(),
                                                                  shared.gain_chance.tolist(), strict=True), start=1)],
            "marks": [max(0.0, min(1.0, limit)) for limit in shared.gain_chance.tolist()]}


def numbers(study: Study) -> dict[str, Any]:
    """Every matrix's numbers: column names, and rows of (full value, as shown)."""
    norm = "‖ΔW‖" if study.scaled else "‖BA‖"
    columns = ["matrix", "rank", norm, "effective rank", "stable rank", "first direction's share"]
    columns += ["‖W‖", "‖UᵀWV‖ of ΔW", "‖UᵀWV‖ of random", "‖UᵀWV‖ of W", "factor"] if study.amplified else []
    columns += ["φ of A", "φ of B"] if study.overlaps else []
    rows = []
    for matrix in study.matrices:
        values: list[Any] = [len(matrix.S), matrix.norm, matrix.effective_rank, matrix.stable_rank,
                             matrix.energy[0].item()]
        if study.amplified:
            each = study.amplified.get(matrix.name)
            values += [None] * 5 if each is None else [each.weight_norm, each.through_update, each.through_random,
                                                       each.through_weight, each.factor]
        if study.overlaps:
            overlap = study.overlaps.get(matrix.name)
            values += [None] * 2 if overlap is None else [overlap.inputs[-1, -1].item(), overlap.outputs[-1, -1].item()]
        rows.append((matrix.name, values, matrix.S.tolist()))
    return {"columns": columns, "rows": rows}
