"""What section 4.2 says of GPT-3's cost, each number beside ours: reproduced, or why it is not.

Bytes are counted on the meta device; FLOPs and peaks are of a training step on fake tensors
(experiments.measure.shadow), for which nothing has the memory. Time is taken as work: the paper's two throughputs are
of the same GPUs and shards.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.config.entry import entry
from experiments.measure.shadow import StepCost
from experiments.measure.step import check_step, shadow_of
from experiments.models.load import empty_model, kind_of
from experiments.store.files import json_line, write_atomic
from experiments.store.paths import CONF
from experiments.tables.text import cell, markdown_rows, print_rows
from lora.count import Counts, count

HALF, ADAM, MIXED = 2, 2, 16  # bytes of a number; moments of a weight; bytes of a weight: 2 + 2 and 4 + 4 + 4 in fp32
UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "%": 0.01, "times": 1.0, "TFLOP/s": 1e12}
METHODS = ("ft", "lora")


@entry("cost_claims", examples=[
    "python -m experiments.artifacts.kinds.costs",
    "python -m experiments.artifacts.kinds.costs batch_size=8 length=384 output_dir=results/local/claims",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Compute every cost that section 4.2 states, beside the paper's number."""
    check_step(step_config(cfg, "ft", False))
    kind = kind_of(cfg.model)
    counts = {name: count(empty_model(cfg.model, kind, 2), instantiate(cfg[name]), cfg.model.pooler)
              for name in METHODS}
    steps = {(name, again): shadow_of(step_config(cfg, name, again), kind) for name in METHODS
             for again in (False, True)}
    ours = memory_claims(counts, steps, cfg.tasks) | time_claims(steps, cfg)
    rows = [{**row, "ours": ours[row["key"]] / UNITS[row["unit"]]} for row in printed()]
    record = {"model": cfg.model.name, "batch_size": cfg.batch_size, "length": cfg.length, "claims": rows}
    show(record, Path(cfg.output_dir))
    return record


def printed() -> list[dict[str, str]]:
    """The statements of section 4.2, as printed."""
    with (CONF / "statements" / "section04_cost.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def step_config(cfg: DictConfig, method: str, checkpointing: bool) -> DictConfig:
    """The step of one method in half precision."""
    return OmegaConf.create({"preset": None, "model": cfg.model, "method": cfg[method], "precision": "fp16",
                             "device": "cuda", "checkpointing": checkpointing,
                             **{key: cfg[key] for key in ("batch_size", "length")}})


def memory_claims(counts: Mapping[str, Counts], steps: Mapping[tuple[str, bool], StepCost],
                  tasks: int) -> dict[str, float]:
    """Bytes of checkpoints, of many tasks, and of training."""
    whole, own = counts["ft"].total, counts["lora"].trainable
    return {"checkpoint_ft": HALF * whole, "checkpoint_lora": HALF * own, "checkpoint_ratio": whole / own,
            "tasks_lora": HALF * (whole + tasks * own), "tasks_ft": HALF * tasks * whole,
            "memory_lora_weights": HALF * whole, "memory_lora_peak": steps["lora", True].peak_bytes,
            "memory_ft_moments": HALF * (1 + ADAM) * whole, "memory_ft_gradients": HALF * (2 + ADAM) * whole,
            "memory_ft_peak": steps["ft", True].peak_bytes, "memory_ft_mixed": MIXED * whole,
            "memory_saved": 1 - (whole + (1 + ADAM) * own) / ((1 + ADAM) * whole)}


def time_claims(steps: Mapping[tuple[str, bool], StepCost], cfg: DictConfig) -> dict[str, float]:
    """FLOPs of LoRA's step against full fine-tuning's, and the FLOP/s that the paper's throughputs mean."""
    work = {key: (step.forward.flops + step.backward.flops) / (cfg.batch_size * cfg.length)
            for key, step in steps.items()}
    return {"time_saved_plain": 1 - work["lora", False] / work["ft", False],
            "time_saved": 1 - work["lora", True] / work["ft", True],
            "throughput": work["ft", True] / work["lora", True],
            **{f"speed_{name}": cfg.throughput[name] * work[name, True] for name in METHODS}}


def show(record: Mapping[str, Any], folder: Path) -> None:
    """Print the table; write it and the record."""
    header = ["of " + record["model"], "paper", "ours", "unit", "remark"]
    rows = [[row["what"], row["printed"] or None, f"{row['ours']:,.4g}" if row["ours"] < 1000 else
             f"{row['ours']:,.0f}", row["unit"], row["remark"] or None] for row in record["claims"]]
    print_rows(header, rows)
    note = f"Steps of {record['batch_size']} x {record['length']} tokens, weights in 2 bytes, Adam."
    print(note)
    table = markdown_rows(header, [[cell(value) for value in row] for row in rows])
    write_atomic(folder / "claims.md", f"{table}\n\n{note}\n")
    write_atomic(folder / "claims.json", json_line(record) + "\n")


if __name__ == "__main__":
    main()
