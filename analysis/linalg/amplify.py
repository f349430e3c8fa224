"""The part of W in the directions of dW, and the factor by which dW amplifies it (section 7.3, table 7, appendix H.4).

Shapes: W (n_out, n_in); U (n_out, k) and V (n_in, k) have orthonormal columns, best direction first. Table 7 prints
||U^T W V||_F (as U^T W V^T) for U, V of dW, of W itself and of a random matrix. The factor is ||dW||_F / ||U^T W V||_F
with U, V of dW. Its rank is the number of directions that it determines: a singular value that is zero to rounding
has arbitrary ones, through which W would be seen at random.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.linalg.singular import SVD, determined, update_svd


@dataclass(frozen=True)
class Amplification:
    """Table 7 for one site and every k = 1..rank; the paper's numbers are the last ones."""

    weight_norm: float         # ||W||_F
    update_norms: Tensor       # (rank,) ||dW||_F of dW's first k directions; the last is the whole
    through_update: Tensor     # (rank,) ||U^T W V||_F, U and V the first k directions of dW
    through_random: Tensor     # (rank,) root mean square over random k-dimensional U and V, exact
    factors: Tensor            # (rank,) update_norms / through_update; inf where dW acts where W is zero


def amplification(W: Tensor, A: Tensor, B: Tensor, scaling: float) -> Amplification:
    """Amplification of W (n_out, n_in) by dW = scaling * B A; W's own SVD is not needed."""
    if (wanted := (B.shape[0], A.shape[1])) != W.shape:
        raise ValueError(f"dW is {tuple(wanted)} and W is {tuple(W.shape)}: they are not of one site")
    U, S, V = determined(update_svd(A, B, scaling))
    norms, through = S.square().cumsum(0).sqrt(), projected_norms(W, U, V)
    weight_norm = torch.linalg.vector_norm(W, dtype=torch.float64).item()
    return Amplification(weight_norm, norms, through, random_norms(weight_norm, len(S), *W.shape), norms / through)


def projected_norms(W: Tensor, U: Tensor, V: Tensor) -> Tensor:
    """||U[:, :k]^T W V[:, :k]||_F for k = 1..columns, (columns,): the products are in W's precision, the sums fp64."""
    core = U.to(W.dtype).T @ (W @ V.to(W.dtype))                  # (k, k)
    return core.double().square().cumsum(0).cumsum(1).diagonal().sqrt()


def random_norms(weight_norm: float, rank: int, n_out: int, n_in: int) -> Tensor:
    """Root mean square of ||U^T W V||_F over uniformly random k-dimensional U, V, k = 1..rank: (rank,).

    E[U U^T] = k / n_out I and E[V V^T] = k / n_in I, so it is k ||W||_F / sqrt(n_out n_in), exactly.
    """
    return torch.arange(1.0, rank + 1).double() * weight_norm / math.sqrt(n_out * n_in)


@dataclass(frozen=True)
class Leading:
    """W's first k singular directions, and how far from exact they are: ||W V - U S||_F / ||S||, rounding when exact.

    Each of S is within `error` * ||S|| of a singular value of W, and none is larger than the one it stands for.
    """

    svd: SVD
    error: float
    exact: bool   # of W's full SVD; else of subspace iteration

    @property
    def norms(self) -> Tensor:
        """||U^T W V||_F for the first 1..k directions of W: (k,), the largest that any U, V of k columns have."""
        return self.svd.S.double().square().cumsum(0).sqrt()


def leading_directions(W: Tensor, k: int, *, iterations: int = 8, oversampling: int = 10, seed: int = 0) -> Leading:
    """W's first k directions by randomised subspace iteration (Halko et al. 2011), for W too large for its SVD.

    More iterations make `error` smaller; each costs two products of W with k + oversampling columns.
    """
    width = min(k + oversampling, *W.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        U, S, V = torch.svd_lowrank(W, q=width, niter=iterations)
    return _leading(W, SVD(U[:, :k], S[:k], V[:, :k]), exact=False)


def exact_directions(W: Tensor, k: int) -> Leading:
    """W's first k directions by its full SVD."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return _leading(W, SVD(U[:, :k], S[:k], Vh[:k].T), exact=True)


def _leading(W: Tensor, svd: SVD, exact: bool) -> Leading:
    U, S, V = svd
    # W^T U - V S is zero by construction in svd_lowrank, or W V - U S when it works on W^T: take the larger
    residual = max((W @ V - U * S).norm().item(), (W.T @ U - V * S).norm().item())
    return Leading(svd, residual / (S.norm().item() or 1.0), exact)
