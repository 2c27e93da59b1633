"""The search along a line, on lines whose summit is known and on random data."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from skyfold.binned import BinnedData
from skyfold.joint import JointData
from skyfold.likelihood import Damped
from skyfold.linesearch import FLAT, best_step, search
from skyfold.matrices import Matrix

seeds = st.integers(0, 2**32 - 1)


def found(value, slope, bend=lambda step: 0.0, longest=10.0):
    data = SimpleNamespace(along=lambda here, direction, a: (value(a), slope(a), bend(a)))
    return search(data, None, None, longest)


@given(st.floats(1e-3, 1e4), st.floats(0.02, 9.9), st.booleans())
def test_the_top_of_a_parabola_is_found_from_either_side(height, top, bent):
    place = found(
        lambda a: height * (a - a * a / (2 * top)),
        lambda a: height * (1 - a / top),
        lambda a: height / top if bent else 0.0,
    )
    assert place.step == pytest.approx(top, rel=2e-3)
    assert place.rise == pytest.approx(0.5 * height * top, rel=1e-4)


@given(st.floats(0.1, 9.0), st.floats(0.01, 2.0), st.booleans())
def test_the_slope_at_the_end_is_small(top, sharp, bent):
    def slope(a):
        return 1 / (a + sharp) - 1 / (top + sharp)

    step = found(
        lambda a: np.log(a + sharp) - a / (top + sharp),
        slope,
        lambda a: 1 / (a + sharp) ** 2 if bent else 0.0,
    ).step
    assert abs(slope(step)) <= FLAT * slope(0)


@pytest.mark.parametrize("longest", [10.0, 1e300])
def test_a_fall_from_the_start_is_no_step_and_a_rise_to_the_end_all_of_it(longest):
    assert found(lambda a: -a, lambda a: -1.0, longest=longest) == (0, 0)
    assert found(lambda a: a, lambda a: 1.0, longest=longest) == (longest, longest)


def test_what_is_impossible_is_not_entered():
    """The domain ends at 1e-3, far before the first guess, and the summit just before it."""

    def inside(a, value):
        return value if a < 1e-3 else -inf

    step = found(
        lambda a: inside(a, a + 1e-6 * np.log1p(-min(a, 9.99e-4) / 1e-3)),
        lambda a: inside(a, 1 - 1e-6 / (1e-3 - a) if a < 1e-3 else 0),
    ).step
    assert step == pytest.approx(1e-3 - 1e-6, rel=1e-3)


def line(seed, joint=False, likelihood=None, dtype=np.float64):
    """Data, an expectation and a direction; some bins are empty, some nearly dark."""
    rng = np.random.default_rng(seed)
    matrix = rng.gamma(0.3, 1.0, (40, 6)).astype(dtype) + dtype(1e-6)
    counts = rng.poisson(matrix @ rng.gamma(0.5, 4, 6))
    counts[0] += 1
    data = BinnedData(counts, {"sky": Matrix(matrix)}, likelihood=likelihood, dtype=dtype)
    data = JointData(data.split(2)) if joint else data
    here = data.forward({"sky": rng.gamma(1, 2, 6).astype(dtype) + dtype(0.01)})
    along = data.forward({"sky": rng.standard_normal(6).astype(dtype)})
    return data, here, along


@given(seed=seeds, joint=st.booleans())
@settings(deadline=None)
def test_value_slope_and_bend_belong_together(seed, joint):
    data, here, along = line(seed, joint)
    held = data.counts > 0
    middle = 0.5 * np.min(here.observed[held] / np.maximum(np.abs(along.observed[held]), 1e-9))
    h = 1e-4 * middle
    below, value, above = (data.along(here, along, a) for a in (middle - h, middle, middle + h))
    assert value[0] == pytest.approx(data.log_likelihood(here + along * middle), rel=1e-10)
    size = abs(value[1]) + value[2] * middle + 1e-6 * abs(value[0]) / middle
    assert abs((above[0] - below[0]) / (2 * h) - value[1]) <= 1e-4 * size
    assert (below[1] - above[1]) / (2 * h) == pytest.approx(value[2], rel=1e-3)


@given(seed=seeds, dtype=st.sampled_from([np.float64, np.float32]))
@settings(deadline=None)
def test_the_summit_agrees_with_another_search(seed, dtype):
    data, here, along = line(seed, dtype=dtype)
    start, slope, _ = data.along(here, along, 0.0)
    along = along * (1.0 if slope > 0 else -1.0)
    falling = (data.counts > 0) & (along.observed < 0)
    edge = np.min(here.observed[falling] / -along.observed[falling], initial=100.0)
    step, rise = search(data, here, along)
    other = optimize.minimize_scalar(
        lambda a: start - data.along(here, along, a)[0], bounds=(0, edge), method="bounded"
    )
    assert step > 0
    assert rise >= -other.fun * (1 - 1e-3) - 1e-6


@given(seed=seeds, longest=st.floats(1e-3, 2.0), damped=st.booleans(), joint=st.booleans())
@settings(deadline=None)
def test_the_likelihood_never_falls_and_the_limit_is_kept(seed, longest, damped, joint):
    data, here, along = line(seed, joint, Damped(2.0) if damped else None)
    step = best_step(data, here, along, longest)
    assert 0 <= step <= longest
    before = data.log_likelihood(here)
    rounding = 1e-12 * (abs(before) + here.total)
    assert data.log_likelihood(here + along * step) >= before - rounding
    assert step > 0 or data.along(here, along, 0.0)[1] <= rounding


def test_a_line_on_which_counts_become_impossible_is_gone_to_the_edge_only():
    data = BinnedData([3.0, 0.0], {"sky": Matrix(np.eye(2))})
    here, along = data.forward({"sky": np.ones(2)}), data.forward({"sky": np.array([-1.0, -50.0])})
    assert data.along(here, along, 1.0)[0] == -inf
    step = best_step(data, here, along)
    assert step == pytest.approx(1 - 3 / 51, rel=1e-3)
