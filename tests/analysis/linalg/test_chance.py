"""Random subspaces: scipy's exact distribution, and numpy's QR of Gaussian matrices."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import subspace_angles

from analysis.linalg import chance
from analysis.linalg.chance import null_diagonal, null_similarity, null_smallest_angle


def test_a_single_direction_follows_the_beta_distribution():
    for d, j in ((5, 1), (768, 1), (768, 8), (12, 4)):
        draws = null_similarity(1, j, d, samples=4000)[:, 0, -1].numpy()
        assert stats.kstest(draws, stats.beta(j / 2, (d - j) / 2).cdf).pvalue > 0.001


@pytest.mark.parametrize(("rank1", "rank2", "d"), [(3, 5, 40), (5, 3, 40), (4, 4, 6), (4, 6, 7)])
def test_the_joint_distribution_is_that_of_orthonormalised_gaussians(rank1: int, rank2: int, d: int):
    random = np.random.default_rng(1)
    U, V = (np.linalg.qr(random.standard_normal((4000, d, rank))).Q for rank in (rank1, rank2))
    squared = (U.transpose(0, 2, 1) @ V) ** 2
    draws = null_similarity(rank1, rank2, d, samples=4000)
    for i, j in ((1, 1), (2, 2), (rank1, rank2), (2, rank2)):
        wanted = squared[:, :i, :j].sum((1, 2)) / min(i, j)
        assert stats.ks_2samp(draws[:, i - 1, j - 1].numpy(), wanted).pvalue > 0.001
    # two cells of one draw belong together
    wanted = squared[:, :2, :2].sum((1, 2)) / 2 - squared[:, 0, 0]
    assert stats.ks_2samp((draws[:, 1, 1] - draws[:, 0, 0]).numpy(), wanted).pvalue > 0.001


def test_the_mean_over_sites_has_the_same_mean_and_a_smaller_spread():
    one, many = (null_diagonal(4, 64, sites, samples=2000)[:, -1] for sites in (1, 16))
    assert one.mean().item() == pytest.approx(many.mean().item(), abs=0.002)
    assert one.std().item() == pytest.approx(4 * many.std().item(), rel=0.1)


@pytest.mark.parametrize("sites", [1, 5, 200])
def test_the_mean_over_sites_is_that_of_as_many_pairs(sites: int):
    wanted = null_similarity(3, 3, 20, samples=500 * sites, seed=1).unflatten(0, (500, sites)).mean(1)
    found = null_diagonal(3, 20, sites, samples=4000)                          # (samples, 3)
    assert found.mean(0).numpy() == pytest.approx(np.arange(1, 4) / 20, rel=0.03)
    gains = []
    for each in (found, wanted.diagonal(dim1=1, dim2=2)):
        gains.append((2 * each[:, 1] - each[:, 0]).numpy())                    # what the second direction adds
    for i in range(3):
        assert stats.ks_2samp(found[:, i].numpy(), wanted[:, i, i].numpy()).pvalue > 0.001
    assert stats.ks_2samp(*gains).pvalue > 0.001


def test_the_cost_does_not_grow_with_many_sites(monkeypatch: pytest.MonkeyPatch):
    drawn: list[int] = []
    products = chance._products

    def counted(random: np.random.Generator, samples: int, *shape: int) -> torch.Tensor:
        drawn.append(samples)
        return products(random, samples, *shape)

    monkeypatch.setattr(chance, "_products", counted)
    null_diagonal(2, 20, 500, samples=10)
    assert sum(drawn) == 10 * chance.POOL


def test_a_seed_gives_the_same_draws():
    assert torch.equal(null_similarity(2, 3, 50, samples=5), null_similarity(2, 3, 50, samples=5))
    assert not torch.equal(null_similarity(2, 3, 50, samples=5), null_similarity(2, 3, 50, samples=5, seed=1))


def test_more_directions_than_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"ranks 4 and 9 are not both in 1\.\.8"):
        null_similarity(4, 9, 8)


def test_whole_space_shares_everything():
    assert null_similarity(3, 8, 8, samples=4)[:, :, -1].numpy() == pytest.approx(np.ones((4, 3)))


@pytest.mark.parametrize(("rank1", "rank2", "d"), [(1, 1, 20), (3, 5, 30), (5, 3, 30), (4, 4, 7)])
def test_the_smallest_angle_by_chance_is_that_of_simulated_subspaces(rank1: int, rank2: int, d: int):
    random = np.random.default_rng(3)
    V1, V2 = (np.linalg.qr(random.standard_normal((800, d, rank))).Q for rank in (rank1, rank2))
    expected = np.mean([subspace_angles(*pair).min() for pair in zip(V1, V2, strict=True)])
    assert null_smallest_angle(rank1, rank2, d) == pytest.approx(expected, rel=0.05, abs=1e-6)
