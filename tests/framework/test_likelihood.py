import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.likelihood import Damped, Poisson
from skyfold.matrices import Matrix
from skyfold.model import Model
from skyfold.pixels import Diagonal


@given(seed=st.integers(0, 2**32 - 1), damped=st.booleans())
def test_ratio_is_the_slope(seed, damped):
    rng = np.random.default_rng(seed)
    counts, e = rng.poisson(3.0, 20).astype(float), rng.gamma(3.0, 1.0, 20) + 0.1
    weight = rng.integers(0, 2, 20).astype(float)
    counts *= weight
    likelihood = Damped(2.0) if damped else Poisson()
    ratio, _ = likelihood.evaluate(counts, e, weight, 0.0, 0.0)
    direction, h = rng.standard_normal(20), 1e-6

    def value(step):
        moved = e + step * direction
        return likelihood.evaluate(counts, moved, weight, float(weight @ moved), 0.0)[1]

    numeric = (value(h) - value(-h)) / (2 * h)
    assert ratio @ direction - weight @ direction == pytest.approx(numeric, rel=1e-5, abs=1e-5)


def test_damped_is_poisson_where_data_and_expectation_disagree():
    counts, e, weight = np.array([100.0]), np.array([20.0]), np.ones(1)
    damped = Damped(3.0).evaluate(counts, e, weight, 20.0, 0.0)
    plain = Poisson().evaluate(counts, e, weight, 20.0, 0.0)
    assert damped[0] == pytest.approx(plain[0])
    other = np.array([21.0])
    gain = Damped(3.0).evaluate(counts, other, weight, 21.0, 0.0)[1] - damped[1]
    assert gain == pytest.approx(Poisson().evaluate(counts, other, weight, 21.0, 0.0)[1] - plain[1])


def test_damped_ignores_small_differences():
    ratio, _ = Damped(3.0).evaluate(np.array([22.0]), np.array([20.0]), np.ones(1), 20.0, 0.0)
    assert ratio[0] == pytest.approx(1.0, abs=1e-4)


def test_damping_keeps_flat_skies_flat(rng):
    kernel = np.exp(-0.5 * (np.subtract.outer(np.arange(60), np.arange(60)) / 2.0) ** 2)
    counts = rng.poisson(50.0, 60)
    data = BinnedData(counts, {"sky": Matrix(kernel / kernel.sum(axis=0)) @ Diagonal(np.ones(60))})

    def roughness(data):
        algorithm = RichardsonLucy()
        state = algorithm.start(data, Model.start(data))
        for _ in range(200):
            state = algorithm.step(state, data)
        return state.model["sky"][10:-10].std()

    assert roughness(data.with_likelihood(Damped(4.0))) < 0.3 * roughness(data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_damping_where_nothing_is_expected_or_seen(dtype):
    counts, e = np.array([0, 4], dtype), np.array([0, 2], dtype)
    ratio, value = Damped(1.0).evaluate(counts, e, np.ones(2, dtype), 2.0, 0.0)
    assert np.all(np.isfinite(ratio))
    assert np.isfinite(value)
