"""Are the costs of `experiments.cost` right? Predicted peak memory and step time beside what this machine measures.

Memory is the high-water mark of a fresh process over what it held after a first small step of the same model, which
has the libraries load what they load. Time is the processor's, on one thread, so that other processes do not count.
A step is predicted from three speeds of this machine, measured in every round between the steps, and nothing else:
that of one matrix product, that of AdamW, and that of a LayerNorm, GELU and dropout with their gradients, for all else
that moves. The process that is timed keeps the memory that it frees, so the system's handing it out anew is not in it.
"""

import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.config.compose import check_file, configs
from experiments.config.entry import entry
from experiments.measure.shadow import Ledger, StepCost
from experiments.measure.step import check_step, shadow_of, training_step
from experiments.models.load import kind_of
from experiments.store.files import json_line, write_atomic
from experiments.tables.text import cell, markdown_rows, print_rows
from experiments.training.hardware import (
    describe,
    in_fresh_process,
    in_steady_process,
    peak_memory_mb,
    reset_peak_memory,
)
from lora.errors import check_choice

CPU = torch.device("cpu")
KEYS = ("model", "batch_size", "length", "precision", "checkpointing")
PRODUCT = (1024, 1024, 4096)  # m, k, n of the matrix product that is timed
REST = (1024, 1024)           # of what LayerNorm, GELU and dropout are timed on
UPDATED = 2**22               # parameters of the update that is timed
REPEATS = 8                   # of a probe in a round


