"""Forward passes of the base model and of its adapted variants, timed in turns.

The variants share the base's random weights, except for those that LoRA merges into.

Where time is limited, the smallest settings come first, and every setting with time for its least number of rounds
gets the same number of rounds.
"""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from experiments.measure.rounds import Step, rounds, wall_seconds
from experiments.measure.step import random_ids
from experiments.models.load import kind_of, load_model
from lora.bank import merge
from lora.layer import adapted_layers

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BASE, MERGED = "base", "lora_merged"
ADAPTERS = ("adapter_h", "adapter_l")


@dataclass(frozen=True)
class Variant:
    """A model that is timed: `base`, `lora`, `lora_merged`, `adapter_h` or `adapter_l`, with its rank or bottleneck."""

    method: str
    width: int


@dataclass(frozen=True)
class Setting:
    """A size of input with the variants that are timed on it, for one part of the study: table1 or figure5."""

    part: str
    batch_size: int
    length: int
    variants: tuple[Variant, ...]

    @property
    def work(self) -> int:
        """Tokens of a round, to which its time is taken to be proportional."""
        return self.batch_size * self.length * len(self.variants)

    def __str__(self) -> str:
        return f"{self.batch_size} x {self.length} of {self.part}"


@dataclass(frozen=True)
class Limit:
    """Times of time.perf_counter at which a setting ends with the trials it has, and the command; None for never."""

    setting: float | None = None
    command: float | None = None


class OutOfTime(Exception):
    """A setting's least number of rounds does not fit into the time left; `seconds` are those of one round."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


Seconds = Mapping[Variant, Sequence[float]]  # of each round


def grid_variants(cfg: DictConfig) -> list[Variant]:
    """The variants that Figure 5 compares in one setting."""
    adapters = [Variant(method, width) for method in ADAPTERS for width in cfg.bottlenecks]
    return [Variant(BASE, 0), Variant(MERGED, cfg.rank), Variant("lora", cfg.rank), *adapters]


def share(waiting: Sequence[Setting], left: float, rate: float, least: int) -> float | None:
    """Of the seconds `left`, those for the first of `waiting`; None where they are too few for `least` rounds.

    `waiting` is sorted, smallest first; `rate` is the seconds of a token. The time is shared so that every setting
    with time for `least` rounds gets the same number of rounds.
    """
    fitting = [work for work in accumulate(setting.work for setting in waiting) if work * rate * least <= left]
    return left * waiting[0].work / fitting[-1] if fitting else None


def token_seconds(cfg: DictConfig, device: torch.device, setting: Setting) -> float:
    """Seconds of a token in the base, from one pass after a warm-up."""
    once = OmegaConf.merge(cfg, {"warmup": 1, "trials": 1})
    assert isinstance(once, DictConfig)
    alone = replace(setting, variants=(Variant(BASE, 0),))
    return pass_seconds(once, device, alone, Limit())[Variant(BASE, 0)][0] / alone.work


def pass_seconds(cfg: DictConfig, device: torch.device, setting: Setting, limit: Limit) -> dict[Variant, list[float]]:
    """Seconds of every variant's forward pass in each round of one setting; OutOfTime where too few rounds fit."""
    kind = kind_of(cfg.model)
    torch.manual_seed(cfg.seed)
    base: Any = load_model(cfg.model, kind, 2, ["0", "1"])
    base.to(device, DTYPES[cfg.dtype])
    base.config.use_cache = False
    ids = random_ids(base.config, setting.batch_size, setting.length).to(device)
    models = {variant: adapted(base, variant, cfg) for variant in setting.variants}
    return limited_rounds({variant: partial(model, input_ids=ids) for variant, model in models.items()},
                          device, cfg, limit)


@torch.no_grad()
def adapted(base: nn.Module, variant: Variant, cfg: DictConfig) -> nn.Module:
    """The base with a variant's adapter, whose weights are random; frozen weights are shared with the base."""
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
            layer.base.weight = nn.Parameter(layer.weight.data)  # merging writes to it; the base must not change
        merge(model)
    return model.eval()


def limited_rounds(passes: Mapping[Variant, Step], device: torch.device, cfg: DictConfig,
                   limit: Limit) -> dict[Variant, list[float]]:
    """Seconds of each pass in every round that fits into the limit; the warm-up is not counted."""
    started = time.perf_counter()
    with torch.inference_mode():
        return rounds(passes, cfg.trials, partial(device_seconds, device), cfg.warmup, cfg.seed,
                      partial(_fits, least_rounds(cfg), started, limit))


def least_rounds(cfg: DictConfig) -> int:
    """The fewest rounds of a setting, those of the warm-up among them."""
    return cfg.warmup + min(cfg.trials, cfg.least_trials)


def _fits(least: int, started: float, limit: Limit, number: int) -> bool:
    """True if there is time for another round after `number` of them; OutOfTime if `least` do not fit."""
    now = time.perf_counter()
    round_seconds = (now - started) / number
    if number < least:
        if limit.command is not None and now + round_seconds * (least - number) > limit.command:
            raise OutOfTime(round_seconds)
        return True
    return limit.setting is None or now + round_seconds <= limit.setting


def device_seconds(device: torch.device, step: Step) -> float:
    """Seconds of a call; on a GPU by its own clock, from an idle GPU until its last kernel has ended."""
    if device.type != "cuda":
        return wall_seconds(step)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    step()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000  # of milliseconds
