"""Latency of every setting within a time limit, and its slow-down over the base model (section 3, appendix B).

A setting is a batch size and a length, at which the base model, LoRA merged and not, and both adapter designs run in
turns. A slow-down is the median over rounds of two passes of one round; its interval is that of order statistics,
which assumes nothing of the distribution. The time limit is for all settings, warm-up included; settings without time
for their least number of rounds are left out and named. Cells are written as they come.
"""

import logging
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf
from scipy import stats

from experiments.measure.passes import (
    BASE,
    DTYPES,
    MERGED,
    Limit,
    OutOfTime,
    Seconds,
    Setting,
    Variant,
    adapted,
    grid_variants,
    least_rounds,
    pass_seconds,
    share,
    token_seconds,
)
from experiments.models.load import empty_model, kind_of
from experiments.store.files import write_atomic
from experiments.store.logger import check_logger
from experiments.training.hardware import choose_device, describe
from lora.errors import check_choice, check_whole, is_number, nearest
from lora.limits import check_positions

CPU_SECONDS = 1200.0  # of a command on a CPU
SETTINGS = ["rank", "table", "widths", "batch_sizes", "lengths", "bottlenecks", "warmup", "trials", "least_trials",
            "level", "seed"]  # kept in the record
log = logging.getLogger(__name__)


def latency_settings(cfg: DictConfig, table1: Iterable[tuple[int, int, Sequence[Variant]]]) -> list[Setting]:
    """The settings to measure: rows of Table 1 (batch size, length, variants), and the grid of Figure 5."""
    rows = [Setting("table1", batch_size, length, tuple(variants)) for batch_size, length, variants in table1]
    return rows + [Setting("figure5", batch_size, length, tuple(grid_variants(cfg)))
                   for batch_size in cfg.batch_sizes for length in cfg.lengths]


def measured_latency(cfg: DictConfig, settings: Sequence[Setting]) -> tuple[dict[Setting, Seconds], dict[str, Any]]:
    """Seconds of every setting, and the conditions of the measurement as the record keeps them."""
    device = choose_device(cfg.device)
    torch.set_num_threads(cfg.threads)
    seconds = (None if device.type == "cuda" else CPU_SECONDS) if cfg.seconds == "auto" else cfg.seconds
    check_fit(cfg, settings)
    measured, left_out = measure_all(cfg, device, settings, seconds)
    given = OmegaConf.to_container(OmegaConf.masked_copy(cfg, SETTINGS), resolve=True)
    assert isinstance(given, dict)
    conditions = {"model": cfg.model.name, "device": describe(device, 1), "dtype": cfg.dtype,
                  "threads": cfg.threads if device.type == "cpu" else None,
                  **{str(key): value for key, value in given.items()}, "seconds": seconds, "left_out": left_out,
                  "versions": {name: version(name) for name in ("torch", "transformers")}}
    return measured, conditions


def measure_all(cfg: DictConfig, device: torch.device, settings: Sequence[Setting],
                seconds: float | None) -> tuple[dict[Setting, Seconds], list[str]]:
    """Seconds by setting, in the order of `settings`, and why others were left out; ValueError if all were."""
    waiting = sorted(settings, key=lambda setting: setting.work)
    ends = None if seconds is None else time.perf_counter() + seconds
    rate = 0.0 if ends is None else token_seconds(cfg, device, waiting[0])
    measured: dict[Setting, Seconds] = {}
    left_out: list[str] = []
    while waiting:
        setting, started = waiting[0], time.perf_counter()
        try:
            limit = _limit(waiting, ends, rate, least_rounds(cfg))
            measured[setting] = pass_seconds(cfg, device, setting, limit)
        except OutOfTime as out:
            left_out.append(f"{setting} is left out: {least_rounds(cfg)} rounds of {out.seconds:.3g} s, warm-up among "
                            f"them, are more than what is left of {seconds:g} s")
            log.info(left_out[-1])
        else:
            passes = list(measured[setting].values())
            rate = sum(map(sum, passes)) / len(passes[0]) / setting.work
            log.info("%s: %d rounds of %d variants in %.1f s, %d settings wait", setting, len(passes[0]), len(passes),
                     time.perf_counter() - started, len(waiting) - 1)
            cells = latency_cells(cfg, measured)
            write_atomic(Path(cfg.output) / "latency_cells.csv", cells.to_csv(index=False))
        waiting = waiting[1:]
    if not measured:
        raise ValueError(f"seconds {seconds:g} are too few: {left_out[0]}")
    return {setting: measured[setting] for setting in settings if setting in measured}, left_out


