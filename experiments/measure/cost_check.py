"""Predicted costs of a training step (experiments.cost) against measured ones: peak memory and time.

Memory is the high-water mark of a fresh process over what it held after a small first step of the same model, which
makes the libraries load what they load. Time is processor time, on one thread, so that other processes do not count.
The only inputs of a predicted time are three speeds of this machine, measured in every round between the steps: that
of one matrix product, that of AdamW, and, for all else that moves, that of a LayerNorm, GELU and dropout with their
gradients. The timed process keeps the memory that it frees, so the time to get it from the system again is left out.
"""

import gc
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import psutil
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.config.compose import check_file, configs
from experiments.measure.record import CPU, BenchmarkRecord, new_record
from experiments.measure.rounds import processor_seconds, ratio, reported, rounds
from experiments.measure.shadow import Ledger, StepCost
from experiments.measure.step import check_step, shadow_of, training_step
from experiments.models.load import kind_of
from experiments.training.hardware import in_fresh_process, in_steady_process, peak_memory_mb, reset_peak_memory
from lora.errors import check_choice

KEYS = ("model", "batch_size", "length", "precision", "checkpointing")
PRODUCT = (1024, 1024, 4096)  # m, k, n of the matrix product that is timed
REST = (1024, 1024)           # shape of what LayerNorm, GELU and dropout are timed on
UPDATED = 2**22               # parameters of the update that is timed
REPEATS = 8                   # of a probe in a round
PROBES = ("product", "rest", "update")
ERRORS = ("memory_error", "time_error", "ratio_error")
Readings = Mapping[str, Sequence[float]]  # by round


def cost_benchmark(cfg: DictConfig) -> BenchmarkRecord:
    """Predicted and measured peak memory and time of a training step, for every setting and method."""
    cases = {(number, method): case(setting, method) for number, setting in enumerate(cfg.settings)
             for method in cfg.methods}
    predicted = {key: shadow_of(step, kind_of(step.model)) for key, step in cases.items()}
    memory = {key: in_fresh_process(measured_memory, step, cfg.memory_steps) for key, step in cases.items()}
    variants: dict[str, dict[str, Any]] = {}
    for number in range(len(cfg.settings)):
        steps = {method: cases[number, method] for method in cfg.methods}
        readings = in_steady_process(measured_rounds, steps, cfg.rounds)
        costs = {method: predicted[number, method] for method in cfg.methods}
        rows = [comparison(steps[method], costs, readings, method, memory[number, method]) for method in cfg.methods]
        variants |= {variant_name(row): row for row in rows}
    summary = {f"worst_{error}": max(abs(row[error]) for row in variants.values()) for error in ERRORS}
    return new_record("cost", ("torch", "transformers"), 1, cfg.rounds, {}, variants, summary)


def variant_name(row: Mapping[str, Any]) -> str:
    """The name of a case: 'minilm 16 x 64 fp32 lora', with `checkpointing` before the method where it is on."""
    checkpointing = ["checkpointing"] * row["checkpointing"]
    return " ".join([row["model"], f"{row['batch_size']} x {row['length']}", row["precision"], *checkpointing,
                     row["method"]])


def case(setting: DictConfig, method: str) -> DictConfig:
    """The config of one step: that of `experiments.cost` on a CPU with this method and the setting's keys."""
    for key in setting:
        check_choice("key of a setting", str(key), KEYS)
    if absent := [key for key in KEYS if key not in setting]:
        raise ValueError(f"a setting lacks {', '.join(absent)}: {json.dumps(OmegaConf.to_container(setting))}")
    check_file("model", setting.model)
    check_file("method", method)
    with configs("cost") as compose_cost:
        made = compose_cost([f"method={method}", "device=cpu", *(f"{key}={setting[key]}" for key in KEYS)])
    check_step(made)
    OmegaConf.resolve(made)  # another process may lack the resolvers
    return made


def measured_memory(cfg: DictConfig, steps: int) -> int:
    """The most bytes that `steps` steps add to this process's memory."""
    torch.set_num_threads(1)
    kind = kind_of(cfg.model)
    small = OmegaConf.merge(cfg, {"batch_size": 1, "length": 8})
    assert isinstance(small, DictConfig)
    training_step(small, kind)()
    gc.collect()
    before = psutil.Process().memory_info().rss
    reset_peak_memory(CPU)
    step = training_step(cfg, kind)
    for _ in range(steps):
        step()
    return round(peak_memory_mb(CPU) * 1e6) - before


