"""EM with momentum: never down, within bounds, faster than without."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold import checkpoint
from skyfold.algorithms.momentum_em import KEPT, MomentumEM
from skyfold.algorithms.richardson_lucy import RichardsonLucy, expected_values
from skyfold.binned import BinnedData
from skyfold.geometry import Grid, Normalisations
from skyfold.matrices import Matrix
from skyfold.model import Component, Model

seeds = st.integers(0, 2**32 - 1)


def problem(seed, dtype=np.float64, level=5.0, fixed=True, high=float("inf"), masked=False):
    rng = np.random.default_rng(seed)
    matrix = (rng.random((40, 12)) ** 3).astype(dtype)
    matrix[:, 3] = 0
    background = rng.random(40).astype(dtype) + dtype(0.1)
    counts = rng.poisson(matrix @ rng.gamma(0.3, level, 12) + background)
    counts[0] += 1
    mask = np.arange(12) % 3 > 0 if masked else None
    components = {
        "sky": Component(Grid((12,)), mask=mask, bounds=(0.0, high)),
        "background": Component(Normalisations(), fixed=fixed),
    }
    responses = {"sky": Matrix(matrix), "background": background}
    return BinnedData(counts, responses, components=components, dtype=dtype)


def run(data, laps, algorithm=None):
    algorithm = algorithm or MomentumEM()
    states = [algorithm.start(data, Model.start(data))]
    for _ in range(laps):
        states.append(algorithm.step(states[-1], data))
    return states


@given(
    seed=seeds,
    dtype=st.sampled_from([np.float64, np.float32]),
    level=st.sampled_from([0.1, 5.0, 500.0]),
    fixed=st.booleans(),
    high=st.sampled_from([float("inf"), 4.0]),
    masked=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_likelihood_never_falls_and_values_stay_where_they_may_be(
    seed, dtype, level, fixed, high, masked
):
    data = problem(seed, dtype, level, fixed, high, masked)
    states = run(data, 40)
    eps = float(np.finfo(dtype).eps)
    for before, after in pairwise(states):
        sums = 1 + abs(before.log_likelihood) + before.expectation.total
        assert after.log_likelihood >= before.log_likelihood - 2 * eps * sums
    sky = states[-1].model["sky"]
    assert sky.dtype == dtype
    assert np.all((sky >= 0) & (sky <= high))
    assert not masked or not sky[::3].any()


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_the_limit_is_that_of_em(seed):
    data = problem(seed)
    fast, slow = run(data, 150)[-1], run(data, 300, RichardsonLucy())[-1]
    assert fast.log_likelihood >= slow.log_likelihood - 0.05


def test_a_lap_begins_further_on_along_the_way_of_the_last_two():
    data = problem(3)
    one, two, three = run(data, 3)[1:]
    landed = {"x": expected_values(two, data)["sky"], "last": two.landed["sky"]}
    beta = three.notes["momentum"]
    assert 0 < beta < 1
    carried = landed["x"] + beta * (landed["x"] - landed["last"])
    np.testing.assert_allclose(three.model["sky"], np.maximum(carried, KEPT * landed["x"]))
    np.testing.assert_array_equal(one.model["sky"], one.landed["sky"])


def test_momentum_is_given_up_where_it_leads_down_and_that_costs_half_a_product():
    data = problem(8, level=50.0)
    states = run(data, 200)
    stops = [s for s in states[2:] if s.notes["momentum"] == 0]
    assert stops
    for state in stops:
        before = states[state.iteration - 1]
        assert state.products - before.products == 1.5
        np.testing.assert_array_equal(state.model["sky"], expected_values(before, data)["sky"])


def test_it_is_faster_than_em():
    data = problem(5, level=50.0)
    slow, fast = run(data, 400, RichardsonLucy()), run(data, 150)
    top, start = fast[-1].log_likelihood, fast[0].log_likelihood
    target = top - 1e-4 * (top - start)

    def spent(states):
        return next(s.products for s in states if s.log_likelihood >= target)

    assert spent(fast) < 0.5 * spent(slow)


@pytest.mark.parametrize("when", [0, 1, 17])
def test_a_resumed_run_is_bit_identical(when, tmp_path):
    data = problem(6)
    states = run(data, 35)
    checkpoint.save(tmp_path / "c.npz", states[when], [])
    state, _ = checkpoint.load(tmp_path / "c.npz", states[0])
    algorithm = MomentumEM()
    for _ in range(35 - when):
        state = algorithm.step(state, data)
    assert state.log_likelihood == states[-1].log_likelihood
    assert np.array_equal(state.model["sky"], states[-1].model["sky"])
