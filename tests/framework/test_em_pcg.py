"""EM-preconditioned conjugate gradients, on random problems of every kind."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from skyfold import checkpoint
from skyfold._kernels import conjugate_direction, poisson_along, scaled_slope
from skyfold.algorithms.em_pcg import EMConjugateGradient
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.ascent import blocked, certificate, gradient
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import Grid, Normalisations
from skyfold.joint import JointData
from skyfold.likelihood import Damped
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.pixels import Diagonal
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold_responses import Psf

FLOATS = st.sampled_from([np.float64, np.float32])
inf = float("inf")


@st.composite
def problems(draw, dtypes=FLOATS):
    """Counts seen through a dense matrix or a PSF; with masks, bounds, dark pixels, empty bins."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(dtypes)
    if draw(st.booleans()):
        shape, bins = (8,), (30,)
        response = Matrix((rng.random((30, 8)) ** draw(st.sampled_from([1, 6]))).astype(dtype))
    else:
        shape = bins = (7, 9)
        y, x = np.indices((5, 5)) - 2
        kernel = np.exp(-0.5 * (x**2 + y**2) / draw(st.sampled_from([0.5, 1.2])) ** 2)
        engine = draw(st.sampled_from(["direct", "scipy"]))
        response = Psf(kernel / kernel.sum(), shape, "same", engine, dtype)
    exposure = rng.random(shape) * (rng.random(shape) < draw(st.sampled_from([1.0, 0.7])))
    exposure.flat[0] = 1.0
    response = response @ Diagonal(exposure.astype(dtype))
    mask = rng.random(shape) < 0.7 if draw(st.booleans()) else None
    if mask is not None:
        mask.flat[0] = True
    low = draw(st.sampled_from([0.0, 0.0, 0.2]))
    high = draw(st.sampled_from([inf, inf, 3.0]))
    background = draw(st.sampled_from(["none", "fixed", "fitted"]))
    truth = rng.gamma(0.2, 5, shape) * draw(st.sampled_from([0.02, 1.0, 100.0]))
    truth *= 1 if mask is None else mask
    mean = np.maximum(response.forward(truth.astype(dtype)), 0)
    parts = {"sky": response}
    made = {"sky": Component(Grid(shape), mask=mask, bounds=(low, high))}
    if background != "none":
        parts["background"] = rng.random(bins).astype(dtype) * 2
        made["background"] = Component(Normalisations(), fixed=background == "fixed")
        mean = mean + parts["background"]
    counts = rng.poisson(mean)
    if not counts.any():
        counts.flat[0] = 1
    weight = (rng.random(bins) < 0.8).astype(dtype) if draw(st.booleans()) else None
    if weight is not None and not np.any(counts * weight):
        weight = None
    return BinnedData(counts, parts, weight, components=made, dtype=dtype)


def run(data, laps, algorithm=None):
    algorithm = algorithm or EMConjugateGradient()
    state = algorithm.start(data, Model.start(data))
    states = [state]
    for _ in range(laps):
        states.append(state := algorithm.step(state, data))
    return states


def rounding(state, data):
    sums = abs(state.log_likelihood) + state.expectation.total
    return 2 * float(np.finfo(data.dtype).eps) * (1 + sums)


@given(data=problems())
@settings(max_examples=60, deadline=None)
def test_the_likelihood_never_falls_and_values_stay_where_they_may_be(data):
    states = run(data, 35)
    first, last = states[0].model, states[-1].model
    for before, after in pairwise(states):
        assert after.log_likelihood >= before.log_likelihood - rounding(before, data)
    for name, part in last.components.items():
        inside = np.ones(part.geometry.shape, bool) if part.mask is None else part.mask
        values, (low, high) = last[name], part.bounds
        assert values.dtype == data.dtype
        assert np.all((values >= low) & (values <= high) | ~inside)
        assert not np.any(values[~inside])
        unseen = inside & (data.sensitivity[name] == 0)
        assert np.array_equal(values[unseen], first[name][unseen])
        if part.fixed:
            assert np.array_equal(values, first[name])


@given(data=problems(st.just(np.float64)))
@settings(max_examples=25, deadline=None)
def test_the_certificate_bounds_the_gap_and_the_summit_is_reached(data):
    states = run(data, 250)
    top = states[-1]
    for state in states[:250:10]:
        gap = top.log_likelihood - state.log_likelihood
        assert certificate(state, data, {}) >= gap - 10 * rounding(state, data)
    assert certificate(top, data, {}) <= 1e-3 * (1 + abs(top.log_likelihood))
    slope = gradient(top, data, {})
    free = {name: ~stuck for name, stuck in blocked(top.model, slope).items()}
    scaled = sum(float(np.sum(np.abs(top.model[n] * slope[n])[f])) for n, f in free.items())
    assert scaled <= 1e-3 * (1 + float(np.sum(data.counts)))