def _limit(waiting: Sequence[Setting], ends: float | None, rate: float, least: int) -> Limit:
    """The time limit of the first of `waiting`; OutOfTime if it is too short."""
    if ends is None:
        return Limit()
    now = time.perf_counter()
    seconds = share(waiting, ends - now, rate, least)
    if seconds is None:
        raise OutOfTime(rate * waiting[0].work)
    return Limit(now + seconds, ends)


def check_settings(cfg: DictConfig) -> None:
    """ValueError for a setting of the command that cannot be measured, before anything is built."""
    check_logger(cfg.logger)
    check_choice("dtype", cfg.dtype, DTYPES)
    if not 0 < cfg.level < 1:
        raise ValueError(f"level {cfg.level} is not between 0 and 1")
    if not cfg.table and not (cfg.batch_sizes and cfg.lengths):
        raise ValueError("nothing to measure: table is [], and batch_sizes or lengths is []")
    if cfg.seconds is not None and cfg.seconds != "auto" and not (is_number(cfg.seconds) and cfg.seconds > 0):
        raise ValueError(f"seconds {cfg.seconds!r} is not auto, null or a number above 0"
                         f"{nearest(str(cfg.seconds), ('auto', 'null'))}")
    check_whole("warmup", cfg.warmup, 0)
    check_whole("seed", cfg.seed, 0)
    sizes = {key: [cfg[key]] for key in ("rank", "trials", "least_trials", "threads")}
    for key, values in (sizes | {key: cfg[key] for key in ("batch_sizes", "lengths", "bottlenecks")}).items():
        for value in values:
            check_whole(key, value, 1)


def check_fit(cfg: DictConfig, settings: Sequence[Setting]) -> None:
    """ValueError for a length, rank or bottleneck that the model has no room for; on shapes alone."""
    base: Any = empty_model(cfg.model, kind_of(cfg.model), 2)
    check_positions(base.config, "length", max(setting.length for setting in settings))
    for variant in dict.fromkeys(variant for setting in settings for variant in setting.variants):
        if variant.method != MERGED:  # lora's, merged
            adapted(base, variant, cfg)


Measured = Mapping[Setting, Seconds]


@dataclass(frozen=True)
class MedianInterval:
    """Median of n values with its order-statistic interval; no interval where n is too small for the level."""

    median: float
    low: float | None
    high: float | None
    n: int


def median_interval(values: Sequence[float], level: float) -> MedianInterval:
    """The median, and the narrowest symmetric pair of order statistics that covers it with probability `level`.

    The number of values below the true median is binomial (n, 1/2) whatever their distribution.
    """
    ordered, n = sorted(values), len(values)
    skipped = int(stats.binom.ppf((1 - level) / 2, n, 0.5))  # values left out at each end
    if not skipped:
        return MedianInterval(statistics.median(ordered), None, None, n)
    return MedianInterval(statistics.median(ordered), ordered[skipped - 1], ordered[n - skipped], n)


def latency_cells(cfg: DictConfig, measured: Measured) -> pd.DataFrame:
    """A line for each variant of each setting."""
    return pd.DataFrame([cell for setting, seconds in measured.items() for cell in _cells(cfg, setting, seconds)])


def _cells(cfg: DictConfig, setting: Setting, seconds: Seconds) -> list[dict[str, Any]]:
    """One line a variant: its time in ms, and its slow-down in percent of the base with its interval."""
    base = seconds[Variant(BASE, 0)]
    lines = []
    for variant, values in seconds.items():
        milliseconds = median_interval([1000 * value for value in values], cfg.level)
        slowdown = median_interval([100 * (one / two - 1) for one, two in zip(values, base, strict=True)], cfg.level)
        lines.append({"part": setting.part, "batch_size": setting.batch_size, "length": setting.length,
                      "variant": variant.method, "width": variant.width,
                      "ms": milliseconds.median, "ms_low": milliseconds.low, "ms_high": milliseconds.high,
                      "slowdown": slowdown.median, "slowdown_low": slowdown.low, "slowdown_high": slowdown.high,
                      "trials": milliseconds.n})
    return lines
