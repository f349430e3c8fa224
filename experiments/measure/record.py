"""The record of a benchmark: written by `experiments.benchmark`, read by pages and tests."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from experiments.training.hardware import describe
from lora.errors import nearest

SCHEMA = 1
CPU = torch.device("cpu")


@dataclass(frozen=True)
class BenchmarkRecord:
    """One benchmark on one machine; numbers are medians over rounds unless their benchmark says otherwise."""

    schema: int
    benchmark: str                           # step | epoch | processes | similarity | cost
    device: str
    versions: Mapping[str, str]              # of the packages that were measured
    threads: int                             # of all processes together
    rounds: int
    settings: Mapping[str, Any]              # keys of the command's config that the numbers depend on
    variants: Mapping[str, Mapping[str, Any]]  # by name: labels, seconds, ratios, memory
    summary: Mapping[str, float]             # numbers of the benchmark as a whole


def new_record(benchmark: str, packages: Iterable[str], threads: int, rounds: int, settings: Mapping[str, Any],
               variants: Mapping[str, Mapping[str, Any]], summary: Mapping[str, float]) -> BenchmarkRecord:
    """The record of what has just been measured on this machine."""
    return BenchmarkRecord(SCHEMA, benchmark, describe(CPU, 1), {name: version(name) for name in packages}, threads,
                           rounds, settings, variants, summary)


def read_benchmark(path: Path) -> BenchmarkRecord:
    """The record in a file; ValueError for another schema, a key that is missing or one that is not known."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        schema = content.get("schema") if isinstance(content, dict) else None
        raise ValueError(f"{path}: schema {schema!r} is not {SCHEMA}: measure again with experiments.benchmark")
    keys = [field.name for field in fields(BenchmarkRecord)]
    if missing := [key for key in keys if key not in content]:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    if unknown := [key for key in content if key not in keys]:
        raise ValueError(f"{path}: key {unknown[0]!r} is not one of {', '.join(keys)}{nearest(unknown[0], keys)}")
    return BenchmarkRecord(**content)
