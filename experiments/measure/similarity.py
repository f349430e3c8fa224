"""Time of phi for all i, j through thin factors, against the direct computation, and at GPT-3's width.

The direct computation forms both dW (d, d), takes their SVD by torch.linalg.svd, and loops over i and j. Its SVDs take
minutes, so it runs once. Seconds are the least over rounds.
"""

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from analysis.linalg.amplify import amplification
from analysis.linalg.similarity import similarity
from analysis.linalg.singular import update_svd
from experiments.measure.record import BenchmarkRecord, new_record
from experiments.measure.rounds import rounds

Factors = tuple[Tensor, Tensor]  # A (rank, d), B (d, rank)


def similarity_benchmark(cfg: DictConfig) -> BenchmarkRecord:
    """Seconds of similarity in both ways at width d, and of similarity and amplification at width `large`."""
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    pair = (factors(cfg.rank1, cfg.d), factors(cfg.rank2, cfg.d))
    direct: list[Tensor] = []
    (naive_seconds,) = rounds({"naive": lambda: direct.append(phi_by_definition(*pair))}, 1, warmup=0)["naive"]
    large = (factors(cfg.rank1, cfg.large), factors(cfg.rank2, cfg.large))
    W = torch.randn(cfg.large, cfg.large)
    steps: dict[str, Any] = {"fast": lambda: phi_of_factors(*pair), "similarity": lambda: phi_of_factors(*large),
                             "amplification": lambda: amplification(W, *large[1], 1.0)}
    least = {name: min(seconds) for name, seconds in rounds(steps, cfg.rounds, warmup=0).items()}
    variants = {"fast": {"width": cfg.d, "seconds": least["fast"]},
                "naive": {"width": cfg.d, "seconds": naive_seconds},
                **{name: {"width": cfg.large, "seconds": least[name]} for name in ("similarity", "amplification")}}
    summary = {"times_faster": naive_seconds / least["fast"],
               "largest_difference": (phi_of_factors(*pair) - direct[0]).abs().max().item()}
    settings = {key: cfg[key] for key in ("d", "rank1", "rank2", "large")}
    return new_record("similarity", ("torch",), cfg.threads, cfg.rounds, settings, variants, summary)


def factors(rank: int, d: int) -> Factors:
    """A random update whose singular values fall, so that each of its directions is determined to rounding."""
    falling = torch.linspace(1, 0.1, rank)
    return falling[:, None] * torch.randn(rank, d) / d**0.5, torch.randn(d, rank) / d**0.5


def phi_of_factors(first: Factors, second: Factors) -> Tensor:
    """phi of the right singular vectors of both dW, for all i, j: (rank1, rank2)."""
    return similarity(update_svd(*first).V, update_svd(*second).V)


def phi_by_definition(first: Factors, second: Factors) -> Tensor:
    """The same from the definition."""
    V1, V2 = (torch.linalg.svd(B.double() @ A.double()).Vh.T for A, B in (first, second))   # (d, d)
    rank1, rank2 = len(first[0]), len(second[0])
    phi = torch.zeros(rank1, rank2, dtype=torch.float64)
    for i in range(1, rank1 + 1):
        for j in range(1, rank2 + 1):
            phi[i - 1, j - 1] = torch.linalg.norm(V1[:, :i].T @ V2[:, :j]) ** 2 / min(i, j)
    return phi
