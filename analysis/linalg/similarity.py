"""Similarity of two subspaces: phi(i, j) of section 7.2, its mean by chance, principal angles.

Shapes: V1 (d, rank1) and V2 (d, rank2) have orthonormal columns, best direction first. The paper takes the right
singular vectors of A (d = n_in; its appendix G says left, which is a slip); those of B are its left ones (d = n_out);
analysis.linalg.singular.update_svd has both of dW.

    phi(i, j) = ||V1[:, :i]^T V2[:, :j]||_F^2 / min(i, j)                        (equation 4)
    phi       = 1 - distance^2 / p,  p = min(rank1, rank2)                       (appendix G, its misprint mended)
"""

import torch
from torch import Tensor


def right_singular(A: Tensor) -> Tensor:
    """Right singular vectors of A (rank, n_in), most important first: (n_in, rank), fp64."""
    Q, R = torch.linalg.qr(A.double().T)    # (n_in, rank), (rank, rank)
    return Q @ torch.linalg.svd(R).U        # (n_in, rank)


def left_singular(B: Tensor) -> Tensor:
    """Left singular vectors of B (n_out, rank), most important first: (n_out, rank), fp64."""
    return right_singular(B.T)


def similarity(V1: Tensor, V2: Tensor) -> Tensor:
    """phi(i, j) for all i = 1..rank1, j = 1..rank2 at once, at [i - 1, j - 1]: (rank1, rank2), 0 none to 1 all."""
    check_same_space(V1, V2)
    return phi_of(V1.T @ V2)


def phi_of(product: Tensor) -> Tensor:
    """phi for all i, j from products V1^T V2 (..., rank1, rank2), by cumulative sums of their squares."""
    shared = product.square().cumsum(-2).cumsum(-1)  # (..., rank1, rank2): ||V1[:, :i]^T V2[:, :j]||_F^2
    return shared / smaller(*product.shape[-2:])


def expected_similarity(rank1: int, rank2: int, d: int) -> Tensor:
    """Mean of phi(i, j) for independent uniformly random subspaces of R^d: exactly max(i, j) / d, (rank1, rank2)."""
    i, j = _counts(rank1, rank2)
    return torch.maximum(i, j) / d


def smaller(rank1: int, rank2: int) -> Tensor:
    """min(i, j) for i = 1..rank1 and j = 1..rank2: (rank1, rank2)."""
    return torch.minimum(*_counts(rank1, rank2))


def _counts(rank1: int, rank2: int) -> tuple[Tensor, Tensor]:
    """i as a column and j as a row."""
    return torch.arange(1.0, rank1 + 1)[:, None].double(), torch.arange(1.0, rank2 + 1)[None, :].double()


def principal_angles(V1: Tensor, V2: Tensor) -> Tensor:
    """The p = min(rank1, rank2) principal angles between the two spans in radians, smallest first: (p,).

    Their sines come from what of one span is outside the other, so that small angles keep their digits.
    """
    check_same_space(V1, V2)
    if V1.shape[1] < V2.shape[1]:
        V1, V2 = V2, V1
    product = V1.T @ V2                                           # (rank1, p)
    cosines = torch.linalg.svdvals(product)                       # (p,) falling
    sines = torch.linalg.svdvals(V2 - V1 @ product).flip(0)       # (p,) rising
    return torch.atan2(sines, cosines)


def projection_distance(V1: Tensor, V2: Tensor) -> float:
    """Projection metric of Hamm & Lee (2008), sqrt(p - sum of squared cosines): 0 to sqrt(p)."""
    return principal_angles(V1, V2).sin().norm().item()


def check_same_space(V1: Tensor, V2: Tensor) -> None:
    """ValueError unless both have columns in one R^d."""
    if V1.shape[0] != V2.shape[0]:
        raise ValueError(f"subspaces of R^{V1.shape[0]} and of R^{V2.shape[0]} have no similarity")
