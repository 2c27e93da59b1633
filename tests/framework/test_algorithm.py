import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.algorithm import REFRESH, Proposal
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import NumericalError
from skyfold.geometry import Grid, Normalisations
from skyfold.matrices import Matrix
from skyfold.model import Component, Model


def random_data(seed, fixed=False, mask=None):
    rng = np.random.default_rng(seed)
    matrix, background = rng.random((30, 8)), rng.random(30) + 0.1
    counts = rng.poisson(matrix @ rng.gamma(1, 2, 8) + background)
    components = {
        "sky": Component(Grid((8,)), mask=mask),
        "background": Component(Normalisations(), fixed=fixed),
    }
    responses = {"sky": Matrix(matrix), "background": background}
    return BinnedData(counts, responses, components=components), matrix, background


def laps(algorithm, data, n):
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


@given(seed=st.integers(0, 2**32 - 1), fixed=st.booleans())
@settings(max_examples=25)
def test_plain_richardson_lucy_is_the_textbook(seed, fixed):
    data, matrix, background = random_data(seed, fixed)
    states = laps(RichardsonLucy(), data, 50)
    x, b = states[0].model["sky"].copy(), 1.0
    for state in states:
        np.testing.assert_allclose(state.model["sky"], x, rtol=1e-10)
        assert state.model["background"][0] == pytest.approx(b, rel=1e-10)
        ratio = data.full_counts / (matrix @ x + b * background)
        x = x * (matrix.T @ ratio) / matrix.sum(axis=0)
        b = b if fixed else b * (background @ ratio) / background.sum()


@given(seed=st.integers(0, 2**32 - 1), fixed=st.booleans(), masked=st.booleans())
def test_likelihood_never_falls(seed, fixed, masked):
    mask = np.arange(8) % 2 == 0 if masked else None
    data, *_ = random_data(seed, fixed, mask)
    levels = [state.log_likelihood for state in laps(RichardsonLucy(), data, 40)]
    assert np.diff(levels).min() >= -1e-9 * max(map(abs, levels))


@given(seed=st.integers(0, 2**32 - 1))
def test_expected_total_is_the_counts(seed):
    data, *_ = random_data(seed)
    for state in laps(RichardsonLucy(), data, 5)[1:]:
        assert state.expectation.total == pytest.approx(data.full_counts.sum(), rel=1e-12)


def test_masked_values_stay_zero():
    mask = np.arange(8) < 3
    data, *_ = random_data(2, mask=mask)
    assert not laps(RichardsonLucy(), data, 5)[-1].model["sky"][~mask].any()


def test_the_same_state_gives_the_same_step():
    data, *_ = random_data(4)
    algorithm = RichardsonLucy()
    state = laps(algorithm, data, 3)[-1]
    one, two = algorithm.step(state, data), algorithm.step(state, data)
    assert np.array_equal(one.model["sky"], two.model["sky"])
    assert one.log_likelihood == two.log_likelihood


def test_products_are_counted():
    data, *_ = random_data(4)
    assert laps(RichardsonLucy(), data, 5)[-1].products == 6


def test_an_expectation_handed_on_is_refreshed_now_and_then():
    class Drifting(RichardsonLucy):
        def m_step(self, state, data):
            proposal = super().m_step(state, data)
            return Proposal(
                proposal.values, data.forward(state.model.with_values(proposal.values)) * 1.01
            )

    data, *_ = random_data(4)
    states = laps(Drifting(), data, REFRESH)
    model, expectation = states[REFRESH].model, states[REFRESH].expectation
    np.testing.assert_allclose(expectation.observed, data.forward(model).observed)
    assert states[5].expectation.total == pytest.approx(1.01 * data.forward(states[5].model).total)


def test_nonsense_is_noticed():
    class Broken(RichardsonLucy):
        def m_step(self, state, data):
            return Proposal(super().m_step(state, data).values * np.nan)

    data, *_ = random_data(4)
    with pytest.raises(NumericalError, match="iteration 1: the log-likelihood is nan"):
        laps(Broken(), data, 1)


def test_start_expects_as_many_counts_as_there_are():
    data, *_ = random_data(6)
    model = Model.start(data)
    assert data.forward(model).total == pytest.approx(data.full_counts.sum())
    assert model["background"][0] == 1
    assert np.ptp(model["sky"]) == 0
    given = Model.start(data, sky=np.arange(8.0))
    assert list(given["sky"]) == list(range(8))
