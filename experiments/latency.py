"""Time of a forward pass with and without adapters: Table 1 and Figure 5 (sections 3 and 4.1, appendix B).

experiments.measure.latency says how the settings share the time, and what a slow-down and its interval are.
"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("latency", examples=[
    "python -m experiments.latency model=gpt2-medium",
    "python -m experiments.latency dtype=fp16 output_dir=results/gpu/latency-fp16",
    "python -m experiments.latency 'table=[[1,128]]' 'batch_sizes=[]' seconds=600",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time forward passes of the base, LoRA merged and unmerged, AdapterH and AdapterL."""
    from pathlib import Path

    from experiments.artifacts.kinds.latency import latency_study, paper_rows
    from experiments.measure.latency import check_settings, latency_settings, measured_latency
    from experiments.store.files import json_line, write_atomic
    from experiments.tables.publish import publish_command

    check_settings(cfg)
    settings = latency_settings(cfg, ((row.batch_size, row.length, row.variants) for row in paper_rows(cfg)))
    measured, conditions = measured_latency(cfg, settings)
    study = latency_study(cfg, measured, conditions)
    record = {**publish_command(study, cfg), **conditions, "cells": study.details["latency_cells"].to_dict("records")}
    write_atomic(Path(cfg.output_dir) / "latency.json", json_line(record) + "\n")
    return record


if __name__ == "__main__":
    main()
