"""The spectrum of one update: singular values of dW = scaling * B A, effective and stable rank, energy by direction.

Shapes: A (rank, n_in), B (n_out, rank), dW (n_out, n_in), which is never formed: QR of the thin factors leaves a
rank x rank matrix with dW's singular values S (rank,). Everything is computed in fp64. Directions whose singular
value is zero to rounding (see numerical_rank) are orthonormal but otherwise arbitrary, and `determined` cuts them.
A rank above n_in or n_out counts as the smaller of these: dW has no more directions.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class SVD(NamedTuple):
    """U (n_out, rank) and V (n_in, rank) with orthonormal columns, S (rank,) falling: the matrix is U diag(S) V^T."""

    U: Tensor
    S: Tensor
    V: Tensor


def update_svd(A: Tensor, B: Tensor, scaling: float = 1.0) -> SVD:
    """Thin SVD of dW = scaling * B A."""
    Q_in, R_in = torch.linalg.qr(A.double().T)                          # (n_in, rank), (rank, rank)
    Q_out, R_out = torch.linalg.qr(B.double())                          # (n_out, rank), (rank, rank)
    U, S, Vh = torch.linalg.svd(R_out @ R_in.T, full_matrices=False)    # all (rank, rank)
    return SVD(Q_out @ U, abs(scaling) * S, Q_in @ Vh.T * (1 if scaling >= 0 else -1))


def determined(svd: SVD) -> SVD:
    """The directions that the matrix determines: without those whose singular value is zero to rounding."""
    k = numerical_rank(svd.S)
    return SVD(svd.U[:, :k], svd.S[:k], svd.V[:, :k])


def numerical_rank(S: Tensor) -> int:
    """Number of singular values that differ from zero by more than fp32's rounding of the largest."""
    smallest = S.max() * torch.finfo(torch.float32).eps
    return int((smallest < S).sum())


def effective_rank(S: Tensor) -> float:
    """exp(entropy) of the singular values as shares of their sum (Roy & Vetterli 2007): 1 to rank."""
    shares = S / S.sum()
    return torch.special.entr(shares).sum().exp().item()


def stable_rank(S: Tensor) -> float:
    """||dW||_F^2 / ||dW||_2^2: 1 to rank, and insensitive to small singular values."""
    return (S.square().sum() / S.max().square()).item()


def energy_shares(S: Tensor) -> Tensor:
    """Share of ||dW||_F^2 in the first k directions, for k = 1..rank: (rank,)."""
    energy = S.square().cumsum(0)
    return energy / energy[-1]
