"""Table 1 beside the paper's, and Figure 5, from the seconds of `experiments.latency`."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from analysis.figures.scores import slowdown_figure
from analysis.studies.study import Study
from experiments.measure.latency import Measured, latency_cells
from experiments.measure.passes import ADAPTERS, BASE, MERGED, Variant
from experiments.store.paths import CONF
from lora.errors import check_choice

OURS = {"ft_or_lora": (BASE, MERGED, "lora"), "adapter_l": ("adapter_l",), "adapter_h": ("adapter_h",)}
TITLES = {"adapter_h": "AdapterH", "adapter_l": "AdapterL"}
PAPER_MODEL = "gpt2-medium"  # the model of Table 1
BUDGETS = {"0.5M": "few", "11M": "many"}  # the counts that Table 1 prints, by their name in conf/latency.yaml
@dataclass(frozen=True)
class PaperRow:
    """One setting of Table 1 and the variants that stand in it."""

    batch_size: int
    length: int
    params: str  # as printed
    variants: list[Variant]


def printed() -> list[dict[str, str]]:
    """Table 1 as the paper prints it."""
    with (CONF / "paper" / "table01_latency.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def paper_rows(cfg: DictConfig) -> list[PaperRow]:
    """The rows of `table`, in the paper's order; ValueError for one that Table 1 does not have."""
    params = {f"[{row['batch_size']},{row['sequence_length']}]": row["params_printed"] for row in printed()}
    found = []
    for batch_size, length in cfg.table:
        check_choice("row of table", key := f"[{batch_size},{length}]", params)
        widths = cfg.widths[BUDGETS[params[key]]]
        variants = [Variant(BASE, 0), Variant(MERGED, widths.lora), *(Variant(name, widths[name]) for name in widths)]
        found.append(PaperRow(batch_size, length, params[key], variants))
    return found


def latency_study(cfg: DictConfig, measured: Measured, about: Mapping[str, Any]) -> Study:
    """The whole study, before it is published."""
    cells = latency_cells(cfg, measured)
    where = f"{about['model']}, {about['device']}, {about['dtype']}"
    if about["threads"]:
        where += f", threads: {about['threads']}"
    title = f"Latency of one forward pass: {where}"
    notes = [_reading(cells), "Ours: median of all trials; slow-down: median over rounds of a variant's time over the "
             f"base's, and its {cfg.level:.0%} order-statistic interval."]
    tables, figures = {}, {}
    if cfg.table:
        tables["table1"] = _table(cells)
        notes.append("Paper: mean of 100 trials, Quadro RTX8000.")
        if cfg.model.name != PAPER_MODEL:
            notes.append(f"The paper's rows are {PAPER_MODEL}'s, and widths are those that give it the printed counts: "
                         f"{cfg.model.name} has others.")
    if not (grid := cells[cells.part == "figure5"]).empty:
        tables["figure5"] = _grid(grid)
        figures["figure5"] = _figure(cfg, grid, f"{where}.")
    return Study("latency", title, tables, {"latency_cells": cells}, figures, notes + about["left_out"], [])


def _table(cells: pd.DataFrame) -> pd.DataFrame:
    """Table 1: a line of the paper's, then ours for each of its variants that was measured."""
    lines = []
    for row in printed():
        batch_size, length = int(row["batch_size"]), int(row["sequence_length"])
        setting = {"batch size": batch_size, "length": length, "params": row["params_printed"]}
        lines.append({**setting, "variant": row["method"], "from": "paper", "width": None,
                      "ms": f"{row['latency_ms']} ± {row['latency_std']}", "slow-down %": row["slowdown_percent"],
                      "trials": 100})
        here = cells[(cells.part == "table1") & (cells.batch_size == batch_size) & (cells.length == length)]
        for variant in OURS[row["method"]]:
            lines += [{**setting, "variant": variant, "from": "ours", "width": ours.width or None,
                       "ms": f"{ours.ms:.1f}", "slow-down %": _slowdown(ours), "trials": ours.trials}
                      for ours in here[here.variant == variant].itertuples()]
    return pd.DataFrame(lines, dtype=object)


def _grid(grid: pd.DataFrame) -> pd.DataFrame:
    """Figure 5 in numbers: a line for each variant in each setting."""
    return pd.DataFrame([{"batch size": ours.batch_size, "length": ours.length, "variant": ours.variant,
                          "width": ours.width or None, "ms": f"{ours.ms:.1f}", "slow-down %": _slowdown(ours),
                          "trials": ours.trials} for ours in grid.itertuples()], dtype=object)


def _slowdown(cell: Any) -> str:
    """'3.1 [2.0, 4.4]'."""
    if cell.variant == BASE or cell.slowdown_low is None or np.isnan(cell.slowdown_low):
        return f"{cell.slowdown:.1f}"
    return f"{cell.slowdown:.1f} [{cell.slowdown_low:.1f}, {cell.slowdown_high:.1f}]"


def _reading(cells: pd.DataFrame) -> str:
    """In how many settings merged LoRA cannot be told from the base."""
    merged = cells[cells.variant == MERGED].dropna(subset=["slowdown_low"])
    covered = ((merged.slowdown_low <= 0) & (merged.slowdown_high >= 0)).sum()
    return (f"Merged LoRA's interval covers the base's time in {covered} of {len(merged)} settings; "
            f"its slow-downs: {', '.join(_slowdown(cell) for cell in merged.itertuples()) or 'too few trials'} %.")


def _figure(cfg: DictConfig, grid: pd.DataFrame, caption: str) -> Any:
    """Heat maps of the slow-down: a row for each design, a panel for each length, blank where nothing was measured."""
    batch_sizes = [size for size in cfg.batch_sizes if (grid.batch_size == size).any()]
    rows = {}
    for method in ADAPTERS:
        here = grid[grid.variant == method]
        rows[TITLES[method]] = {length: here[here.length == length].pivot(
            index="batch_size", columns="width", values="slowdown").reindex(batch_sizes)
            for length in cfg.lengths if (here.length == length).any()}
    return slowdown_figure(rows, caption)
