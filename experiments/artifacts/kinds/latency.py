"""Table 1 beside the paper's, and Figure 5, from the record of `experiments.latency` (kind: latency)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from analysis.figures.scores import slowdown_figure
from analysis.studies.study import Study
from experiments.artifacts.artifact import Artifact, read_artifact, read_rows
from experiments.config.compose import Compose, configs, quoted, run_config
from experiments.measure.latency import check_settings, latency_cells, latency_settings, measured_latency
from experiments.measure.passes import ADAPTERS, BASE, MERGED, Variant
from experiments.store.files import json_line, write_atomic
from experiments.sweeps.workers import Train
from experiments.tables.names import display_name
from experiments.tables.publish_study import publish_study
from lora.errors import check_choice

OURS = {"ft_or_lora": (BASE, MERGED, "lora"), "adapter_l": ("adapter_l",), "adapter_h": ("adapter_h",)}
PAPER = "table01_latency"  # a CSV in conf/paper
PAPER_MODEL = "gpt2-medium"  # the model of Table 1
BUDGETS = {"0.5M": "few", "11M": "many"}  # the counts that Table 1 prints, by their name in conf/latency.yaml


@dataclass(frozen=True)
class LatencyArtifact(Artifact):
    """Table 1 or Figure 5: the folder of its record, and the settings that are measured where there is none."""

    store: str
    measure: list[str]  # overrides of conf/latency.yaml


def report(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Publish a record of latencies; measure it first where it is missing. FileNotFoundError if `train` is false."""
    artifact, folder = read_artifact(LatencyArtifact, cfg), Path(cfg.store)
    file = folder / "latency.json"
    if not file.is_file():
        if not cfg.train:
            raise FileNotFoundError(f"{artifact.name}: no record {file}; train=true measures it")
        with configs("latency") as compose_latency:
            settings = compose_latency([*artifact.measure, f"output={quoted(folder)}"])
        settings.logger = cfg.logger
        return {"artifact": artifact.name, **measured(settings, cfg.caption)}
    record = json.loads(file.read_text())
    study = latency_study(pd.DataFrame(record["cells"]), record)
    if artifact.name not in study.tables:
        raise ValueError(f"{file} has no {artifact.name}, it holds {', '.join(study.tables)}: name another store, or "
                         "an empty one to measure into")
    return {"artifact": artifact.name, **publish_study(study, folder, cfg.logger, run_config(cfg), {}, cfg.caption)}


def measured(cfg: DictConfig, caption: bool = True) -> dict[str, Any]:
    """Measure the settings of conf/latency.yaml, publish them and keep their record."""
    check_settings(cfg)
    settings = latency_settings(cfg, ((row.batch_size, row.length, row.variants) for row in paper_rows(cfg)))
    seconds, conditions = measured_latency(cfg, settings)
    study, folder = latency_study(latency_cells(cfg, seconds), conditions), Path(cfg.output)
    record = {**publish_study(study, folder, cfg.logger, run_config(cfg), {}, caption), **conditions,
              "cells": study.details["latency_cells"].to_dict("records")}
    write_atomic(folder / "latency.json", json_line(record) + "\n")
    return record


@dataclass(frozen=True)
class PaperRow:
    """One setting of Table 1 and the variants that stand in it."""

    batch_size: int
    length: int
    params: str  # as printed
    variants: list[Variant]


def paper_rows(cfg: DictConfig) -> list[PaperRow]:
    """The rows of `table`, in the paper's order; ValueError for one that Table 1 does not have."""
    params = {f"[{row['batch_size']},{row['sequence_length']}]": row["params_printed"] for row in read_rows(PAPER)}
    rows = []
    for batch_size, length in cfg.table:
        check_choice("row of table", key := f"[{batch_size},{length}]", params)
        widths = cfg.widths[BUDGETS[params[key]]]
        variants = [Variant(BASE, 0), Variant(MERGED, widths.lora), *(Variant(name, widths[name]) for name in widths)]
        rows.append(PaperRow(batch_size, length, params[key], variants))
    return rows


