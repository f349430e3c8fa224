"""A forward pass of the base and of what stands beside it, timed in turns.

Rounds are of one pass of each variant, in an order drawn anew for every round, so that drift and neighbours hit all
alike. The variants share the base's weights, random ones, but those that LoRA merges into.

Where time is limited, the smallest settings come first, and all that can have their least rounds have as many.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from experiments.measure.step import random_ids
from experiments.models.load import kind_of, load_model
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


@dataclass(frozen=True)
class Setting:
    """What is timed in turns, and of which part of the study it is: table1 or figure5."""

    part: str
    batch_size: int
    length: int
    variants: tuple[Variant, ...]

    @property
    def work(self) -> int:
        """Tokens of a round, of which its time is taken to be a multiple."""
        return self.batch_size * self.length * len(self.variants)

    def __str__(self) -> str:
        return f"{self.batch_size} x {self.length} of {self.part}"


@dataclass(frozen=True)
class Limit:
    """When a setting ends with the trials it has, and when the command does; on time.perf_counter, None for never."""

    setting: float | None = None
    command: float | None = None


class OutOfTime(Exception):
    """A setting's least rounds do not fit into what is left; `seconds` are those of one."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


Seconds = Mapping[Variant, Sequence[float]]  # of each round


def grid_variants(cfg: DictConfig) -> list[Variant]:
    """What Figure 5 compares in one setting."""
    adapters = [Variant(method, width) for method in ADAPTERS for width in cfg.bottlenecks]
    return [Variant(BASE, 0), Variant(MERGED, cfg.rank), Variant("lora", cfg.rank), *adapters]


def share(waiting: Sequence[Setting], left: float, rate: float, least: int) -> float | None:
    """Of the seconds `left`, those for the first of `waiting`, smallest first; None where it cannot have its `least`.

    `rate` is the seconds of a token. All settings that can have `least` rounds are given as many.
    """
    fitting = [work for work in accumulate(setting.work for setting in waiting) if work * rate * least <= left]
    return left * waiting[0].work / fitting[-1] if fitting else None


def token_seconds(cfg: DictConfig, device: torch.device, setting: Setting) -> float:
    """Seconds of a token in the base, from one pass after another that is not counted."""
    once = OmegaConf.merge(cfg, {"warmup": 1, "trials": 1})
    assert isinstance(once, DictConfig)
    alone = replace(setting, variants=(Variant(BASE, 0),))
    return measure(once, device, alone, Limit())[Variant(BASE, 0)][0] / alone.work


def measure(cfg: DictConfig, device: torch.device, setting: Setting, limit: Limit) -> dict[Variant, list[float]]:
    """Seconds of every variant's forward pass in each round of one setting; OutOfTime where too few fit."""
    kind = kind_of(cfg.model)
    torch.manual_seed(cfg.seed)
    base: Any = load_model(cfg.model, kind, 2, ["0", "1"])
    base.to(device, DTYPES[cfg.dtype])
    base.config.use_cache = False
    ids = random_ids(base.config, setting.batch_size, setting.length).to(device)
    models = {variant: adapted(base, variant, cfg) for variant in setting.variants}
    passes: dict[Variant, Callable[[], Any]] = {
        variant: lambda model=model: model(input_ids=ids) for variant, model in models.items()}  # type: ignore[misc]
    return rounds(passes, device, cfg, limit)


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


def rounds(passes: Mapping[Variant, Callable[[], Any]], device: torch.device, cfg: DictConfig,
           limit: Limit) -> dict[Variant, list[float]]:
    """Seconds of each pass in every round, each round in an order of its own; the warm-up is not counted."""
    found: dict[Variant, list[float]] = {variant: [] for variant in passes}
    order, draw = list(passes), random.Random(cfg.seed)
    least = least_rounds(cfg)
    started = time.perf_counter()
    with torch.inference_mode():
        for number in range(cfg.warmup + cfg.trials):
            if number and not _fits(number, least, started, limit):
                break
            draw.shuffle(order)
            for variant in order:
                seconds = timed(passes[variant], device)
                if number >= cfg.warmup:
                    found[variant].append(seconds)
    return found


def least_rounds(cfg: DictConfig) -> int:
    """Rounds of a setting at the least, those of the warm-up among them."""
    return cfg.warmup + min(cfg.trials, cfg.least_trials)


def _fits(number: int, least: int, started: float, limit: Limit) -> bool:
    """Whether there is time for another round after `number` since `started`; OutOfTime where `least` cannot be had."""
    now = time.perf_counter()
    each = (now - started) / number
    if number < least:
        if limit.command is not None and now + each * (least - number) > limit.command:
            raise OutOfTime(each)
        return True
    return limit.setting is None or now + each <= limit.setting


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
