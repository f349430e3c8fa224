"""A forward pass of the base and of what stands beside it, timed in turns.

Rounds are of one pass of each variant, in an order drawn anew for every round, so that drift and neighbours hit all
alike. The variants share the base's weights, random ones, but those that LoRA merges into.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from experiments.models import kind_of, load_model
from experiments.steps import random_ids
from lora.bank import merge
from lora.layer import adapted_layers

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BASE, MERGED = "base", "lora_merged"
ADAPTERS = ("adapter_h", "adapter_l")


@dataclass(frozen=True)
class Variant:
    """What is timed: `base`, `lora`, `lora_merged`, `adapter_h` or `adapter_l`, with its rank or bottleneck."""

    method: str
    width: int


Seconds = Mapping[Variant, Sequence[float]]  # of each round


def grid_variants(cfg: DictConfig) -> list[Variant]:
    """What Figure 5 compares in one setting."""
    adapters = [Variant(method, width) for method in ADAPTERS for width in cfg.bottlenecks]
    return [Variant(BASE, 0), Variant(MERGED, cfg.rank), Variant("lora", cfg.rank), *adapters]


def measure(cfg: DictConfig, device: torch.device, batch_size: int, length: int,
            variants: Sequence[Variant]) -> dict[Variant, list[float]]:
    """Seconds of every variant's forward pass in each round of one setting."""
    kind = kind_of(cfg.model)
    torch.manual_seed(cfg.seed)
    base: Any = load_model(cfg.model, kind, 2, ["0", "1"])
    base.to(device, DTYPES[cfg.dtype])
    base.config.use_cache = False
    ids = random_ids(base.config, batch_size, length).to(device)
    models = {variant: adapted(base, variant, cfg) for variant in variants}
    passes: dict[Variant, Callable[[], Any]] = {
        variant: lambda model=model: model(input_ids=ids) for variant, model in models.items()}  # type: ignore[misc]
    return rounds(passes, device, cfg)


@torch.no_grad()
def adapted(base: nn.Module, variant: Variant, cfg: DictConfig) -> nn.Module:
    """The base with a variant's adapter, of random numbers throughout; all that is frozen is the base's own."""
    if variant.method == BASE:
        return base
    model = deepcopy(base, {id(parameter): parameter for parameter in base.parameters()})
    name = "lora" if variant.method == MERGED else variant.method
    method = instantiate(cfg[name], **{"rank" if name == "lora" else "bottleneck": variant.width})
    for group in method.apply(model, pooler=cfg.model.pooler):
        for parameter in group.parameters.values() if not group.head else ():
            nn.init.normal_(parameter, std=0.02)
            parameter.data = parameter.data.to(base.dtype)  # type: ignore[call-overload]
    if variant.method == MERGED:
        for _, layer in adapted_layers(model):
            layer.base.weight = nn.Parameter(layer.weight.data)  # merging writes to it, and the base is to stay
        merge(model)
    return model.eval()


def rounds(passes: Mapping[Variant, Callable[[], Any]], device: torch.device,
           cfg: DictConfig) -> dict[Variant, list[float]]:
    """Seconds of each pass in every round, each round in an order of its own; the warm-up is not counted."""
    found: dict[Variant, list[float]] = {variant: [] for variant in passes}
    order, draw = list(passes), random.Random(cfg.seed)
    with torch.inference_mode():
        for _ in range(cfg.warmup):
            for run in passes.values():
                timed(run, device)
        started = time.perf_counter()
        for number in range(cfg.trials):
            if cfg.seconds is not None and number >= cfg.least_trials and time.perf_counter() - started > cfg.seconds:
                break
            draw.shuffle(order)
            for variant in order:
                found[variant].append(timed(passes[variant], device))
    return found


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call: of a GPU's own clock, from an idle GPU until its last kernel has ended."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000  # of milliseconds
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
