"""Costs of GPT-3 that section 4.2 states, beside ours (kind: costs): reproduced, or why not.

Bytes are counted on the meta device; FLOPs and peaks are of a training step on fake tensors
(experiments.measure.shadow), for which nothing has the memory. Time is taken as work: the paper's two throughputs are
of the same GPUs and shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.artifacts.artifact import Artifact, read_artifact, read_rows, yaml_word
from experiments.config.compose import Compose
from experiments.measure.shadow import StepCost
from experiments.measure.step import check_step, shadow_of
from experiments.models.load import empty_model, kind_of
from experiments.sweeps.workers import Train
from experiments.tables.names import display_name
from experiments.tables.publish import Sheet, publish_artifact
from lora.count import Counts, count
from lora.errors import check_choice

HALF, ADAM, MIXED = 2, 2, 16  # bytes of a number; moments of a weight; bytes of a weight: 2 + 2 and 4 + 4 + 4 in fp32
UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "%": 0.01, "times": 1.0, "TFLOP/s": 1e12}
METHODS = ("ft", "lora")
FORMATS = ("md", "csv", "tex", "json")


@dataclass(frozen=True)
class CostsArtifact(Artifact):
    """The statements of section 4.2, and the training step that they are of."""

    paper: str                            # a CSV in conf/paper
    store: str
    run: dict[str, Any]                   # config key -> value, of both methods
    methods: dict[str, dict[str, Any]]    # ft and lora -> further keys
    batch_size: int
    length: int                           # tokens a row
    adaptations: int                      # of one model, stored together
    throughput: dict[str, float]          # tokens/s of one V100 as printed, by method


def report(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Compute every cost that section 4.2 states, publish it beside the paper's number. Nothing is trained."""
    artifact = read_artifact(CostsArtifact, cfg)
    for name in METHODS:
        check_choice("method", name, artifact.methods)
    configs = {name: _config(artifact, name, compose_train) for name in METHODS}
    kind = kind_of(configs["ft"].model)
    steps = {(name, again): shadow_of(_step(artifact, configs[name], again), kind) for name in METHODS
             for again in (False, True)}
    counts = {name: count(empty_model(config.model, kind, 2), instantiate(config.method), config.model.pooler)
              for name, config in configs.items()}
    ours = memory_claims(counts, steps, artifact.adaptations) | time_claims(steps, artifact)
    claims = [{**row, "ours": ours[row["key"]] / UNITS[row["unit"]]} for row in read_rows(artifact.paper)]
    record = {"artifact": artifact.name, "model": configs["ft"].model.name, "batch_size": artifact.batch_size,
              "length": artifact.length, "claims": claims}
    files = publish_artifact(sheet_of(artifact, record), cfg, FORMATS)
    return {**record, "files": [str(file) for file in files]}


def _config(artifact: CostsArtifact, method: str, compose_train: Compose) -> DictConfig:
    """The config of a run of one method."""
    keys = artifact.run | {"method": method, "preset": None} | artifact.methods[method]
    return compose_train([f"{key}={yaml_word(value)}" for key, value in keys.items()])


def _step(artifact: CostsArtifact, config: DictConfig, checkpointing: bool) -> DictConfig:
    """The training step of one method in half precision."""
    parts = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("model", "method")}
    step = OmegaConf.create({"preset": None, **parts, "precision": "fp16", "device": "cuda",
                             "checkpointing": checkpointing, "batch_size": artifact.batch_size,
                             "length": artifact.length})
    check_step(step)
    return step


def memory_claims(counts: Mapping[str, Counts], steps: Mapping[tuple[str, bool], StepCost],
                  adaptations: int) -> dict[str, float]:
    """Bytes of checkpoints, of many adaptations, and of training."""
    whole, own = counts["ft"].total, counts["lora"].trainable
    return {"checkpoint_ft": HALF * whole, "checkpoint_lora": HALF * own, "checkpoint_ratio": whole / own,
            "tasks_lora": HALF * (whole + adaptations * own), "tasks_ft": HALF * adaptations * whole,
            "memory_lora_weights": HALF * whole, "memory_lora_peak": steps["lora", True].peak_bytes,
            "memory_ft_moments": HALF * (1 + ADAM) * whole, "memory_ft_gradients": HALF * (2 + ADAM) * whole,
            "memory_ft_peak": steps["ft", True].peak_bytes, "memory_ft_mixed": MIXED * whole,
            "memory_saved": 1 - (whole + (1 + ADAM) * own) / ((1 + ADAM) * whole)}


def time_claims(steps: Mapping[tuple[str, bool], StepCost], artifact: CostsArtifact) -> dict[str, float]:
    """FLOPs of LoRA's step against full fine-tuning's, and the FLOP/s that the paper's throughputs mean."""
    work = {key: (step.forward.flops + step.backward.flops) / (artifact.batch_size * artifact.length)
            for key, step in steps.items()}
    return {"time_saved_plain": 1 - work["lora", False] / work["ft", False],
            "time_saved": 1 - work["lora", True] / work["ft", True],
            "throughput": work["ft", True] / work["lora", True],
            **{f"speed_{name}": artifact.throughput[name] * work[name, True] for name in METHODS}}


def sheet_of(artifact: CostsArtifact, record: Mapping[str, Any]) -> Sheet:
    """The claims as they are published."""
    rows = [[claim["what"], claim["printed"] or None,
             f"{claim['ours']:,.4g}" if claim["ours"] < 1000 else f"{claim['ours']:,.0f}", claim["unit"],
             claim["remark"] or None] for claim in record["claims"]]
    note = (f"ours: of {display_name(record['model'])}, steps of {artifact.batch_size} x {artifact.length} tokens, "
            "weights in 2 bytes, Adam")
    return Sheet(artifact.name, artifact.title, ["cost", "paper", "ours", "unit", "remark"], rows, [note],
                 frame=pd.DataFrame(record["claims"]), record=record)
