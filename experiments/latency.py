"""What a forward pass takes with and without adapters: Table 1 and Figure 5 (sections 3 and 4.1, appendix B).

A setting is a batch size and a length, at which the base model, LoRA merged and not, and both adapter designs run in
turns (experiments.passes). A slow-down is the median over rounds of two passes of one round; its interval is that of
order statistics, which assumes nothing of the distribution. `seconds` is for all settings, warm-up included; those
without the time for their least rounds are left out and named. Cells are written as they come.
"""

import logging
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from analysis.study import publish
from experiments.entry import entry, json_line
from experiments.files import write_atomic
from experiments.hardware import choose_device, describe
from experiments.latency_study import latency_cells, latency_study, paper_rows
from experiments.logger import check_logger
from experiments.models import empty_model, kind_of
from experiments.passes import (
    DTYPES,
    MERGED,
    Limit,
    OutOfTime,
    Seconds,
    Setting,
    adapted,
    grid_variants,
    least_rounds,
    measure,
    share,
    token_seconds,
)
from lora.errors import check_choice, check_whole, is_number, nearest
from lora.limits import check_positions

CPU_SECONDS = 1200.0  # of a command on a CPU
SETTINGS = ["rank", "table", "widths", "batch_sizes", "lengths", "bottlenecks", "warmup", "trials", "least_trials",
            "level", "seed"]  # kept in the record
log = logging.getLogger(__name__)


@entry("latency", examples=[
    "python -m experiments.latency model=gpt2-medium",
    "python -m experiments.latency dtype=fp16 output_dir=results/gpu/latency-fp16",
    "python -m experiments.latency 'table=[[1,128]]' 'batch_sizes=[]' seconds=600",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time forward passes of the base, LoRA merged and unmerged, AdapterH and AdapterL."""
    check_settings(cfg)
    device = choose_device(cfg.device)
    torch.set_num_threads(cfg.threads)
    seconds = (None if device.type == "cuda" else CPU_SECONDS) if cfg.seconds == "auto" else cfg.seconds
    settings = [Setting("table1", row.batch_size, row.length, tuple(row.variants)) for row in paper_rows(cfg)]
    settings += [Setting("figure5", batch_size, length, tuple(grid_variants(cfg)))
                 for batch_size in cfg.batch_sizes for length in cfg.lengths]
    check_fit(cfg, settings)
    measured, left_out = measure_all(cfg, device, settings, seconds)
    said = OmegaConf.to_container(OmegaConf.masked_copy(cfg, SETTINGS), resolve=True)
    assert isinstance(said, dict)
    about = {"model": cfg.model.name, "device": describe(device, 1), "dtype": cfg.dtype,
             "threads": cfg.threads if device.type == "cpu" else None,
             **said, "seconds": seconds, "left_out": left_out,
             "versions": {name: version(name) for name in ("torch", "transformers")}}
    study = latency_study(cfg, measured, about)
    record = {**publish(study, cfg), **about, "cells": study.details["latency_cells"].to_dict("records")}
    write_atomic(Path(cfg.output_dir) / "latency.json", json_line(record) + "\n")
    return record


def measure_all(cfg: DictConfig, device: torch.device, settings: Sequence[Setting],
                seconds: float | None) -> tuple[dict[Setting, Seconds], list[str]]:
    """What was measured, in the order of `settings`, and why others were not; ValueError where none was."""
    waiting = sorted(settings, key=lambda setting: setting.work)
    ends = None if seconds is None else time.perf_counter() + seconds
    rate = 0.0 if ends is None else token_seconds(cfg, device, waiting[0])
    found: dict[Setting, Seconds] = {}
    left_out: list[str] = []
    while waiting:
        setting, started = waiting[0], time.perf_counter()
        try:
            limit = _limit(waiting, ends, rate, least_rounds(cfg))
            found[setting] = measure(cfg, device, setting, limit)
        except OutOfTime as out:
            left_out.append(f"{setting} is left out: {least_rounds(cfg)} rounds of {out.seconds:.3g} s, warm-up among "
                            f"them, are more than what is left of {seconds:g} s")
            log.info(left_out[-1])
        else:
            passes = list(found[setting].values())
            rate = sum(map(sum, passes)) / len(passes[0]) / setting.work
            log.info("%s: %d rounds of %d variants in %.1f s, %d settings wait", setting, len(passes[0]), len(passes),
                     time.perf_counter() - started, len(waiting) - 1)
            cells = latency_cells(cfg, found)
            write_atomic(Path(cfg.output_dir) / "latency_cells.csv", cells.to_csv(index=False))
        waiting = waiting[1:]
    if not found:
        raise ValueError(f"seconds {seconds:g} are too few: {left_out[0]}")
    return {setting: found[setting] for setting in settings if setting in found}, left_out


def _limit(waiting: Sequence[Setting], ends: float | None, rate: float, least: int) -> Limit:
    """Until when the first of `waiting` is measured; OutOfTime where that is too short."""
    if ends is None:
        return Limit()
    now = time.perf_counter()
    seconds = share(waiting, ends - now, rate, least)
    if seconds is None:
        raise OutOfTime(rate * waiting[0].work)
    return Limit(now + seconds, ends)


def check_settings(cfg: DictConfig) -> None:
    """ValueError for what cannot be measured, before anything is built."""
    check_logger(cfg.logger)
    check_choice("dtype", cfg.dtype, DTYPES)
    if not 0 < cfg.level < 1:
        raise ValueError(f"level {cfg.level} is not between 0 and 1")
    if not cfg.table and not (cfg.batch_sizes and cfg.lengths):
        raise ValueError("nothing to measure: table is [], and batch_sizes or lengths is []")
    if cfg.seconds is not None and cfg.seconds != "auto" and not (is_number(cfg.seconds) and cfg.seconds > 0):
        raise ValueError(f"seconds {cfg.seconds!r} is not auto, null or a number above 0"
                         f"{nearest(str(cfg.seconds), ('auto', 'null'))}")
    check_whole("warmup", cfg.warmup, 0)
    check_whole("seed", cfg.seed, 0)
    sizes = {key: [cfg[key]] for key in ("rank", "trials", "least_trials", "threads")}
    for key, values in (sizes | {key: cfg[key] for key in ("batch_sizes", "lengths", "bottlenecks")}).items():
        for value in values:
            check_whole(key, value, 1)


def check_fit(cfg: DictConfig, settings: Sequence[Setting]) -> None:
    """ValueError for a length, rank or bottleneck that the model has no room for; on shapes alone."""
    base: Any = empty_model(cfg.model, kind_of(cfg.model), 2)
    check_positions(base.config, "length", max(setting.length for setting in settings))
    for variant in dict.fromkeys(variant for setting in settings for variant in setting.variants):
        if variant.method != MERGED:  # lora's, merged
            adapted(base, variant, cfg)


if __name__ == "__main__":
    main()