def measured_rounds(cases: Mapping[str, DictConfig], n: int) -> dict[str, list[float]]:
    """By round: speed of product (FLOP/s), rest and update (bytes/s), and the seconds of each method's step."""
    torch.set_num_threads(1)
    steps = {method: training_step(cfg, kind_of(cfg.model)) for method, cfg in cases.items()}
    bf16 = {cfg.precision for cfg in cases.values()} == {"bf16"}
    product = product_probe(torch.bfloat16 if bf16 else torch.float32)
    probes = dict(zip(PROBES, (product, probe(rest_step), probe(update_step)), strict=True))
    return rounds({**{name: partial(probe_speed, *probed) for name, probed in probes.items()},
                   **{method: partial(processor_seconds, step) for method, step in steps.items()}}, n, reported)


def probe_speed(step: Callable[[], Any], work: int) -> float:
    """Work of a probe per second, from the median of its repeats."""
    return work / statistics.median(processor_seconds(step) for _ in range(REPEATS))


def product_probe(dtype: torch.dtype) -> tuple[Callable[[], Any], int]:
    """A matrix product, and its FLOPs."""
    m, k, n = PRODUCT
    left, right = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    return lambda: left @ right, 2 * m * k * n


def update_step() -> Callable[[], Any]:
    """AdamW's update of one tensor, which is larger than a core's cache."""
    parameter = nn.Parameter(torch.randn(UPDATED))
    parameter.grad = torch.randn(UPDATED)
    return torch.optim.AdamW([parameter], fused=True).step


def rest_step() -> Callable[[], Any]:
    """The operations of a Transformer that are not matrix products, forward and backward."""
    layers = nn.Sequential(nn.LayerNorm(REST[1]), nn.GELU(), nn.Dropout(0.1)).requires_grad_(False)
    x, gradient = torch.randn(REST, requires_grad=True), torch.ones(REST)
    return lambda: layers(x).backward(gradient)


def probe(made: Callable[[], Callable[[], Any]]) -> tuple[Callable[[], Any], int]:
    """A step to be timed, and the bytes that it moves."""
    with FakeTensorMode():
        step = made()
        step()
        with Ledger([]) as ledger:
            step()
    return made(), ledger.work.moved_bytes


def predicted_seconds(cost: StepCost, speeds: Mapping[str, float]) -> float:
    """Seconds of a step at these speeds of the product, the rest and the update."""
    passes = sum(part.flops / speeds["product"] + part.moved_bytes / speeds["rest"]
                 for part in (cost.forward, cost.backward))
    return passes + cost.update.moved_bytes / speeds["update"]


def comparison(cfg: DictConfig, costs: Mapping[str, StepCost], readings: Readings, method: str,
               memory: int) -> dict[str, Any]:
    """One case: predicted and measured, errors as a share of the measured; ratios are to the first method's step."""
    cost, first = costs[method], next(iter(costs))
    speeds = [dict(zip(PROBES, values, strict=True))
              for values in zip(*(readings[name] for name in PROBES), strict=True)]
    predicted = {name: [predicted_seconds(costs[name], speed) for speed in speeds] for name in (first, method)}
    against = {"predicted": predicted[method], "measured": readings[method]}
    predicted_ratio, measured_ratio = ratio(predicted, method, first), ratio(readings, method, first)
    return {"model": cfg.model.name, "method": method, **{key: cfg[key] for key in KEYS[1:]},
            "predicted_memory_mb": cost.peak_bytes / 1e6, "measured_memory_mb": memory / 1e6,
            "memory_error": cost.peak_bytes / memory - 1,
            "predicted_seconds": statistics.median(predicted[method]),
            "measured_seconds": statistics.median(readings[method]),
            "time_error": ratio(against, "predicted", "measured") - 1,
            "ratio_to": first, "predicted_ratio": predicted_ratio, "measured_ratio": measured_ratio,
            "ratio_error": predicted_ratio / measured_ratio - 1,
            "product_gflops": statistics.median(readings["product"]) / 1e9,
            **{f"{name}_gb_per_second": statistics.median(readings[name]) / 1e9 for name in ("rest", "update")}}
