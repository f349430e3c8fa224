"""What a forward pass takes with and without adapters: Table 1 and Figure 5 (sections 3 and 4.1, appendix B).

A setting is a batch size and a length, at which the base model, LoRA merged and not, and both adapter designs run in
turns (experiments.passes). A slow-down is the median over rounds of two passes of one round; its interval is that of
order statistics, which assumes nothing of the distribution.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from analysis.study import publish
from experiments.entry import entry, json_line
from experiments.files import write_atomic
from experiments.hardware import choose_device, describe
from experiments.latency_study import latency_study, paper_rows
from experiments.logger import check_logger
from experiments.passes import DTYPES, grid_variants, measure
from lora.errors import check_choice, check_whole


@entry("latency", examples=[
    "python -m experiments.latency model=gpt2-medium",
    "python -m experiments.latency dtype=fp16 output_dir=results/gpu/latency-fp16",
    "python -m experiments.latency 'table=[[1,128]]' 'batch_sizes=[1,2]' 'lengths=[128]' seconds=120",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time forward passes of the base, LoRA merged and unmerged, AdapterH and AdapterL."""
    check_settings(cfg)
    device = choose_device(cfg.device)
    torch.set_num_threads(cfg.threads)
    settings = {(row.batch_size, row.length): row.variants for row in paper_rows(cfg)}
    table = {key: measure(cfg, device, *key, variants) for key, variants in settings.items()}
    grid = {(batch_size, length): measure(cfg, device, batch_size, length, grid_variants(cfg))
            for batch_size in cfg.batch_sizes for length in cfg.lengths}
    about = {"model": cfg.model.name, "device": describe(device, 1), "dtype": cfg.dtype, "warmup": cfg.warmup,
             "threads": cfg.threads if device.type == "cpu" else None,
             "versions": {name: version(name) for name in ("torch", "transformers")}}
    study = latency_study(cfg, table, grid, about)
    record = {**publish(study, cfg), **about, "cells": study.details["latency_cells"].to_dict("records")}
    write_atomic(Path(cfg.output_dir) / "latency.json", json_line(record) + "\n")
    return record


def check_settings(cfg: DictConfig) -> None:
    """ValueError for what cannot be measured, before anything is built."""
    check_logger(cfg.logger)
    check_choice("dtype", cfg.dtype, DTYPES)
    if not 0 < cfg.level < 1:
        raise ValueError(f"level {cfg.level} is not between 0 and 1")
    if not cfg.table and not (cfg.batch_sizes and cfg.lengths):
        raise ValueError("nothing to measure: table is [], and batch_sizes or lengths is []")
    sizes = {key: [cfg[key]] for key in ("rank", "trials", "least_trials", "threads")}
    for key, values in (sizes | {key: cfg[key] for key in ("batch_sizes", "lengths", "bottlenecks")}).items():
        for value in values:
            check_whole(key, value, 1)


if __name__ == "__main__":
    main()
