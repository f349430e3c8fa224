"""Time and peak memory of one training step: ours, PEFT's, loralib's, full fine-tuning's, and the frozen body's.

All variants have one architecture, the same frozen and trained matrices, and AdamW; the head trains in each but
`frozen`, which only runs forward and backward to the embeddings' output: what no adaptation can undercut.

Other processes disturb a clock, so times are taken in rounds of one step of every variant, whose order turns, and a
ratio is the median over rounds of two steps of one round. Memory is the high-water mark of a fresh process, and what
of it the steps added; there the allocator gives freed blocks back at once, without which it varies by 5 %.
"""

import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

import experiments.config.resolvers  # noqa: F401  (the resolver in conf/model and conf/method)
from experiments.config.entry import entry
from experiments.measure.peers import package
from experiments.measure.step_time import CPU, PACKAGES, VARIANTS, _packages, _print, _ratio, peak_memory, step_seconds
from experiments.store.files import json_line, write_atomic
from experiments.training.hardware import (
    choose_precision,
    describe,
    in_fresh_process,
)
from lora.errors import check_choice


@entry("benchmark", examples=[
    "python -m experiments.benchmark",
    "python -m experiments.benchmark precision=bf16 output=results/cpu/benchmark-bf16.json",
    "python -m experiments.benchmark model=minilm length=56 'variants=[ours,peft]' rounds=20",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Compare a training step's time and peak memory with PEFT's and loralib's, full fine-tuning and the limit."""
    for variant in cfg.variants:
        check_choice("variant", variant, VARIANTS)
        if variant in PACKAGES:
            package(variant)
    peaks = {variant: in_fresh_process(peak_memory, cfg, variant) for variant in cfg.variants}
    seconds = step_seconds(cfg)
    rows = {variant: {"seconds": statistics.median(seconds[variant]),
                      "over_peft": _ratio(seconds, variant, "peft"),
                      "over_frozen": _ratio(seconds, variant, "frozen"),
                      **peaks[variant]} for variant in cfg.variants}
    record = {"variants": rows, "model": cfg.model.name, "rank": cfg.method.rank, "targets": list(cfg.method.targets),
              "batch_size": cfg.batch_size, "length": cfg.length, "rounds": cfg.rounds, "threads": cfg.threads,
              "precision": choose_precision(cfg.precision, CPU), "device": describe(CPU, 1),
              "versions": {name: version(name) for name in ("torch", "transformers", *_packages(cfg.variants))}}
    _print(record)
    write_atomic(Path(cfg.output), json_line(record) + "\n")
    return record


if __name__ == "__main__":
    main()