def highest(data):
    """Return the largest log-likelihood that SciPy's L-BFGS-B finds."""
    model = Model.start(data)
    names = sorted(model.free)
    sizes = np.cumsum([model[name].size for name in names])[:-1]

    def vector(x):
        pieces = np.split(x, sizes)
        shaped = {n: p.reshape(model[n].shape) for n, p in zip(names, pieces, strict=True)}
        return {name: shaped.get(name, model[name]) for name in model}

    def objective(x):
        step = data.e_step(vector(x))
        slope = [(step.back[n] - data.sensitivity[n]).ravel() for n in names]
        return -step.log_likelihood, -np.concatenate(slope)

    bounds = []
    for name in names:
        part = model.components[name]
        inside = np.ones(model[name].shape, bool) if part.mask is None else part.mask
        bounds += [part.bounds if ok else (0, 0) for ok in inside.ravel()]
    bounds = [(low, None if high == inf else high) for low, high in bounds]
    start = np.concatenate([model[name].ravel() for name in names])
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9}
    found = optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return -found.fun


@pytest.mark.slow
@given(data=problems(st.just(np.float64)))
@settings(max_examples=8, deadline=None)
def test_the_summit_is_the_one_that_others_find(data):
    top = run(data, 250)[-1].log_likelihood
    other = highest(data)
    assert top >= other - 1e-5 * (1 + abs(other))
    assert top >= run(data, 100, RichardsonLucy())[-1].log_likelihood - 1e-9 * (1 + abs(top))


@given(data=problems(st.just(np.float64)))
@settings(max_examples=25, deadline=None)
def test_at_the_summit_the_fit_attributes_all_counts(data):
    """What the fitted values are expected to make is what is attributed to them."""
    free = {name: replace(part, bounds=(0.0, inf)) for name, part in data.components.items()}
    state = run(data.with_components(**free), 250)[-1]
    fitted = state.model.vector.only(state.model.free)
    made, attributed = data.sensitivity.dot(fitted), fitted.dot(state.back)
    assert made == pytest.approx(attributed, rel=1e-4, abs=1e-4)