@entry("cost_check", examples=[
    "python -m experiments.measure.cost_check",
    "python -m experiments.measure.cost_check methods=[lora] rounds=3 output_dir=results/local/cost "
    "'settings=[{model: minilm, batch_size: 4, length: 32, precision: fp32, checkpointing: false}]'",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Predict and measure a training step's peak memory and time, for every setting and method."""
    cases = {(number, method): case(setting, method) for number, setting in enumerate(cfg.settings)
             for method in cfg.methods}
    predicted = {key: shadow_of(each, kind_of(each.model)) for key, each in cases.items()}
    memory = {key: in_fresh_process(measured_memory, each, cfg.memory_steps) for key, each in cases.items()}
    rows = []
    for number, _ in enumerate(cfg.settings):
        steps = {method: cases[number, method] for method in cfg.methods}
        rounds = in_steady_process(measured_rounds, steps, cfg.rounds)
        costs = {method: predicted[number, method] for method in cfg.methods}
        rows += [row(steps[method], costs, rounds, method, memory[number, method]) for method in cfg.methods]
    record = {"cases": rows, "worst_memory_error": worst(rows, "memory_error"),
              "worst_time_error": worst(rows, "time_error"), "worst_ratio_error": worst(rows, "ratio_error"),
              "rounds": cfg.rounds, "threads": 1, "device": describe(CPU, 1),
              "versions": {name: version(name) for name in ("torch", "transformers")}}
    publish(record, Path(cfg.output_dir))
    return record


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
    return made


def measured_memory(cfg: DictConfig, steps: int) -> int:
    """Bytes that `steps` steps add to this process's memory at the most."""
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


def measured_rounds(cases: Mapping[str, DictConfig], rounds: int) -> list[dict[str, float]]:
    """Of each round: speed of product (FLOP/s), update and rest (bytes/s), and the seconds of each method's step."""
    torch.set_num_threads(1)
    steps = {method: training_step(cfg, kind_of(cfg.model)) for method, cfg in cases.items()}
    bf16 = {cfg.precision for cfg in cases.values()} == {"bf16"}
    product, flops = product_probe(torch.bfloat16 if bf16 else torch.float32)
    probes = {"update": probe(update_step), "rest": probe(rest_step)}
    found = []
    for number in range(rounds + 1):
        one = {"product": flops / repeated(product)}
        one |= {name: moved / repeated(step) for name, (step, moved) in probes.items()}
        one |= {method: seconds(step) for method, step in steps.items()}
        found += [one] if number > 0 else []  # the first round warms up
    return found


def product_probe(dtype: torch.dtype) -> tuple[Callable[[], Any], int]:
    """A matrix product, and its FLOPs."""
    m, k, n = PRODUCT
    left, right = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    return lambda: left @ right, 2 * m * k * n


def update_step() -> Callable[[], Any]:
    """An update of one tensor as a step has it, of more numbers than a core's cache holds."""
    parameter = nn.Parameter(torch.randn(UPDATED))
    parameter.grad = torch.randn(UPDATED)
    return torch.optim.AdamW([parameter], fused=True).step


def rest_step() -> Callable[[], Any]:
    """What a Transformer does beside matrix products, forward and backward."""
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


def seconds(function: Callable[[], Any]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def repeated(function: Callable[[], Any]) -> float:
    """Median processor seconds of a probe."""
    return statistics.median(seconds(function) for _ in range(REPEATS))


def predicted_seconds(cost: StepCost, speeds: Mapping[str, float]) -> float:
    """Seconds of a step at these speeds of the product, the rest and the update."""
    passes = sum(part.flops / speeds["product"] + part.moved_bytes / speeds["rest"]
                 for part in (cost.forward, cost.backward))
    return passes + cost.update.moved_bytes / speeds["update"]


def row(cfg: DictConfig, costs: Mapping[str, StepCost], rounds: list[dict[str, float]], method: str,
        memory: int) -> dict[str, Any]:
    """One case: predicted and measured, errors as a share of the measured; ratios are to the first method's step."""
    cost, first = costs[method], next(iter(costs))
    time_ratio = statistics.median(predicted_seconds(cost, one) / one[method] for one in rounds)
    ratio = statistics.median(one[method] / one[first] for one in rounds)
    expected = statistics.median(predicted_seconds(cost, one) / predicted_seconds(costs[first], one) for one in rounds)
    return {"model": cfg.model.name, "method": method, **{key: cfg[key] for key in KEYS[1:]},
            "predicted_memory_mb": cost.peak_bytes / 1e6, "measured_memory_mb": memory / 1e6,
            "memory_error": cost.peak_bytes / memory - 1,
            "predicted_seconds": statistics.median(predicted_seconds(cost, one) for one in rounds),
            "measured_seconds": statistics.median(one[method] for one in rounds), "time_error": time_ratio - 1,
            "ratio_to": first, "predicted_ratio": expected, "measured_ratio": ratio,
            "ratio_error": expected / ratio - 1,
            "product_gflops": statistics.median(one["product"] for one in rounds) / 1e9,
            **{f"{name}_gb_per_second": statistics.median(one[name] for one in rounds) / 1e9
               for name in ("rest", "update")}}


def worst(rows: list[dict[str, Any]], key: str) -> float:
    """The largest error, without its sign."""
    return max(abs(each[key]) for each in rows)


def publish(record: Mapping[str, Any], folder: Path) -> None:
    """Print the table; write it and the record."""
    shown = {"model": "model", "method": "method", "batch_size": "batch", "length": "length", "precision": "precision",
             "checkpointing": "checkpointing", "predicted_memory_mb": "predicted MB", "measured_memory_mb": "measured",
             "memory_error": "error", "predicted_seconds": "predicted s", "measured_seconds": "measured",
             "time_error": "error", "predicted_ratio": "predicted ratio", "measured_ratio": "measured",
             "ratio_error": "error"}
    lines = [[_shown(key, each[key]) for key in shown] for each in record["cases"]]
    print_rows(list(shown.values()), lines)
    first = record["cases"][0]["ratio_to"]
    notes = [f"Worst error: memory {record['worst_memory_error']:.1%}, time {record['worst_time_error']:.1%}, "
             f"ratio to the time of {first} {record['worst_ratio_error']:.1%}.",
             f"{record['device']}, {record['threads']} thread, median of {record['rounds']} rounds, torch "
             f"{record['versions']['torch']}; random weights."]
    print(*notes, sep="\n")
    text = markdown_rows(list(shown.values()), [[cell(value) for value in line] for line in lines])
    write_atomic(folder / "cost.md", "\n\n".join([text, *notes]) + "\n")
    write_atomic(folder / "cost.json", json_line(record) + "\n")


def _shown(key: str, value: Any) -> Any:
    if key.endswith("error"):
        return f"{value:+.1%}"
    if key.endswith("memory_mb"):
        return f"{value:,.0f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value).lower()


if __name__ == "__main__":
    main()
