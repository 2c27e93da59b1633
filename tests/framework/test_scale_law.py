import numpy as np
import pytest
from scipy import integrate, stats

from skyfold.errors import ConfigError
from skyfold.sampling.laws.scale_law import GammaFactor, LogNormalFactor, Scale

DENSITIES = {
    "gamma": (GammaFactor.of(2.0, 0.5), stats.gamma(16, scale=1 / 8)),
    "log-normal": (LogNormalFactor(2.0, 0.3), stats.lognorm(0.3, scale=2.0)),
    "loose": (LogNormalFactor(2.0, 3.0), stats.lognorm(3.0, scale=2.0)),
}


@pytest.fixture(params=DENSITIES)
def pair(request):
    return DENSITIES[request.param]


def test_the_density_is_that_of_scipy(pair):
    law, values = Scale(np.ones(3), pair[0]), np.array([0.5, 1.5, 9.0])
    assert law.log_density(values, {}) == pytest.approx(np.sum(pair[1].logpdf(values)))


def test_draws_before_counts(pair, rng):
    drawn, unknowns = Scale(np.ones(20_000), pair[0]).simulate(rng)
    assert not unknowns
    assert stats.kstest(drawn, pair[1].cdf).pvalue > 1e-3


@pytest.mark.parametrize(("counts", "seen"), [(0, 0.0), (0, 30.0), (7, 3.0), (5000, 1000.0)])
def test_draws_given_counts(pair, counts, seen, rng):
    law = Scale(np.full(400, seen), pair[0])
    values, _ = law.start(np.full(400, 2.0), 0, rng)
    attributed, ranks = np.full(400, counts), []
    for _ in range(8):
        values, _, density = law.draw(attributed, values, {}, rng)
    assert density == pytest.approx(law.log_density(values, {}))

    def log_posterior(t):
        return pair[1].logpdf(np.exp(t)) + t + counts * t - seen * np.exp(t)

    t = np.linspace(-14, 14, 200_001)
    dense = np.exp(log_posterior(t) - np.max(log_posterior(t)))
    cdf = integrate.cumulative_trapezoid(dense, t, initial=0)
    ranks = np.interp(np.log(values), t, cdf / cdf[-1])
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("counts", "seen"), [(0, 0.0), (0, 30.0), (7, 3.0), (5000, 1000.0)])
def test_the_best_is_the_mode(pair, counts, seen):
    law = Scale(np.array([seen]), pair[0])
    best, _, _ = law.maximise(np.array([counts]), np.ones(1), {})

    def value(x):
        return pair[1].logpdf(x) + counts * np.log(x) - seen * x

    assert value(best[0]) >= max(value(best[0] * 1.001), value(best[0] / 1.001))


def test_an_improper_density_can_be_drawn_given_counts_only(rng):
    law = Scale(np.array([5.0]), GammaFactor(0.001, 0.0))
    drawn = np.array([law.draw(np.array([40]), np.ones(1), {}, rng)[0][0] for _ in range(4000)])
    assert stats.kstest(drawn, stats.gamma(40.001, scale=1 / 5).cdf).pvalue > 1e-3
    none, _, density = law.draw(np.array([0]), np.ones(1), {}, rng)
    assert none > 0
    assert np.isfinite(density)
    with pytest.raises(ConfigError, match="improper"):
        law.simulate(rng)
