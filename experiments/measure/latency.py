"""Measure the latency of every setting within a time limit, and its slowdown over the base model."""

import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
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
    least_rounds,
    measure,
    share,
    token_seconds,
)
from experiments.models.load import empty_model, kind_of
from experiments.store.files import write_atomic
from experiments.store.logger import check_logger
from lora.errors import check_choice, check_whole, is_number, nearest
from lora.limits import check_positions

CPU_SECONDS = 1200.0  # of a command on a CPU
SETTINGS = ["rank", "table", "widths", "batch_sizes", "lengths", "bottlenecks", "warmup", "trials", "least_trials",
            "level", "seed"]  # kept in the record
log = logging.getLogger(__name__)


def measure_all(cfg: DictConfig, device: torch.device, settings: Sequence[Setting],
                seconds: float | None) -> tuple[dict[Setting, Seconds], list[str]]:
    """What was measured, in the order of `settings`, and why others were not; ValueError where none was."""
    waiting = sorted(settings, key=lambda setting: setting.work)
    ends = None if seconds is None else time.perf_counter() + seconds
    rate = 0.0 if ends is None else token_seconds(cfg, device, waiting[0])
    found: dict[Setting, Seconds] = {}
    left_out: list[str] = []
    while waiting:
        setting, started = waiting[0], time.perf_counter()
        try:
            limit = _limit(waiting, ends, rate, least_rounds(cfg))
            found[setting] = measure(cfg, device, setting, limit)
        except OutOfTime as out:
            left_out.append(f"{setting} is left out: {least_rounds(cfg)} rounds of {out.seconds:.3g} s, warm-up among "
                            f"them, are more than what is left of {seconds:g} s")
            log.info(left_out[-1])
        else:
            passes = list(found[setting].values())
            rate = sum(map(sum, passes)) / len(passes[0]) / setting.work
            log.info("%s: %d rounds of %d variants in %.1f s, %d settings wait", setting, len(passes[0]), len(passes),
                     time.perf_counter() - started, len(waiting) - 1)
            cells = latency_cells(cfg, found)
            write_atomic(Path(cfg.output_dir) / "latency_cells.csv", cells.to_csv(index=False))
        waiting = waiting[1:]
    if not found:
        raise ValueError(f"seconds {seconds:g} are too few: {left_out[0]}")
    return {setting: found[setting] for setting in settings if setting in found}, left_out


def _limit(waiting: Sequence[Setting], ends: float | None, rate: float, least: int) -> Limit:
    """Until when the first of `waiting` is measured; OutOfTime where that is too short."""
    if ends is None:
        return Limit()
    now = time.perf_counter()
    seconds = share(waiting, ends - now, rate, least)
    if seconds is None:
        raise OutOfTime(rate * waiting[0].work)
    return Limit(now + seconds, ends)


def check_settings(cfg: DictConfig) -> None:
    """ValueError for what cannot be measured, before anything is built."""
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
class Spread:
    """Median of n values with its order-statistic interval; no interval where n is too small for the level."""

    median: float
    low: float | None
    high: float | None
    n: int


def median_interval(values: Sequence[float], level: float) -> Spread:
    """The median, and the narrowest symmetric pair of order statistics that holds it with probability `level`.

    The number of values below the true median is binomial (n, 1/2) whatever their distribution.
    """
    ordered, n = sorted(values), len(values)
    skipped = int(stats.binom.ppf((1 - level) / 2, n, 0.5))  # values left out at each end
    if not skipped:
        return Spread(statistics.median(ordered), None, None, n)
    return Spread(statistics.median(ordered), ordered[skipped - 1], ordered[n - skipped], n)


def latency_cells(cfg: DictConfig, measured: Measured) -> pd.DataFrame:
    """A line for each variant of each setting."""
    return pd.DataFrame([cell for setting, seconds in measured.items() for cell in _cells(cfg, setting, seconds)])


def _cells(cfg: DictConfig, setting: Setting, seconds: Seconds) -> list[dict[str, Any]]:
    """One line a variant: its time in ms, and its slow-down in percent of the base with its interval."""
    base = seconds[Variant(BASE, 0)]
    lines = []
    for variant, values in seconds.items():
        time = median_interval([1000 * value for value in values], cfg.level)
        slow = median_interval([100 * (one / two - 1) for one, two in zip(values, base, strict=True)], cfg.level)
        lines.append({"part": setting.part, "batch_size": setting.batch_size, "length": setting.length,
                      "variant": variant.method, "width": variant.width,
                      "ms": time.median, "ms_low": time.low, "ms_high": time.high,
                      "slowdown": slow.median, "slowdown_low": slow.low, "slowdown_high": slow.high,
                      "trials": time.n})
    return lines
