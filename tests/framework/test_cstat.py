import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import xlogy
from scipy.stats import poisson

from skyfold.cstat import FEWEST, MOST, CStatistic, compare, cstat, expected


def brute(mu):
    """Mean and variance summed over all counts that have a chance."""
    n = np.arange(int(mu + 15 * np.sqrt(mu) + 40))
    chance, c = poisson.pmf(n, mu), 2 * (mu - n + xlogy(n, n / mu))
    mean = np.sum(chance * c)
    return mean, np.sum(chance * (c - mean) ** 2)


@given(st.floats(-13, 4))
def test_mean_and_variance_are_the_sums_over_the_poisson_distribution(decade):
    mu = 10**decade
    np.testing.assert_allclose(expected(mu), brute(mu), rtol=1e-8)


@pytest.mark.parametrize("mu", [FEWEST, 1e-3, 1.0, MOST])
def test_mean_and_variance_have_no_steps(mu):
    below, above = (expected(mu * (1 + side)) for side in (-1e-9, 1e-9))
    np.testing.assert_allclose(below, above, rtol=2e-8)


@pytest.mark.parametrize("mu", [0.02, 0.7, 3.0, 250.0])
def test_mean_and_variance_are_those_of_random_counts(mu, rng):
    drawn = cstat(rng.poisson(mu, 400_000), np.full(400_000, mu))
    mean, variance = expected(mu)
    assert drawn.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / drawn.size))
    spread = np.std((drawn - mean) ** 2)
    assert drawn.var() == pytest.approx(variance, abs=5 * spread / np.sqrt(drawn.size))


def test_limits():
    mu = np.array([0.0, 1e-300, 1e-10, 1e12])
    mean, variance = expected(mu)
    assert mean[0] == variance[0] == 0
    few, log = mu[1:3], -np.log(mu[1:3])
    np.testing.assert_allclose(mean[1:3], 2 * few * log, rtol=1e-8)
    np.testing.assert_allclose(variance[1:3], 4 * few * (log - 1) ** 2, rtol=1e-8)
    np.testing.assert_allclose([mean[3], variance[3]], [1, 2], rtol=1e-11)


def test_a_bin_of_about_one_count_is_worth_more_than_one_unit():
    mean, _ = expected(np.geomspace(0.1, 100, 200))
    assert 1.1 < mean.max() < 1.2


def test_shapes_are_kept_and_long_arrays_are_gone_through_in_pieces(rng):
    mu = 10 ** rng.uniform(-14, 4, (3, 5, 7001))
    mean, variance = expected(mu)
    assert mean.shape == variance.shape == mu.shape
    some = [(0, 0, 0), (1, 2, 3456), (2, 4, 7000)]
    for at in some:
        np.testing.assert_allclose((mean[at], variance[at]), expected(mu[at]), rtol=1e-12)


def test_the_statistic_itself():
    found = cstat(np.array([0, 5, 2]), np.array([2.0, 5.0, 1.0]))
    np.testing.assert_allclose(found, [4, 0, 2 * (1 - 2 + 2 * np.log(2))], atol=1e-14)
    assert np.isfinite(cstat(np.array([3]), np.array([0.0]))).all()


def test_single_precision_is_summed_in_double(rng):
    mu = rng.uniform(0.5, 2, 3_000_000).astype(np.float32)
    counts = rng.poisson(mu).astype(np.float32)
    single, double = compare(counts, mu), compare(counts.astype(float), mu.astype(float))
    assert single == double
    assert np.isfinite(cstat(np.ones(1, np.float32), np.zeros(1, np.float32))).all()


def test_true_models_lie_within_some_sigma(rng):
    mu = 10 ** rng.uniform(-3, 2, (40, 5000))
    found = [compare(rng.poisson(row), row) for row in mu]
    pulls = np.array([one.excess for one in found])
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert 0.6 < pulls.std() < 1.5
    together = sum(found[1:], found[0])
    assert together.value == pytest.approx(sum(one.value for one in found))
    assert together.sigma == pytest.approx(np.sqrt(sum(one.sigma**2 for one in found)))


def test_nothing_is_no_excess():
    assert CStatistic().excess == 0
    assert compare(np.zeros(3), np.zeros(3)).excess == 0
