"""phi for all i, j through thin factors beside the way that its definition suggests, and how long GPT-3's sizes take.

The naive way forms both dW (d, d), takes their SVD by torch.linalg.svd, and goes through i and j in two loops.
"""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig
from torch import Tensor

from analysis.linalg.amplify import amplification
from analysis.linalg.similarity import similarity
from analysis.linalg.singular import update_svd
from experiments.config.entry import entry
from experiments.store.files import json_line, write_atomic
from experiments.tables.text import print_rows
from experiments.training.hardware import describe

Factors = tuple[Tensor, Tensor]  # A (rank, d), B (d, rank)
Found = TypeVar("Found")


@entry("analysis_benchmark", examples=[
    "python -m experiments.measure.similarity",
    "python -m experiments.measure.similarity d=512 large=2048 output=results/local/analysis.json",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time similarity against the naive way at width d, and similarity and amplification at width `large`."""
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    pair = (factors(cfg.rank1, cfg.d), factors(cfg.rank2, cfg.d))
    fast_seconds, fast_phi = timed(lambda: fast(*pair), cfg.rounds)
    naive_seconds, naive_phi = timed(lambda: naive(*pair), 1)
    large = (factors(cfg.rank1, cfg.large), factors(cfg.rank2, cfg.large))
    similarity_seconds, _ = timed(lambda: fast(*large), cfg.rounds)
    W = torch.randn(cfg.large, cfg.large)
    amplification_seconds, _ = timed(lambda: amplification(W, *large[1], 1.0), cfg.rounds)
    record = {"d": cfg.d, "rank1": cfg.rank1, "rank2": cfg.rank2, "fast_seconds": fast_seconds,
              "naive_seconds": naive_seconds, "times_faster": naive_seconds / fast_seconds,
              "largest_difference": (fast_phi - naive_phi).abs().max().item(), "large": cfg.large,
              "similarity_seconds": similarity_seconds, "amplification_seconds": amplification_seconds,
              "rounds": cfg.rounds, "threads": cfg.threads, "device": describe(torch.device("cpu"), 1),
              "versions": {"torch": version("torch")}}
    print_rows(["what", "value"], [[key, value] for key, value in record.items() if isinstance(value, int | float)])
    write_atomic(Path(cfg.output), json_line(record) + "\n")
    return record


def factors(rank: int, d: int) -> Factors:
    """A random update whose singular values fall, so that each of its directions is determined to rounding."""
    falling = torch.linspace(1, 0.1, rank)
    return falling[:, None] * torch.randn(rank, d) / d**0.5, torch.randn(d, rank) / d**0.5


def fast(first: Factors, second: Factors) -> Tensor:
    """phi of the right singular vectors of both dW, for all i, j: (rank1, rank2)."""
    return similarity(update_svd(*first).V, update_svd(*second).V)


def naive(first: Factors, second: Factors) -> Tensor:
    """The same from the definition."""
    V1, V2 = (torch.linalg.svd(B.double() @ A.double()).Vh.T for A, B in (first, second))   # (d, d)
    rank1, rank2 = len(first[0]), len(second[0])
    phi = torch.zeros(rank1, rank2, dtype=torch.float64)
    for i in range(1, rank1 + 1):
        for j in range(1, rank2 + 1):
            phi[i - 1, j - 1] = torch.linalg.norm(V1[:, :i].T @ V2[:, :j]) ** 2 / min(i, j)
    return phi


def timed(function: Callable[[], Found], rounds: int) -> tuple[float, Found]:
    """The least seconds of `rounds` calls, what other processes disturb least, and the last call's result."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        found = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


if __name__ == "__main__":
    main()