def latency_study(cells: pd.DataFrame, about: Mapping[str, Any]) -> Study:
    """The study of the cells of a record; `about` is the rest of it: model, device and settings."""
    where = f"{display_name(about['model'])}, {about['device']}, {about['dtype']}"
    if about["threads"]:
        where += f", threads: {about['threads']}"
    title = f"Latency of one forward pass: {where}"
    notes = [_reading(cells), "Ours: median of all trials; slow-down: median over rounds of a variant's time over the "
             f"base's, and its {about['level']:.0%} order-statistic interval."]
    tables, figures = {}, {}
    if about["table"]:
        tables["table1"] = _table(cells)
        notes.append("Paper: mean of 100 trials, Quadro RTX8000.")
        if about["model"] != PAPER_MODEL:
            notes.append(f"The paper's rows are those of {display_name(PAPER_MODEL)}, and widths are those that give "
                         f"it the printed counts: {display_name(about['model'])} has others.")
    if not (grid := cells[cells.part == "figure5"]).empty:
        tables["figure5"] = _grid(grid)
        figures["figure5"] = _figure(about, grid, where)
    return Study("latency", title, tables, {"latency_cells": cells}, figures, [*notes, *about["left_out"]], [])


def _table(cells: pd.DataFrame) -> pd.DataFrame:
    """Table 1: a line of the paper's, then ours for each of its variants that was measured."""
    lines = []
    for row in read_rows(PAPER):
        batch_size, length = int(row["batch_size"]), int(row["sequence_length"])
        setting = {"batch size": batch_size, "length": length, "params": row["params_printed"]}
        lines.append({**setting, "variant": row["method"], "from": "paper", "width": None,
                      "ms": f"{row['latency_ms']} ± {row['latency_std']}", "slow-down %": row["slowdown_percent"],
                      "trials": 100})
        at_setting = cells[(cells.part == "table1") & (cells.batch_size == batch_size) & (cells.length == length)]
        for variant in OURS[row["method"]]:
            lines += [{**setting, "variant": variant, "from": "ours", "width": ours.width or None,
                       "ms": f"{ours.ms:.1f}", "slow-down %": _slowdown(ours), "trials": ours.trials}
                      for ours in at_setting[at_setting.variant == variant].itertuples()]
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
    """A sentence on the settings in which merged LoRA cannot be told from the base."""
    merged = cells[cells.variant == MERGED].dropna(subset=["slowdown_low"])
    covered = ((merged.slowdown_low <= 0) & (merged.slowdown_high >= 0)).sum()
    return (f"Merged LoRA's interval covers the base's time in {covered} of {len(merged)} settings; "
            f"its slow-downs: {', '.join(_slowdown(cell) for cell in merged.itertuples()) or 'too few trials'} %.")


def _figure(about: Mapping[str, Any], grid: pd.DataFrame, where: str) -> Figure:
    """Heat maps of the slow-down: a row for each design, a panel for each length, blank where nothing was measured."""
    batch_sizes = [size for size in about["batch_sizes"] if (grid.batch_size == size).any()]

    def frames(column: str) -> dict[str, dict[int, pd.DataFrame]]:
        """By design and length the values of a column, by batch size and bottleneck."""
        return {display_name(method): {
            length: panel[panel.length == length].pivot(index="batch_size", columns="width", values=column)
            .reindex(batch_sizes) for length in sorted(set(panel.length))}
            for method, panel in ((method, grid[grid.variant == method]) for method in ADAPTERS)}

    low, high = frames("slowdown_low"), frames("slowdown_high")
    intervals = {design: {length: (low[design][length], high[design][length]) for length in panels}
                 for design, panels in low.items()}
    caption = ("Figure 5: slow-down of a forward pass with adapters, in percent of the base model's time, and its "
               f"{about['level']:.0%} interval. {where}.")
    return slowdown_figure(frames("slowdown"), caption, intervals)
