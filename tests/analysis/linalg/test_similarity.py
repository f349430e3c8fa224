"""phi, principal angles and the projection metric, beside the d x d product, loops over i and j, and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from torch import Tensor
from torch.testing import assert_close

from analysis.linalg.chance import null_similarity
from analysis.linalg.similarity import (
    expected_similarity,
    left_singular,
    principal_angles,
    projection_distance,
    right_singular,
    similarity,
)
from analysis.linalg.singular import update_svd

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(12, 20), st.integers(0, 10_000))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def basis(d: int, rank: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(d, rank, seed=seed)).Q


def naive(V1: Tensor, V2: Tensor) -> Tensor:
    """Equation 4 for each i and j apart."""
    phi = torch.zeros(V1.shape[1], V2.shape[1], dtype=torch.float64)
    for i in range(1, V1.shape[1] + 1):
        for j in range(1, V2.shape[1] + 1):
            phi[i - 1, j - 1] = torch.linalg.matrix_norm(V1[:, :i].T @ V2[:, :j]) ** 2 / min(i, j)
    return phi


@settings(max_examples=40, deadline=None)
@given(SHAPES)
def test_phi_of_a_and_of_b_and_of_dw_equals_the_naive_computation(shape: tuple[int, int, int, int]):
    rank1, rank2, d, seed = shape
    A1, B1 = normal(rank1, d, seed=seed), normal(d + 3, rank1, seed=seed + 1)
    A2, B2 = normal(rank2, d, seed=seed + 2), normal(d + 3, rank2, seed=seed + 3)
    for thin, full in (
        (right_singular, lambda A, B, rank: torch.linalg.svd(A).Vh[:rank].T),
        (left_singular, lambda A, B, rank: torch.linalg.svd(B).U[:, :rank]),
        (lambda A, B: update_svd(A, B, 0.5).V, lambda A, B, rank: torch.linalg.svd(0.5 * B @ A).Vh[:rank].T),
        (lambda A, B: update_svd(A, B, -2.0).U, lambda A, B, rank: torch.linalg.svd(-2.0 * B @ A).U[:, :rank]),
    ):
        args = {right_singular: (A1, A2), left_singular: (B1, B2)}.get(thin)
        got = similarity(thin(args[0]), thin(args[1])) if args else similarity(thin(A1, B1), thin(A2, B2))
        assert_close(got, naive(full(A1, B1, rank1), full(A2, B2, rank2)), rtol=0, atol=1e-9)


def test_phi_of_fp32_factors_equals_the_naive_computation_to_five_digits():
    A1, B1, A2, B2 = (normal(*shape, seed=seed).float()
                      for seed, shape in enumerate([(8, 96), (96, 8), (64, 96), (96, 64)]))
    full = [torch.linalg.svd(B @ A).Vh[:len(A)].T for A, B in ((A1, B1), (A2, B2))]
    assert_close(similarity(update_svd(A1, B1).V, update_svd(A2, B2).V), naive(*full), rtol=0, atol=1e-5)


def test_phi_is_one_for_equal_spans_and_invariant_to_rotations_within_them():
    A, other = normal(5, 30), basis(30, 4, seed=7)
    R = normal(5, 5, seed=1)
    V, rotated = right_singular(A), right_singular(R @ A)
    assert_close(similarity(V, rotated)[-1, -1].item(), 1.0)
    assert_close(similarity(V, other)[-1], similarity(rotated, other)[-1])  # i = 5: the whole span
    assert_close(similarity(V, V).diagonal(), torch.ones(5).double())
    assert similarity(V, rotated)[0, 0] < 0.999  # the order within the span does differ


def test_phi_is_zero_for_orthogonal_spans():
    Q = basis(20, 9)
    assert similarity(Q[:, :4], Q[:, 4:]).max() < 1e-25


def test_phi_is_symmetric_under_swapping_the_adapters():
    V1, V2 = basis(30, 4), basis(30, 7, seed=1)
    assert_close(similarity(V1, V2), similarity(V2, V1).T)


def test_phi_by_hand():
    V1, V2 = torch.eye(3).double()[:, :2], torch.tensor([[0.6, 0.0], [0.0, 1.0], [0.8, 0.0]]).double()
    assert_close(similarity(V1, V2), torch.tensor([[0.36, 0.36], [0.36, 0.68]]).double())


@settings(max_examples=40, deadline=None)
@given(SHAPES)
def test_appendix_g_identity_range_and_monotone_growth(shape: tuple[int, int, int, int]):
    rank1, rank2, d, seed = shape
    V1, V2 = basis(d, rank1, seed), basis(d, rank2, seed + 1)
    phi, p = similarity(V1, V2), min(rank1, rank2)
    # 1 - d^2 / p; the appendix prints (1 / p) (1 - d^2), which is negative here where d > 1
    assert_close(phi[-1, -1].item(), 1 - projection_distance(V1, V2) ** 2 / p, rtol=0, atol=1e-9)
    assert ((phi >= 0) & (phi <= 1 + 1e-12)).all()
    i, j = torch.arange(1, rank1 + 1)[:, None], torch.arange(1, rank2 + 1)[None]
    shared = phi * torch.minimum(i, j)  # sum of squared cosines: directions add to it, none takes away
    assert (shared.diff(dim=0) >= -1e-12).all()
    assert (shared.diff(dim=1) >= -1e-12).all()
    below, right = (i >= j)[:-1], (j >= i)[:, :-1]
    assert (phi.diff(dim=0)[below] >= -1e-12).all()  # the smaller subspace grows no more: phi itself rises
    assert (phi.diff(dim=1)[right] >= -1e-12).all()


@settings(max_examples=30, deadline=None)
@given(SHAPES)
def test_principal_angles_equal_scipys(shape: tuple[int, int, int, int]):
    rank1, rank2, d, seed = shape
    V1, V2 = basis(d, rank1, seed), basis(d, rank2, seed + 1)
    wanted = np.sort(subspace_angles(V1.numpy(), V2.numpy()))
    np.testing.assert_allclose(principal_angles(V1, V2).numpy(), wanted, atol=1e-9)


def test_small_angles_keep_their_digits():
    tilted = torch.tensor([[math.cos(1e-10)], [math.sin(1e-10)], [0.0]]).double()
    angle = principal_angles(torch.eye(3).double()[:, :1], tilted).item()
    assert angle == pytest.approx(1e-10, rel=1e-6)  # arccos of the cosine gives 0


def test_the_distance_of_orthogonal_spans_is_the_root_of_their_dimension():
    Q = basis(20, 9)
    assert projection_distance(Q[:, :4], Q[:, 4:]) == pytest.approx(2.0)


def test_the_expectation_for_random_subspaces_agrees_with_simulation():
    d, draws = 10, 3000
    Q = torch.linalg.qr(normal(draws, d, 5)).Q
    other = torch.eye(d).double()[:, :3]
    phi = torch.stack([naive(V, other) for V in Q[:300]]).mean(0)
    assert_close(phi, expected_similarity(5, 3, d), rtol=0, atol=0.05)
    assert_close(null_similarity(5, 3, d, samples=draws).mean(0), expected_similarity(5, 3, d), rtol=0, atol=0.015)


def test_subspaces_of_different_spaces_are_refused():
    with pytest.raises(ValueError, match=r"R\^12 and of R\^16 have no similarity"):
        similarity(basis(12, 2), basis(16, 2))


def test_a_single_direction_has_one_phi():
    assert similarity(right_singular(normal(1, 9)), right_singular(normal(1, 9, seed=1))).shape == (1, 1)
