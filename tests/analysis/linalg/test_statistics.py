"""Means with intervals, and "the top direction is shared, the rest is noise" as a number."""

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.linalg.similarity import similarity
from analysis.linalg.statistics import mean_interval, shared_directions


def pairs(shared: int, rank: int = 6, d: int = 200, sites: int = 10, noise: float = 0.0) -> Tensor:
    """phi of pairs of random subspaces with the same first `shared` directions."""
    random, phis = np.random.default_rng(5), []
    for _ in range(sites):
        first, second, common = (random.standard_normal((d, n)) for n in (rank - shared, rank - shared, shared))
        noisy = common + noise * random.standard_normal(common.shape)
        V1, V2 = (np.linalg.qr(np.hstack(parts)).Q for parts in ((common, first), (noisy, second)))
        phis.append(similarity(torch.from_numpy(V1), torch.from_numpy(V2)))
    return torch.stack(phis)


@pytest.mark.parametrize("shared", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_shared_directions_are_counted(shared: int, noise: float):
    assert shared_directions(pairs(shared, noise=noise), d=200).leading == shared


def test_one_shared_direction_lifts_phi_of_more_but_not_their_gain():
    found = shared_directions(pairs(1), d=200)
    assert (found.phi > found.phi_chance).all()
    assert found.gain[0].item() == pytest.approx(1.0)
    assert (found.gain[1:] < 0.2).all()
    assert found.sites == 10


def test_random_subspaces_pass_as_shared_as_often_as_the_level_says():
    phis = torch.cat([pairs(0, rank=1, d=50, sites=400)])
    passed = np.mean([shared_directions(phi[None], d=50, samples=300).leading for phi in phis])
    assert passed == pytest.approx(0.05, abs=0.03)


def test_the_gain_of_random_subspaces_is_as_stated():
    gain = torch.arange(1, 7).double() * pairs(0, sites=400).mean(0).diagonal()
    gain = gain.diff(prepend=torch.zeros(1).double())
    assert gain.numpy() == pytest.approx((2 * np.arange(1, 7) - 1) / 200, rel=0.2)


def test_the_quantiles_by_chance_are_those_of_simulated_pairs():
    steps = torch.arange(1, 7).double() * pairs(0, sites=4000).diagonal(dim1=1, dim2=2).reshape(400, 10, 6).mean(1)
    gains = steps.diff(dim=1, prepend=torch.zeros(400, 1).double())
    found = shared_directions(pairs(1), d=200, samples=4000)
    for got, values in ((found.gain_chance, gains), (found.phi_chance, steps / torch.arange(1, 7))):
        assert got.numpy() == pytest.approx(np.quantile(values.numpy(), 0.95, axis=0), rel=0.12)


def test_an_interval_covers_the_mean_of_the_population_as_often_as_its_level_says():
    random = np.random.default_rng(0)
    intervals = [mean_interval(random.normal(3, 1, 24).tolist(), resamples=400) for _ in range(200)]
    covered = np.mean([found.low <= 3 <= found.high for found in intervals])
    assert covered == pytest.approx(0.93, abs=0.05)  # the percentile bootstrap is a little short at n = 24


def test_an_interval_over_groups_covers_the_mean_where_values_of_a_group_are_alike():
    random = np.random.default_rng(0)
    layers, covered = [layer for _ in range(4) for layer in range(12)], {"layers": 0, "values": 0}
    for _ in range(200):  # four runs in twelve layers: the layer decides nearly all of a value
        values = (random.normal(3, 1, 12) + random.normal(0, 0.1, (4, 12))).flatten().tolist()
        for name, groups in (("layers", layers), ("values", None)):
            found = mean_interval(values, groups=groups, resamples=300)
            covered[name] += found.low <= 3 <= found.high
    assert covered["layers"] / 200 == pytest.approx(0.92, abs=0.05)  # n = 12
    assert covered["values"] / 200 < 0.75


def test_a_group_counts_once():
    found = mean_interval([1.0, 2.0, 3.0, 10.0], groups=["a", "a", "a", "b"])
    assert (found.mean, found.n) == (6.0, 2)
    assert mean_interval([1.0, 2.0], groups=[0, 0]) == mean_interval([1.5])
    means = mean_interval([2.0, 10.0])
    assert (found.low, found.high) == (means.low, means.high)


def test_a_mean_of_one_has_no_interval_and_a_seed_gives_the_same_one():
    assert mean_interval([0.5]) == mean_interval([0.5], seed=1)
    assert (mean_interval([0.5]).mean, mean_interval([0.5]).low, mean_interval([0.5]).n) == (0.5, None, 1)
    assert mean_interval([1.0, 2.0, 4.0]) == mean_interval([1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