@given(data=problems(), joint=st.booleans(), when=st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_a_resumed_run_is_bit_identical(data, joint, when, tmp_path_factory):
    data = JointData(data.split(2)) if joint else data
    states = run(data, 34)
    path = tmp_path_factory.mktemp("run") / "c.npz"
    checkpoint.save(path, states[when], [])
    algorithm = EMConjugateGradient()
    state, _ = checkpoint.load(path, algorithm.start(data, Model.start(data)))
    for _ in range(34 - when):
        state = algorithm.step(state, data)
    last = states[-1]
    assert (state.log_likelihood, state.length) == (last.log_likelihood, last.length)
    for name in last.model:
        assert np.array_equal(state.model[name], last.model[name])
    assert np.array_equal(state.expectation.observed, last.expectation.observed)


def stars(side=40):
    """Some points on an even sky, blurred."""
    rng = np.random.default_rng(5)
    y, x = np.indices((13, 13)) - 6
    kernel = (1 + (x**2 + y**2) / 4.0) ** -1.5
    sky = np.full((side, side), 0.2)
    sky.flat[rng.integers(side**2, size=12)] += rng.pareto(1.0, 12) * 100
    response = Psf(kernel / kernel.sum(), (side, side), "same")
    return BinnedData(
        rng.poisson(response.forward(sky) + 0.1), {"sky": response, "b": np.full((side, side), 0.1)}
    )


def test_a_lap_costs_one_product_and_few_laps_do_what_many_of_em_do():
    data = stars()
    fast = run(data, 120)
    assert fast[29].products == 30
    assert fast[120].products == 121 + 4 * 0.5  # the expectation is made anew now and then
    slow = run(data, 300, RichardsonLucy())
    top, span = fast[-1].log_likelihood, fast[-1].log_likelihood - fast[0].log_likelihood

    def spent(states):
        return next(s.products for s in states if s.log_likelihood >= top - 1e-3 * span)

    assert spent(fast) <= spent(slow) / 6


def test_the_expectation_handed_on_is_that_of_the_model():
    data = stars()
    state = run(data, 29)[-1]
    expected = data.forward(state.model)
    np.testing.assert_allclose(state.expectation.observed, expected.observed, rtol=1e-9)
    assert state.expectation.total == pytest.approx(expected.total, rel=1e-10)


@given(data=problems(st.just(np.float64)))
@settings(max_examples=10, deadline=None)
def test_what_is_damped_never_falls_either(data):
    states = run(data.with_likelihood(Damped(2.0)), 25)
    for before, after in pairwise(states):
        assert after.log_likelihood >= before.log_likelihood - rounding(before, data)
    assert states[-1].log_likelihood >= states[0].log_likelihood


def test_at_the_summit_it_stays():
    data = BinnedData([4.0, 9.0], {"sky": Matrix(np.eye(2))})
    states = run(data, 30)
    np.testing.assert_allclose(states[-1].model["sky"], [4, 9], rtol=1e-6)
    assert states[-1].log_likelihood == pytest.approx(4 * np.log(4) + 9 * np.log(9) - 13)


@pytest.mark.parametrize("start", [[0.0, 5.0], [0.0, 0.0], [1e-30, 1e-300]])
def test_a_value_that_starts_at_zero_may_rise(start):
    data = BinnedData([4.0, 9.0], {"sky": Matrix(np.eye(2)), "b": np.ones(2)})
    algorithm = EMConjugateGradient()
    state = algorithm.start(data, Model.start(data, sky=np.array(start), b=0.5))
    for _ in range(40):
        state = algorithm.step(state, data)
    assert certificate(state, data, {}) < 1e-3


def test_priors_are_not_for_it():
    data = BinnedData([4.0], {"sky": Matrix(np.eye(1))})
    with pytest.raises(ConfigError, match="heeds no priors"):
        EMConjugateGradient(priors={"tsv": TotalSquaredVariation(1.0)}).start(
            data, Model.start(data)
        )


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(0, 3000), dtype=FLOATS)
@settings(max_examples=40, deadline=None)
def test_the_kernels_do_what_numpy_does(seed, size, dtype):
    rng = np.random.default_rng(seed)
    low, high, floor, beta, length = 0.1, 5.0, 0.5, 0.7, 2.5
    x = np.clip(rng.gamma(0.5, 2, size), low, high).astype(dtype)
    back, last, old = (rng.gamma(1, 1, size).astype(dtype) - dtype(k) for k in (0, 1, 1))
    s = (rng.random(size) * (rng.random(size) < 0.8)).astype(dtype)
    g, z, p = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    sums = scaled_slope(x, back, s, floor, low, high, last, g, z)
    found = conjugate_direction(x, z, g, old, beta, length, low, high, p)

    slope = np.where(s > 0, back - s, 0)
    scale = np.where(slope > 0, np.minimum(np.maximum(x, floor), high - x), x - low)
    scaled = scale * np.divide(slope, s, out=np.zeros_like(x), where=s > 0)
    direction = np.clip(scaled + beta * old, (low - x) / length, (high - x) / length)
    room = np.where(direction < 0, x - low, high - x)
    reach = np.min(room[direction != 0] / np.abs(direction[direction != 0]), initial=inf)
    close = {"rtol": 30 * np.finfo(dtype).eps, "atol": 30 * np.finfo(dtype).eps}
    np.testing.assert_array_equal(g, slope)
    np.testing.assert_allclose(z, scaled, **close)
    np.testing.assert_allclose(p, direction, **close)
    size_up = 1e-15 + 1e-6 * (dtype is np.float32)

    def dot(u, v):
        return float(u.astype(float) @ v.astype(float)), float(abs(u.astype(float)) @ abs(v))

    for got, (u, v) in zip((*sums, found[0]), ((z, g), (z, last), (p, g)), strict=True):
        expected, scale_ = dot(u, v)
        assert abs(got - expected) <= 10 * size_up * (1 + scale_)
    assert found[1] == pytest.approx(reach, rel=1e-5)


def test_threads_change_nothing():
    rng = np.random.default_rng(1)
    x, b, s, last = (rng.random(200_000) for _ in range(4))
    g, z, p = (np.empty_like(x) for _ in range(3))

    def all_of(threads):
        yield scaled_slope(x, b, s, 1e-2, 0.0, inf, last, g, z, threads)
        yield conjugate_direction(x, z, g, last, 0.3, 2.0, 0.0, inf, p, threads)
        yield tuple(poisson_along(b, x, last, 0.5, 1e-15, threads))

    assert list(all_of(1)) == list(all_of(3))
