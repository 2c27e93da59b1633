"""The compiled draws against scipy's distributions and numpy's Philox; all seeds are fixed."""

import numpy as np
import pytest
from scipy import stats

from skyfold import _kernels

KEY = (20_261_121, 7)


def fits(sample, law):
    """The p-value of integers against a discrete law: chi-square over about a hundred cells."""
    edges = np.unique(law.ppf(np.linspace(0.002, 0.998, 100)))
    expected = np.diff(law.cdf(edges), prepend=0, append=1)
    cells = np.searchsorted(edges, sample)  # edges belong to the cell below
    found = np.bincount(cells, minlength=len(edges) + 1)
    few = expected * len(sample) < 5
    found = np.append(found[~few], found[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    if expected[-1] == 0:
        found, expected = found[:-1], expected[:-1]
    return stats.chisquare(found, expected / expected.sum() * len(sample)).pvalue


def test_the_block_is_philox():
    key, counter = [1, 2**64 - 5], [2**63 + 1, 4, 9, 2]
    theirs = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64))
    counter[0] += 1  # numpy counts on before it makes a block
    assert _kernels.philox(counter, key) == theirs.random_raw(4).tolist()


def test_numbers_do_not_depend_on_how_many_are_drawn():
    few, many = (_kernels.draw_normal(KEY, size) for size in (1500, 5000))
    np.testing.assert_array_equal(few, many[:1500])
    assert not np.array_equal(many[:1024], many[1024:2048])
    assert not np.array_equal(few, _kernels.draw_normal((KEY[0], 8), 1500))


@pytest.mark.parametrize(
    ("draw", "law"),
    [
        (_kernels.draw_uniform, stats.uniform),
        (_kernels.draw_normal, stats.norm),
        (_kernels.draw_exponential, stats.expon),
    ],
    ids=["uniform", "normal", "exponential"],
)
def test_standard_draws(draw, law):
    sample = draw(KEY, 300_000)
    assert stats.kstest(sample, law.cdf).pvalue > 1e-3
    edges = law.ppf([1e-5, 1e-4, 1e-3])  # the tails, which a KS test hardly sees
    for tail, found in ((1e-5, sample < edges[0]), (1e-4, sample > law.isf(1e-4))):
        assert stats.binomtest(int(found.sum()), sample.size, tail).pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.05, 0.3, 0.999, 1.0, 1.7, 12.5, 1e4])
def test_gamma(shape):
    assert (
        stats.kstest(_kernels.draw_gamma(KEY, 100_000, shape), stats.gamma(shape).cdf).pvalue > 1e-3
    )


@pytest.mark.parametrize("shape", [1e-6, 1e-3, 0.2, 3.0])
def test_the_logarithm_of_gamma_is_finite_for_any_shape(shape):
    sample = _kernels.draw_log_gamma(KEY, 50_000, shape)
    assert np.all(np.isfinite(sample))
    assert stats.kstest(sample, stats.loggamma(shape).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [1e-4, 0.05, 0.9, 1.0, 1.5, 40.0, 1e6])
def test_gammas_of_a_batch(shape):
    shapes = np.where(np.arange(90_003) % 3 == 0, shape, 2 * shape)
    gammas, logs = _kernels.draw_gammas(KEY, shapes)
    for mine in (shape, 2 * shape):
        chosen = logs[shapes == mine]
        assert stats.kstest(chosen, stats.loggamma(mine).cdf).pvalue > 1e-3
    assert np.all(np.isfinite(logs))
    seen = logs > -690
    np.testing.assert_allclose(np.log(gammas[seen]), logs[seen], rtol=1e-12, atol=1e-12)
    assert not gammas[logs < -745].any()


@pytest.mark.parametrize("mean", [1e-3, 0.7, 9.9, 10.0, 34.5, 2e3, 1e6])
def test_poisson(mean):
    assert fits(_kernels.draw_poisson(KEY, 50_000, mean), stats.poisson(mean)) > 1e-3


def test_poisson_of_huge_means():
    mean = 1e14
    sample = (_kernels.draw_poisson(KEY, 50_000, mean) - int(mean)) / np.sqrt(mean)
    assert stats.kstest(sample, stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("n", "p"),
    [
        (1, 0.3),
        (7, 0.5),
        (40, 0.1),
        (40, 0.95),
        (25, 0.4),
        (300, 0.5),
        (10_000, 0.9),
        (10**9, 3e-9),
        (10**9, 0.25),
    ],
)
def test_binomial(n, p):
    assert fits(_kernels.draw_binomial(KEY, 50_000, n, p), stats.binom(n, p)) > 1e-3


def test_certain_draws():
    assert not _kernels.draw_poisson(KEY, 10, 0.0).any()
    assert not _kernels.draw_binomial(KEY, 10, 5, 0.0).any()
    assert (_kernels.draw_binomial(KEY, 10, 5, 1.0) == 5).all()
