"""Table 7's quantities: cases by hand, the paper's own numbers, and torch's full SVD."""

import math

import pytest
import torch
from torch.testing import assert_close

from analysis.linalg.amplify import amplification, exact_directions, leading_directions, projected_norms, random_norms
from analysis.linalg.singular import update_svd


def test_a_two_by_two_case_by_hand():
    # dW = 6 e2 e1^T, so U = e2, V = e1 and U^T W V = W[1, 0] = 3: the factor is 6 / 3
    W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = amplification(W, torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0], [1.5]]), scaling=2.0)
    assert found.weight_norm == pytest.approx(math.sqrt(30))
    assert found.update_norms.tolist() == pytest.approx([6.0])
    assert found.through_update.tolist() == pytest.approx([3.0])
    assert found.through_random.tolist() == pytest.approx([math.sqrt(30) / 2])
    assert found.factors.tolist() == pytest.approx([2.0])


def test_an_update_that_is_a_multiple_of_w_amplifies_by_that_multiple():
    W = torch.randn(6, 6, dtype=torch.float64)
    found = amplification(W, torch.eye(6).double(), W, scaling=2.5)
    assert_close(found.factors, torch.full((6,), 2.5).double())
    assert found.through_update[-1].item() == pytest.approx(found.weight_norm)


def test_every_k_is_the_norm_of_its_own_projection():
    W, A, B = torch.randn(15, 11), torch.randn(4, 11), torch.randn(15, 4)
    found = amplification(W, A, B, scaling=0.7)
    svd = torch.linalg.svd(0.7 * B.double() @ A.double())
    for k in range(1, 5):
        U, V = svd.U[:, :k], svd.Vh[:k].T
        assert found.through_update[k - 1].item() == pytest.approx((U.T @ W.double() @ V).norm().item(), rel=1e-5)
        assert found.update_norms[k - 1].item() == pytest.approx(svd.S[:k].norm().item())
    assert found.update_norms[-1].item() == pytest.approx((0.7 * B @ A).norm().item())


def test_directions_that_are_zero_do_not_count():
    W, A, B = torch.randn(15, 11), torch.randn(4, 11), torch.randn(15, 4)
    B[:, 1] = B[:, 0]
    found = amplification(W, A, B, scaling=0.7)
    svd = torch.linalg.svd(0.7 * B.double() @ A.double())
    through = (svd.U[:, :3].T @ W.double() @ svd.Vh[:3].T).norm().item()
    for values in (found.update_norms, found.through_update, found.through_random, found.factors):
        assert values.shape == (3,)
    assert found.through_update[-1].item() == pytest.approx(through, rel=1e-5)
    assert found.factors[-1].item() == pytest.approx(svd.S.norm().item() / through, rel=1e-5)
    assert found.through_random[-1].item() == pytest.approx(3 * W.norm().item() / math.sqrt(15 * 11))


def test_random_directions_agree_with_simulation():
    W = torch.randn(20, 12, dtype=torch.float64)
    U, V = (torch.linalg.qr(torch.randn(4000, d, 3, dtype=torch.float64)).Q for d in (20, 12))
    squares = (U.mT @ W @ V).square().sum((1, 2))
    assert squares.mean().sqrt().item() == pytest.approx(random_norms(W.norm().item(), 3, 20, 12)[-1].item(), rel=0.03)


def test_random_directions_agree_with_table_7():
    norms = random_norms(61.95, 64, 12288, 12288)  # ||W_q||_F of GPT-3's layer 48
    assert norms[[3, 63]].tolist() == pytest.approx([0.02, 0.33], abs=0.01)


def test_directions_of_w_itself_carry_its_singular_values():
    W = torch.randn(40, 30, dtype=torch.float64)
    top, S = exact_directions(W, 5), torch.linalg.svdvals(W)
    assert_close(top.norms, S[:5].square().cumsum(0).sqrt())
    assert_close(projected_norms(W, top.svd.U, top.svd.V), top.norms)
    assert top.error < 1e-13


def decaying(n_out: int, n_in: int) -> torch.Tensor:
    """A matrix with singular values 1 / k, as trained weights have a few large ones."""
    k = min(n_out, n_in)
    U, V = (torch.linalg.qr(torch.randn(n, k, dtype=torch.float64)).Q for n in (n_out, n_in))
    return U / torch.arange(1.0, k + 1) @ V.T


@pytest.mark.parametrize("shape", [(120, 80), (80, 120)])
def test_the_stated_error_of_randomised_directions_bounds_the_real_one(shape: tuple[int, int]):
    W, k = decaying(*shape), 8
    S = torch.linalg.svdvals(W)[:k]
    for iterations in (0, 1, 8):
        top = leading_directions(W, k, iterations=iterations)
        miss = (S - top.svd.S).max().item()
        assert miss >= -1e-12
        assert miss <= top.error * top.svd.S.norm().item() + 1e-12
    assert top.error < 1e-5
    assert_close(top.norms, S.square().cumsum(0).sqrt())
    assert leading_directions(W, k, iterations=0).error > 0.01


def test_randomised_directions_leave_the_random_numbers_of_others_alone():
    W = decaying(30, 30)
    torch.manual_seed(3)
    first = leading_directions(W, 4)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first.svd.S, leading_directions(W, 4).svd.S)


def test_the_product_of_thin_factors_and_w_are_in_the_same_units():
    W, A, B = torch.randn(9, 9), torch.randn(2, 9), torch.randn(9, 2)
    one, tenfold = amplification(W, A, B, 1.0), amplification(10 * W, A, B, 1.0)
    assert_close(one.factors, 10 * tenfold.factors, rtol=1e-5, atol=0)
    assert_close(amplification(W, A, B, -3.0).factors, 3 * one.factors)
    assert_close(one.update_norms, update_svd(A, B).S.square().cumsum(0).sqrt())


def test_an_update_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"dW is \(8, 6\) and W is \(6, 8\)"):
        amplification(torch.randn(6, 8), torch.randn(2, 6), torch.randn(8, 2), 1.0)
