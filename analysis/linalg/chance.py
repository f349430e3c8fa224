"""Similarity of two random subspaces: the null distribution that a similarity has to beat.

phi's mean is max(i, j) / d (analysis.linalg.similarity.expected_similarity), and where min(i, j) = 1 phi is distributed
as Beta(max(i, j) / 2, (d - max(i, j)) / 2). Other (i, j) have no closed form: all are simulated jointly, at a cost that
does not grow with d. The smallest principal angle has none either; by chance it is 0 once rank1 + rank2 exceeds d.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from analysis.linalg.similarity import phi_of

POOL = 32  # sites that have draws of their own


def null_similarity(rank1: int, rank2: int, d: int, *, samples: int = 1000, seed: int = 0) -> Tensor:
    """Draws of phi of pairs of random subspaces of R^d: (samples, rank1, rank2)."""
    return phi_of(_products(np.random.default_rng(seed), samples, rank1, rank2, d))


def null_diagonal(p: int, d: int, sites: int, *, samples: int = 1000, seed: int = 0) -> Tensor:
    """Draws of the mean of phi(i, i), i = 1..p, over `sites` independent pairs of random subspaces: (samples, p).

    Where there are more than POOL sites each takes its draws from all of POOL, shifted to their exact mean i / d: an
    error of the mean would not shrink with the sites as their spread does. The cost grows no further.
    """
    random = np.random.default_rng(seed)
    drawn = torch.stack([phi_of(_products(random, samples, p, p, d)).diagonal(dim1=1, dim2=2)
                         for _ in range(min(sites, POOL))])                    # (sites drawn, samples, p)
    if sites <= POOL:
        return drawn.mean(0)
    pool = drawn.flatten(0, 1)
    pool += torch.arange(1.0, p + 1).double() / d - pool.mean(0)
    total = torch.zeros(samples, p, dtype=torch.float64)
    for _ in range(sites):
        total += pool[random.integers(len(pool), size=samples)]
    return total / sites


@cache  # every site of a study and all of them together ask for the same
def null_smallest_angle(rank1: int, rank2: int, d: int, *, samples: int = 1000, seed: int = 0) -> float:
    """Mean of the smallest principal angle between two random subspaces of R^d, in radians."""
    products = _products(np.random.default_rng(seed), samples, rank1, rank2, d)
    cosines = torch.linalg.matrix_norm(products, ord=2)                        # (samples,) the largest of each pair
    return cosines.clamp(max=1).acos().mean().item()


def _products(random: np.random.Generator, samples: int, rank1: int, rank2: int, d: int) -> Tensor:
    """V1^T V2 of independent pairs of random orthonormal V1 (d, rank1) and V2 (d, rank2): (samples, rank1, rank2).

    One subspace may stand still, the span of the first rank2 unit vectors. The other is Q of G = Q R for a standard
    normal G (d, rank1), and only Q's first rank2 rows are needed. The rest of G enters R through its Gram matrix
    alone, so a small matrix with the same distribution of Gram matrices takes its place.
    """
    if not 1 <= min(rank1, rank2) <= max(rank1, rank2) <= d:
        raise ValueError(f"ranks {rank1} and {rank2} are not both in 1..{d}")
    top = torch.from_numpy(random.standard_normal((samples, rank2, rank1)))
    Q = torch.linalg.qr(torch.cat([top, _like_normal(random, samples, d - rank2, rank1)], dim=1)).Q
    return Q[:, :rank2].mT                                                     # (samples, rank1, rank2)


def _like_normal(random: np.random.Generator, samples: int, rows: int, columns: int) -> Tensor:
    """Matrices whose Gram matrix is distributed as that of standard normal (rows, columns) ones.

    By Bartlett's decomposition an upper triangular (columns, columns) one, with chi(rows - k) at [k, k], is enough.
    """
    if rows < columns:
        return torch.from_numpy(random.standard_normal((samples, rows, columns)))
    diagonal = np.sqrt(random.chisquare(rows - np.arange(columns), (samples, columns)))
    above = torch.from_numpy(random.standard_normal((samples, columns, columns))).triu(1)
    return above + torch.from_numpy(diagonal).diag_embed()
