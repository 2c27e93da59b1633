"""What every solver of the whole objective owes, on problems drawn at random."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from skyfold import checkpoint
from skyfold.algorithm import REFRESH
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.sgp import ScaledGradientProjection
from skyfold.ascent import backtrack, blocked, certificate, gradient, reach
from skyfold.binned import BinnedData
from skyfold.geometry import Grid, Normalisations
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.priors.dirichlet import Dirichlet
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma, GammaBackground
from skyfold.priors.huber import Huber
from skyfold.priors.log_smoothness import LogSmoothness
from skyfold.priors.relative_difference import RelativeDifference
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.sphere import Sphere
from skyfold.vector import Vector
from skyfold_responses import Psf

SOLVERS = {"sgp": ScaledGradientProjection, "lbfgs": LBFGS}
CONCAVE = {
    "none": {},
    "tsv": {"tsv": TotalSquaredVariation(0.05)},
    "tsv, strong": {"tsv": TotalSquaredVariation(5.0)},
    "relative difference": {"rd": RelativeDifference(0.5)},
    "huber": {"huber": Huber(0.5, 0.5)},
    "entropy": {"entropy": Entropy(0.3, 1.5)},
    "gamma": {"gamma": Gamma(1.3, 8.0), "background": GammaBackground(2.0, 1.0)},
    "dirichlet": {"dirichlet": Dirichlet(1.0, total=Gamma(1.0, 50.0))},
}
OTHERS = {
    "gamma": {"gamma": Gamma(0.5, 20.0)},
    "dirichlet": {"dirichlet": Dirichlet(0.8)},
    "log smoothness": {"log": LogSmoothness(0.5)},
}
PRIORS = {**CONCAVE, **{f"{name}, not concave": prior for name, prior in OTHERS.items()}}


def drawn(
    seed,
    *,
    on="grid",
    background="fitted",
    few=False,
    dtype=float,
    high=np.inf,
    unseen=True,
    masked=True,
):
    """Draw a problem: with a mask, pixels that nothing sees, and bins without counts."""
    rng = np.random.default_rng(seed)
    geometry = Sphere(2) if on == "sphere" else Grid((6, 8))
    shape = geometry.shape
    mask = (rng.random(shape) > 0.1) if masked else np.ones(shape, bool)
    if on == "psf":
        response = Psf(rng.random((3, 5)), shape, "same")
        bins = response.data_shape
    else:
        bins = (70,)
        matrix = rng.random((70, 48)) ** 6 * (rng.random(48) > (0.1 if unseen else 0))
        response = Matrix(matrix.astype(dtype), shape)
    sky = rng.gamma(0.4, 0.5 if few else 8.0, shape) * (rng.random(shape) > 0.2)
    template = rng.uniform(0.2, 2, bins)
    counts = rng.poisson(response.forward(sky) + template)
    if few:
        counts = np.zeros(bins)
        counts.flat[rng.integers(counts.size)] = 1
    components = {
        "sky": Component(geometry, mask=mask, bounds=(0.0, high)),
        "background": Component(Normalisations(), fixed=background == "fixed"),
    }
    parts = {"sky": response, "background": template}
    if background == "none":
        reached = response.forward(np.where(mask, 1.0, 0.0))
        counts = counts * (reached > 1e-9)
        components, parts = {"sky": components["sky"]}, {"sky": response}
        counts.flat[np.argmax(reached)] += 1
    return BinnedData(counts, parts, components=components, dtype=dtype)


def chosen(priors, data):
    """Return the priors whose components the data have."""
    known = Model.start(data)
    return {name: prior for name, prior in priors.items() if prior.chosen(known)}


def laps(algorithm, data, n):
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


def reference(data, priors):
    """Return the maximum that SciPy finds."""
    model = Model.start(data)
    algorithm = ScaledGradientProjection(priors=priors)
    names = sorted(model.free)
    sizes = np.cumsum([model[n].size for n in names])[:-1]
    inside = [
        np.broadcast_to(True if (m := model.components[n].mask) is None else m, model[n].shape)
        for n in names
    ]
    scale = [np.where(s := data.sensitivity[n], 1 / np.maximum(s, 1e-9), 1.0) for n in names]
    stretch = np.concatenate([s.ravel() for s in scale])

    def falling(values):
        parts = np.split(values * stretch, sizes)
        new = Vector({n: p.reshape(model[n].shape) for n, p in zip(names, parts, strict=True)})
        state = algorithm.start(data, model.with_values(new))
        slope = gradient(state, data, priors)
        return -state.objective, -np.concatenate([slope[n].ravel() for n in names]) * stretch

    start = np.concatenate([model[n].ravel() for n in names]) / stretch
    tops = np.where(np.concatenate([i.ravel() for i in inside]), np.inf, 0.0)
    limits = list(zip(np.minimum(1e-9, tops), tops, strict=True))
    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30}
    found = minimize(falling, start, jac=True, method="L-BFGS-B", bounds=limits, options=options)
    return -found.fun


@pytest.mark.parametrize("solver", SOLVERS)
@given(
    seed=st.integers(0, 2**32 - 1),
    prior=st.sampled_from(sorted(PRIORS)),
    on=st.sampled_from(["grid", "sphere", "psf"]),
    background=st.sampled_from(["none", "fixed", "fitted"]),
    few=st.booleans(),
    dtype=st.sampled_from([np.float64, np.float32]),
)
@settings(max_examples=15, deadline=None)
def test_the_objective_never_falls(solver, seed, prior, on, background, few, dtype):
    high = 4.0 if seed % 3 == 0 else np.inf
    data = drawn(seed, on=on, background=background, few=few, dtype=dtype, high=high)
    algorithm = SOLVERS[solver](priors=chosen(PRIORS[prior], data))
    states = laps(algorithm, data, 20)
    size = (
        max(abs(s.log_likelihood) + abs(s.log_prior) for s in states) + states[0].expectation.total
    )
    assert np.diff([s.objective for s in states]).min() >= -4 * np.finfo(dtype).eps * size
    for state in states:
        for name, part in data.components.items():
            values = state.model[name]
            assert values.dtype == dtype
            assert np.all((values >= 0) & (values <= part.bounds[1]))
            assert part.mask is None or np.all(values[~part.mask] == 0)
        if part.fixed:
            assert state.model["background"] == 1
    truth = data.forward(states[-1].model)
    off = truth.observed - states[-1].expectation.observed
    most = max(truth.observed.max(), states[0].expectation.observed.max())
    assert np.abs(off).max() <= 100 * np.finfo(dtype).eps * most


@pytest.mark.parametrize(
    ("prior", "on"), [(name, ("grid", "sphere")[i % 2]) for i, name in enumerate(CONCAVE)]
)
def test_the_end_is_the_maximum(prior, on):
    data, priors = drawn(1, on=on, unseen=False), CONCAVE[prior]
    many = 150 if priors else 400
    runs = [laps(solver(priors=priors), data, many) for solver in SOLVERS.values()]
    top, first = reference(data, priors), runs[0][0].objective
    for states in runs:
        assert states[-1].objective > top - 1e-6 * (top - first)
        top = max(top, states[-1].objective)
    for states in runs:
        for state in states[::15]:
            assert certificate(state, data, priors) >= top - state.objective - 1e-9 * abs(top)
        assert certificate(states[-1], data, priors) < 0.02 * (top - first)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prior", OTHERS)
def test_without_concavity_the_end_is_stationary(solver, prior):
    data, priors = drawn(5, unseen=False, masked=False), OTHERS[prior]
    first, *_, last = laps(SOLVERS[solver](priors=priors), data, 300)

    def pull(state):
        slope = gradient(state, data, priors)
        moves = slope.map(lambda g, x: np.where(g > 0, g * (x + 1e-6), g * x), state.model.vector)
        return max(float(np.abs(m).max()) for m in moves.values())

    assert last.objective > first.objective
    assert pull(last) < 1e-3 * pull(first)
    assert np.isnan(certificate(last, data, priors))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prior", ["none", "relative difference", "gamma, not concave"])
def test_a_stored_state_goes_on_alike(solver, prior, tmp_path):
    data = drawn(8, on="sphere")
    algorithm = SOLVERS[solver](priors=PRIORS[prior])
    states = laps(algorithm, data, REFRESH + 5)
    for here in (1, 4, REFRESH - 1):
        checkpoint.save(tmp_path / "state", states[here], [])
        state, _ = checkpoint.load(tmp_path / "state", algorithm.start(data, Model.start(data)))
        while state.iteration < len(states) - 1:
            state = algorithm.step(state, data)
        assert state.objective == states[-1].objective
        assert state.products == states[-1].products
        np.testing.assert_array_equal(state.model["sky"], states[-1].model["sky"])


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_value_of_zero_comes_back(solver):
    data = drawn(3)
    dark = replace(data.components["sky"], start=np.eye(6, 8))
    algorithm = SOLVERS[solver]()
    end = laps(algorithm, data, 250)[-1]
    again = laps(algorithm, data.with_components(sky=dark), 250)[-1]
    assert again.objective == pytest.approx(end.objective, abs=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prior", ["entropy", "gamma"])
def test_where_the_slope_is_infinite_values_stay_above_zero(solver, prior):
    data = drawn(4)
    inside = data.components["sky"].mask
    for state in laps(SOLVERS[solver](priors=CONCAVE[prior]), data, 100):
        assert state.model["sky"][inside].min() > 0


def test_slope_against_finite_differences():
    data, priors = drawn(6), {"rd": RelativeDifference(0.5), "gamma": Gamma(1.3, 5.0)}
    algorithm = ScaledGradientProjection(priors=priors)
    state = laps(algorithm, data, 3)[-1]
    slope = gradient(state, data, priors)
    assert set(slope) == {"sky", "background"}
    rng = np.random.default_rng(1)
    inside = data.components["sky"].mask
    step = Vector({"sky": rng.normal(size=(6, 8)) * inside, "background": rng.normal(size=1)})

    def objective(a):
        return algorithm.start(
            data, state.model.with_values(state.model.vector + step * a)
        ).objective

    h = 1e-7
    assert slope.dot(step) == pytest.approx((objective(h) - objective(-h)) / 2 / h, rel=1e-5)
    assert np.all(slope["sky"][~inside] == 0)


def test_bounds_block_and_limit():
    parts = {"sky": Component(Grid((4,)), bounds=(0.0, 2.0))}
    model = Model(parts, Vector({"sky": np.array([0.0, 0.0, 2.0, 1.0])}))
    slope = Vector({"sky": np.array([-1.0, 1.0, 1.0, -1.0])})
    np.testing.assert_array_equal(blocked(model, slope)["sky"], [True, False, True, False])
    assert reach(model, slope) == 0
    assert reach(model, Vector({"sky": np.array([0, 1.0, -1.0, -2.0])})) == 0.5


@given(top=st.floats(0.01, 3), scale=st.floats(1e-6, 1e6))
def test_the_part_of_a_step_that_is_taken_rises(top, scale):
    def parabola(a):
        return scale * (1 - (a / top - 1) ** 2)

    share = backtrack(parabola, 0.0, 2 * scale / top)
    assert 0 < share <= 1
    assert parabola(share) > 0
    assert share == 1 or parabola(min(2 * share, 1)) < parabola(share) or top < share


def test_impossible_counts_and_flat_tops_are_no_steps():
    for impossible in (-np.inf, np.nan):
        share = backtrack(lambda a, worst=impossible: worst if a > 0.01 else a, 0.0, 1.0)
        assert 0.001 <= share <= 0.01
    assert backtrack(lambda a: -a, 0.0, 1.0) == 0
    assert backtrack(lambda a: a, 1.0, -1.0) == 0
