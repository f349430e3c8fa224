"""A reading of many sites or seeds in numbers: means with intervals, and how many directions are shared.

"The top direction is shared, the rest is noise" becomes the number `Shared.leading`. phi(i, i) alone would overstate
it: it sums over the first i directions, so one shared direction lifts phi(2, 2), phi(3, 3), ... too. What step i adds,

    gain(i) = i phi(i, i) - (i - 1) phi(i - 1, i - 1)          (by chance (2 i - 1) / d on average)

is compared with the same gain of random subspaces.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from analysis.linalg.chance import null_diagonal


@dataclass(frozen=True)
class Interval:
    """Mean of n groups, with the percentile bootstrap interval of the mean; low and high are None for n = 1."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float], *, groups: Sequence[Hashable] | None = None, level: float = 0.95,
                  resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean over layers or seeds, and where it would fall for other draws of them.

    Values of one of `groups` are not independent (the runs of one layer agree closely): each group counts as its mean.
    """
    if not len(values):
        raise ValueError("there are no values to take a mean of")
    means = _group_means(values, range(len(values)) if groups is None else groups)
    mean = float(means.mean())
    if len(means) == 1:
        return Interval(mean, None, None, 1)
    interval = stats.bootstrap((means,), np.mean, confidence_level=level, method="percentile", n_resamples=resamples,
                               rng=np.random.default_rng(seed)).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), len(means))


def _group_means(values: Sequence[float], groups: Sequence[Hashable]) -> np.ndarray:
    """The mean of each group's values, in the order in which the groups come: (groups,)."""
    members: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(value)
    return np.array([np.mean(member) for member in members.values()], dtype=float)


@dataclass(frozen=True)
class Shared:
    """Steps i = 1..p of the mean similarity of pairs of subspaces, beside the quantile of random ones."""

    leading: int          # directions shared beyond chance, counted from the first until one is not
    level: float          # of the quantiles
    sites: int            # pairs that the mean is over
    phi: Tensor           # (p,) phi(i, i)
    phi_chance: Tensor    # (p,) quantile of phi(i, i) by chance
    gain: Tensor          # (p,) what step i adds
    gain_chance: Tensor   # (p,) quantile of the gain by chance


def shared_directions(phis: Tensor, d: int, *, level: float = 0.95, samples: int = 1000, seed: int = 0) -> Shared:
    """How many leading directions two adapters share, from phi (sites, rank1, rank2) of independent sites in R^d."""
    sites, rank1, rank2 = phis.shape
    phi = _diagonal(phis.double().mean(0))
    null = _null_diagonal(min(rank1, rank2), d, sites, samples, seed)  # (samples, p)
    phi_chance, gain_chance = (torch.quantile(values, level, dim=0) for values in (null, _gain(null)))
    gain = _gain(phi)
    leading = int((gain > gain_chance).long().cumprod(0).sum())
    return Shared(leading, level, sites, phi, phi_chance, gain, gain_chance)


@cache  # the roles of a model have one width, and a study asks for each site and for all of them
def _null_diagonal(p: int, d: int, sites: int, samples: int, seed: int) -> Tensor:
    """phi(i, i) by chance, for which the first p directions of both are enough: (samples, p)."""
    return null_diagonal(p, d, sites, samples=samples, seed=seed)


def _diagonal(phi: Tensor) -> Tensor:
    """phi(i, i): (..., rank1, rank2) -> (..., p)."""
    return phi.diagonal(dim1=-2, dim2=-1)


def _gain(phi: Tensor) -> Tensor:
    """What each step adds to i phi(i, i): (..., p) -> (..., p)."""
    shared = phi * torch.arange(1.0, phi.shape[-1] + 1).double()
    return torch.diff(shared, dim=-1, prepend=torch.zeros_like(shared[..., :1]))
