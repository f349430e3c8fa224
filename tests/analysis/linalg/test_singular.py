"""Singular values of dW, beside torch's SVD of the n_out x n_in product, and ranks by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from analysis.linalg.singular import determined, effective_rank, energy_shares, numerical_rank, stable_rank, update_svd


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(8, 20), st.integers(8, 20), st.floats(-3, 3).filter(lambda x: abs(x) > 0.01),
       st.integers(0, 10_000))
def test_the_thin_svd_is_that_of_the_product(rank: int, n_in: int, n_out: int, scaling: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(rank, n_in, generator=generator, dtype=torch.float64)
    B = torch.randn(n_out, rank, generator=generator, dtype=torch.float64)
    U, S, V = update_svd(A, B, scaling)
    assert_close(S, torch.linalg.svdvals(scaling * B @ A)[:rank])
    assert_close(U * S @ V.T, scaling * B @ A)
    assert_close(U.T @ U, torch.eye(rank).double())
    assert_close(V.T @ V, torch.eye(rank).double())


def test_ranks_of_equal_and_of_single_singular_values():
    equal, single = torch.full((5,), 0.3).double(), torch.tensor([2.0, 0.0, 0.0]).double()
    assert (effective_rank(equal), stable_rank(equal), numerical_rank(equal)) == pytest.approx((5, 5, 5))
    assert (effective_rank(single), stable_rank(single), numerical_rank(single)) == pytest.approx((1, 1, 1))


def test_ranks_and_energy_by_hand():
    S = torch.tensor([3.0, 1.0]).double()
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(S) == pytest.approx(math.exp(entropy))
    assert stable_rank(S) == pytest.approx(10 / 9)
    assert_close(energy_shares(S), torch.tensor([0.9, 1.0]).double())


def test_a_dead_direction_lowers_the_numerical_rank():
    A, B = torch.randn(4, 12), torch.randn(9, 4)
    B[:, 2] = B[:, 1]
    A[2] = A[1]
    assert numerical_rank(update_svd(A, B).S) == 3
    U, S, V = determined(update_svd(A, B))
    assert (U.shape, S.shape, V.shape) == ((9, 3), (3,), (12, 3))
    assert_close(U * S @ V.T, (B.double() @ A.double()))


@pytest.mark.parametrize(("n_in", "n_out"), [(12, 3), (3, 12), (3, 2)])
def test_a_rank_above_a_side_of_the_matrix_has_as_many_directions_as_that_side(n_in: int, n_out: int):
    A, B = torch.randn(5, n_in).double(), torch.randn(n_out, 5).double()
    U, S, V = update_svd(A, B)
    k = min(n_in, n_out)
    assert (U.shape, S.shape, V.shape) == ((n_out, k), (k,), (n_in, k))
    assert_close(U * S @ V.T, B @ A)


def test_the_authors_updates_have_their_known_spectra(shared):
    state = torch.load(shared / "adapters" / "roberta_base_lora_mnli.bin", map_location="cpu", weights_only=True)
    query, value = (f"roberta.encoder.layer.{where}.lora_" for where in
                    ("11.attention.self.query", "5.attention.self.value"))
    S = update_svd(state[query + "A"], state[query + "B"]).S
    assert_close(S[:3], torch.tensor([6.37, 0.52, 0.09]).double(), rtol=0, atol=0.005)
    assert stable_rank(S) < 1.01
    assert effective_rank(S) < 1.7
    S = update_svd(state[value + "A"], state[value + "B"]).S
    assert_close(S[[0, 7]], torch.tensor([2.43, 0.68]).double(), rtol=0, atol=0.005)
    assert effective_rank(S) > 6
