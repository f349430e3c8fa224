"""What a forward pass takes with and without adapters: Table 1 and Figure 5 (sections 3 and 4.1, appendix B).

A setting is a batch size and a length, at which the base model, LoRA merged and not, and both adapter designs run in
turns (experiments.measure.passes). A slow-down is the median over rounds of two passes of one round; its
interval is that of order statistics, which assumes nothing of the distribution. `seconds` is for all settings, warm-up
included; those without the time for their least rounds are left out and named. Cells are written as they come.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.artifacts.kinds.latency import latency_study, paper_rows
from experiments.config.entry import entry
from experiments.measure.latency import CPU_SECONDS, SETTINGS, check_fit, check_settings, measure_all
from experiments.measure.passes import Setting, grid_variants
from experiments.store.files import json_line, write_atomic
from experiments.tables.publish import publish_command
from experiments.training.hardware import choose_device, describe


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
    record = {**publish_command(study, cfg), **about, "cells": study.details["latency_cells"].to_dict("records")}
    write_atomic(Path(cfg.output_dir) / "latency.json", json_line(record) + "\n")
    return record


if __name__ == "__main__":
    main()
