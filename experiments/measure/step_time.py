"""Time and peak memory of one training step: ours, PEFT, loralib, full fine-tuning, and the frozen body."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.table import Table
from torch import nn

from experiments.measure.peers import package, peft_config, whole_modules
from experiments.models.load import load_model
from experiments.tables.text import console_for
from experiments.training.hardware import choose_precision, peak_memory_mb, reset_peak_memory
from lora import FullFineTuning
from lora.sites import head_modules

CPU = torch.device("cpu")
Step = Callable[[], None]


def step_seconds(cfg: DictConfig) -> dict[str, list[float]]:
    """Seconds of each round's step by variant, after one step each to warm up."""
    steps = {variant: training_step(cfg, variant) for variant in cfg.variants}
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for number in range(cfg.rounds + 1):
        order = list(steps)[number % len(steps):] + list(steps)[:number % len(steps)]
        for variant in order:
            start = time.perf_counter()
            steps[variant]()
            if number > 0:
                seconds[variant].append(time.perf_counter() - start)
    return seconds


def peak_memory(cfg: DictConfig, variant: str) -> dict[str, float]:
    """High-water mark in MB of this process over `memory_steps` steps of one variant, and the steps' part of it."""
    step = training_step(cfg, variant)
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    for _ in range(cfg.memory_steps):
        step()
    peak = peak_memory_mb(CPU)
    return {"peak_memory_mb": peak, "step_memory_mb": peak - before}


def training_step(cfg: DictConfig, variant: str) -> Step:
    """One step of `variant` on a fixed random batch: forward, backward and the optimizer's update."""
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(0)
    model = load_model(cfg.model, "classification", 2, ["0", "1"])
    VARIANTS[variant](model, cfg)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True) if trained else None
    ids = torch.randint(5, model.config.vocab_size, (cfg.batch_size, cfg.length))
    labels = torch.randint(0, 2, (cfg.batch_size,))
    bf16 = choose_precision(cfg.precision, CPU) == "bf16"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()

    return step


def _ours(model: nn.Module, cfg: DictConfig) -> None:
    instantiate(cfg.method).apply(model, pooler=cfg.model.pooler)


def _peft(model: nn.Module, cfg: DictConfig) -> None:
    package("peft").inject_adapter_in_model(peft_config(model, cfg), model)  # freezes all else
    _train_head(model, cfg)


def _loralib(model: nn.Module, cfg: DictConfig) -> None:
    loralib = package("loralib")
    if cfg.method.rank_stabilised:
        raise ValueError("loralib has no method.rank_stabilised: leave loralib out of variants=[...]")
    model.requires_grad_(False)
    for name in whole_modules(model, cfg):
        base = model.get_submodule(name)
        layer = loralib.Linear(base.in_features, base.out_features, r=cfg.method.rank, lora_alpha=cfg.method.alpha,
                               lora_dropout=cfg.method.dropout, merge_weights=False)
        layer.weight, layer.bias = base.weight, base.bias
        model.set_submodule(name, layer)
    _train_head(model, cfg)


def _ft(model: nn.Module, cfg: DictConfig) -> None:
    FullFineTuning(name="ft").apply(model, pooler=cfg.model.pooler)


def _frozen(model: nn.Module, cfg: DictConfig) -> None:
    model.requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda *call: call[-1].requires_grad_())  # type: ignore[operator]


VARIANTS = {"ours": _ours, "peft": _peft, "loralib": _loralib, "ft": _ft, "frozen": _frozen}
PACKAGES = ("peft", "loralib")


def _train_head(model: nn.Module, cfg: DictConfig) -> None:
    for name in head_modules(model, cfg.model.pooler):
        model.get_submodule(name).requires_grad_(True)


def _packages(variants: list[str]) -> list[str]:
    return [variant for variant in variants if variant in PACKAGES]


def _ratio(seconds: dict[str, list[float]], variant: str, other: str) -> float | None:
    """Median over rounds of variant's seconds over other's; None where `other` was not run."""
    if other not in seconds:
        return None
    return statistics.median(one / two for one, two in zip(seconds[variant], seconds[other], strict=True))


def _print(record: dict[str, Any]) -> None:
    title = f"{record['model']}, {record['batch_size']} x {record['length']} tokens, {record['precision']}, " \
            f"{record['threads']} threads, median of {record['rounds']}"
    table = Table("variant", *(["ms a step", "over peft", "over frozen", "peak MB", "of it the steps'"]), title=title)
    for variant, row in record["variants"].items():
        ratios = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("over_peft", "over_frozen"))
        table.add_row(variant, f"{1000 * row['seconds']:.0f}", *ratios, f"{row['peak_memory_mb']:.0f}",
                      f"{row['step_memory_mb']:.0f}")
    console_for(table).print(table)
