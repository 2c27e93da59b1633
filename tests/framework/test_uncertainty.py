import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skyfold
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.one_step_late import OneStepLate
from skyfold.binned import BinnedData
from skyfold.bootstrap import bootstrap
from skyfold.errors import ConfigError, DataError, NumericalError
from skyfold.geometry import Grid
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.priors.gamma import Gamma
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.uncertainty import scatter
from skyfold.vector import Vector

seeds = st.integers(0, 2**32 - 1)
SHAPE, BINS = (3, 4), 60


def solved(seed, coefficient=0.0, *, dtype=np.float64, fixed=False, dark=0):
    """A small problem at its maximum, found by dense Newton steps on the values that are free."""
    rng = np.random.default_rng(seed)
    pixels = int(np.prod(SHAPE))
    matrix = rng.random((BINS, pixels)) ** 4
    template = rng.random(BINS) + 0.2
    truth = {"sky": rng.gamma(3.0, 6.0, SHAPE), "background": np.ones(1)}
    truth["sky"].flat[:dark] = 0
    counts = rng.poisson(matrix @ truth["sky"].ravel() + template)
    data = BinnedData(
        counts,
        {"sky": Matrix(matrix.astype(dtype), SHAPE, (BINS,)), "background": template.astype(dtype)},
        components={
            "sky": Component(Grid(SHAPE)),
            "background": Component(skyfold.Normalisations(), fixed=fixed),
        },
        dtype=dtype,
    )
    priors = {"tsv": TotalSquaredVariation(coefficient)} if coefficient else {}
    full = np.column_stack([matrix, template])
    bend = np.zeros((pixels + 1, pixels + 1))
    for i, unit in enumerate(np.eye(pixels)):
        for prior in priors.values():
            bend[:pixels, i] = -prior.gradient(unit.reshape(SHAPE), Component(Grid(SHAPE))).ravel()
    x = np.concatenate([truth["sky"].ravel() + 1, [1.0]])
    free = np.arange(pixels + 1) < pixels + (not fixed)
    for _ in range(200):  # projected Newton
        e = full @ x
        slope = full.T @ (counts / e) - full.sum(axis=0) - bend @ x
        curve = (full * (counts / e**2)[:, None]).T @ full + bend
        on = free & ~((x <= 0) & (slope < 0))
        step = np.zeros(x.size)
        step[on] = np.linalg.solve(curve[np.ix_(on, on)], slope[on])
        if np.max(np.abs(step)) < 1e-10:
            break
        here = counts @ np.log(e) - e.sum() - x @ bend @ x / 2
        for share in 0.5 ** np.arange(30):
            new = np.maximum(x + share * step, 0)
            e = full @ new
            if np.all(e[counts > 0] > 0) and (
                counts[counts > 0] @ np.log(e[counts > 0]) - e.sum() - new @ bend @ new / 2 >= here
            ):
                break
        x = new
    values = {"sky": x[:-1].reshape(SHAPE).astype(dtype), "background": x[-1:].astype(dtype)}
    model = Model.start(data).with_values(Vector(values))
    on = free & (x > 0)
    curve, seen = curve[np.ix_(on, on)], (full * np.sqrt(counts)[:, None] / (full @ x)[:, None])
    state = OneStepLate((), priors).start(data, model)
    return data, state, priors, on, curve, seen[:, on]


def functions(rng, on, number=3):
    """Random functions of the sky, and what is left of them where the sky is not zero."""
    rows = rng.random((number, on.size - 1))
    full = np.column_stack([rows, np.zeros(number)])[:, on]
    return [Vector({"sky": row.reshape(SHAPE)}) for row in rows], full


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    coefficient=st.sampled_from([0.0, 1e-3, 0.1]),
    fixed=st.booleans(),
    dark=st.integers(0, 6),
)
def test_errors_are_those_of_dense_algebra(seed, coefficient, fixed, dark):
    data, state, priors, on, curve, seen = solved(seed, coefficient, fixed=fixed, dark=dark)
    asked, dense = functions(np.random.default_rng(seed), on)
    found = scatter(state, data, priors, asked)
    inverse = np.linalg.inv(curve)
    answer = dense @ inverse
    np.testing.assert_allclose(found.laplace, dense @ answer.T, rtol=5e-3, atol=1e-6)
    spread = seen @ answer.T
    np.testing.assert_allclose(found.sandwich, spread.T @ spread, rtol=5e-3, atol=1e-6)
    assert np.all(np.abs(found.remaining) < 1e-3 * np.sqrt(np.diag(found.laplace)))
    if not priors:
        np.testing.assert_allclose(found.sandwich, found.laplace, rtol=1e-2)
        assert not found.pulled.any()


def test_a_fitted_background_adds_to_the_error():
    errors = {}
    for fixed in (True, False):
        data, state, priors, *_ = solved(3, 1e-3, fixed=fixed)
        everything = [Vector({"sky": np.ones(SHAPE)})]
        errors[fixed] = scatter(state, data, priors, everything).sandwich[0, 0]
    assert errors[False] > 1.2 * errors[True]


def test_single_precision_is_enough():
    found = []
    for dtype in (np.float32, np.float64):
        data, state, priors, on, *_ = solved(5, 1e-2, dtype=dtype)
        asked, _ = functions(np.random.default_rng(1), on)
        found.append(scatter(state, data, priors, asked))
    np.testing.assert_allclose(found[0].sandwich, found[1].sandwich, rtol=1e-2)


def test_products_are_counted():
    data, state, priors, on, *_ = solved(5, 1e-2)
    seen = []
    data.adjoint, plain = lambda weights: seen.append(1) or plain(weights), data.adjoint
    asked, _ = functions(np.random.default_rng(1), on)
    spent = scatter(state, data, priors, asked).products
    assert spent == len(seen) + 0.5 * len(asked)


def test_how_far_the_maximum_is():
    """Away from the maximum, the distance of a flux from it is found to first order."""
    data, state, priors, on, *_ = solved(7, 1e-2)
    asked, _ = functions(np.random.default_rng(1), on)
    moved = state.model.with_values(Vector({"sky": state.model["sky"] * 1.01}))
    away = OneStepLate((), priors).start(data, moved)
    expected = [f.dot(state.model) - f.dot(moved) for f in asked]
    np.testing.assert_allclose(scatter(away, data, priors, asked).remaining, expected, rtol=0.15)


def test_priors_move_nothing_that_the_conserved_flux_holds():
    rng = np.random.default_rng(4)
    matrix, mask = rng.random((BINS, 12)) ** 4, np.ones(SHAPE, bool)
    mask[0, 1] = False
    counts = rng.poisson(matrix @ (rng.gamma(3.0, 30.0, SHAPE) * mask).ravel() + 20)
    data = BinnedData(
        counts,
        {"sky": Matrix(matrix, SHAPE, (BINS,)), "background": np.full(BINS, 20.0)},
        components={
            "sky": Component(Grid(SHAPE), mask=mask),
            "background": Component(skyfold.Normalisations()),
        },
    )
    rows = [data.sensitivity, Vector({"sky": np.ones(SHAPE)}), Vector({"sky": rng.random(SHAPE)})]

    def summit(strength):
        priors = {"tsv": TotalSquaredVariation(strength)}
        algorithm = LBFGS(priors=priors, conserve_flux=True)
        state = algorithm.start(data, Model.start(data))
        for _ in range(150):
            state = algorithm.step(state, data)
        return state, priors

    state, priors = summit(1e-3)
    found = scatter(state, data, priors, rows, keep_flux=True).pulled
    up, down = (summit(1e-3 * f)[0].model.vector for f in (1.02, 0.98))
    moved = np.array([row.dot(up - down) / 0.04 for row in rows])
    assert abs(found[0]) < 1e-9 * counts.sum()
    np.testing.assert_allclose(found[1:], moved[1:], rtol=1e-2)
    free = scatter(state, data, priors, rows).pulled
    assert np.all(np.abs(free[1:] - moved[1:]) > 0.1 * np.abs(moved[1:]))


def test_a_prior_with_several_maxima_is_refused():
    data, state, *_ = solved(7, 1e-2)
    priors = {"gamma": Gamma(k=1e-3)}
    bright = state.model.with_values(Vector({"sky": np.full(SHAPE, 1e-3)}))
    start = OneStepLate((), priors).start(data, bright)
    with pytest.raises((NumericalError, ConfigError)):
        scatter(start, data, priors, [Vector({"sky": np.ones(SHAPE)})])


def identity(counts, **more):
    """Counts that are the sky: Richardson-Lucy finds them in one step."""
    counts = np.asarray(counts, float)
    return BinnedData(
        counts,
        {"sky": Matrix(np.eye(counts.size), counts.shape, counts.shape)},
        components={"sky": Component(Grid(counts.shape), "ct")},
        **more,
    )


def test_the_bootstrap_finds_the_noise_of_counts(rng):
    counts = rng.poisson(30, (4, 5))
    result = skyfold.run(identity(counts), "rl", 1, progress=False)
    part = np.zeros(counts.shape)
    part[:2] = 1
    found = bootstrap(result.problem, [Vector({"sky": part})], 150, seed=3)
    assert found.values.shape == (150, 1)
    assert np.std(found.values) == pytest.approx(np.sqrt(counts[:2].sum()), rel=0.18)
    np.testing.assert_allclose(found.mean["sky"], counts, atol=5 * 30**0.5 / 12)
    np.testing.assert_allclose(found.deviation["sky"], np.sqrt(counts), rtol=0.25)
    again = bootstrap(result.problem, [Vector({"sky": part})], 3, seed=3)
    assert np.array_equal(again.values, found.values[:3])
    assert not np.array_equal(bootstrap(result.problem, [], 3, 4).mean["sky"], again.mean["sky"])


def test_replicas_repeat_the_stopping_rule():
    data, *_ = solved(11)
    rule = skyfold.DeltaLogLikelihood(0.05)
    result = skyfold.run(data, "rl", stop=rule, progress=False)
    laps = []
    watched = skyfold.Result(
        result.data, result.state, result.trace, result.reason, problem=result.problem
    )
    object.__setattr__(watched.problem, "stop", Counted(rule, laps))
    bootstrap(watched.problem, [Vector({"sky": np.ones(SHAPE)})], 4, seed=0)
    assert len(laps) == 4
    assert len(set(laps)) > 1


class Counted(skyfold.StoppingRule):
    """Remembers the lengths of runs."""

    def __init__(self, rule, laps):
        self.rule, self.laps = rule, laps

    def reason(self, trace):
        found = self.rule.reason(trace)
        if found:
            self.laps.append(len(trace))
        return found


def test_methods_without_priors_are_repeated_and_those_with_priors_solved():
    data = identity(np.full((4, 5), 20))
    plain = skyfold.run(data, "rl", 3, progress=False)
    found = plain.errors("circle(2, 2, 1.2)", replicas=20, progress=False)
    assert "error_bootstrap" in found.table.colnames
    assert found.table["error_bootstrap"][0] == pytest.approx(10, rel=0.6)
    assert found.table["low"][0] < 100 < found.table["high"][0]
    prior = skyfold.run(data, "map", prior={"tsv": {"coefficient": 1e-4}}, progress=False)
    found = prior.errors("circle(2, 2, 1.2)", progress=False)
    assert found.table.colnames == ["region", "pixels", "flux", "error_sandwich", "prior"]
    assert found.table["error_sandwich"][0] == pytest.approx(10, rel=0.05)
    assert found.table["flux"].unit == "ct"
    assert found.maps is None


def test_a_run_that_ended_early_has_no_error_but_the_bootstrap():
    data, *_ = solved(2)
    result = skyfold.run(data, "rl", 5, progress=False)
    with pytest.raises(ConfigError, match=r"before its maximum.*--method bootstrap"):
        result.errors("circle(1, 1, 2)", method="sandwich", progress=False)


def test_a_region_held_at_zero_has_no_error(caplog):
    counts = np.full((4, 5), 20.0)
    counts[:, 3:] = 0
    data = identity(counts)
    result = skyfold.run(data, "map", prior={"gamma": {"theta": 1.0}}, progress=False)
    table = result.errors("bright=circle(1, 1, 1)", "dark=circle(4, 1, 1)", progress=False).table
    assert table["flux"][0] == pytest.approx(50, rel=0.01)  # half by the prior
    assert table["flux"][1] == pytest.approx(0, abs=0.01)
    assert table["error_sandwich"][0] == pytest.approx(5, rel=0.01)
    assert table["error_sandwich"][1] == 0
    assert "region 'dark' is held at zero: its error is no upper limit" in caplog.text
    assert np.isnan(table.meta["correlation"][1][1])


def test_regions_share_their_noise():
    """Neighbours through a blur are anticorrelated, a region and its like are the same."""
    data, *_ = solved(2)
    result = skyfold.run(data, "map", prior={"tsv": {"coefficient": 1e-4}}, progress=False)
    parts = ["a=box(1, 1, 1, 9)", "b=box(2, 1, 1, 9)", "c=box(1, 1, 1.2, 9)"]
    table = result.errors(*parts, progress=False).table
    correlation = np.array(table.meta["correlation"])
    assert np.diag(correlation) == pytest.approx(1)
    assert correlation[0, 2] == pytest.approx(1)
    assert correlation[0, 1] < -0.05
    assert table.meta["products"] > 3


def test_energies_and_their_total():
    import astropy.units as u

    counts = np.full((2, 4, 5), 9.0)
    counts[1] = 16
    data = identity(counts)
    grid = Grid(counts.shape, energy_edges=[1, 2, 4] * u.GeV)
    data = data.with_components(sky=Component(grid, "ct"))
    result = skyfold.run(data, "map", prior={"tsv": {"coefficient": 1e-9}}, progress=False)
    table = result.errors("circle(2, 2, 1.2)", progress=False).table
    assert [str(e) for e in table["energy"]] == ["1\N{EN DASH}2 GeV", "2\N{EN DASH}4 GeV", "total"]
    np.testing.assert_allclose(table["flux"], [45, 80, 125], rtol=1e-3)
    np.testing.assert_allclose(table["error_sandwich"], np.sqrt([45, 80, 125]), rtol=1e-2)
    assert result.flux("circle(2, 2, 1.2)").to_value("ct") == pytest.approx([45, 80], rel=1e-3)


def test_fluxes_of_a_sphere_are_integrals(sky_demo):
    result = skyfold.run(sky_demo.data, iterations=5, progress=False)
    flux = result.flux("circle(0 deg, 90 deg, 200 deg)")
    sphere = result.sphere
    assert flux.unit == "1 / (s cm2)"
    whole = result.model["sky"].sum(axis=0) * sphere.pixel_area
    np.testing.assert_allclose(flux.value, whole)


def test_what_cannot_be_asked_is_said(caplog):
    data = identity(np.full((4, 5), 20))
    result = skyfold.run(data, "rl", 1, progress=False)
    for asked, said in (
        ({}, "at least one region"),
        ({"method": "guess"}, "no method 'guess'; there are sandwich"),
        ({"component": "stars"}, "no component 'stars'; the model has sky"),
        ({"replicas": 1}, "1 replicas have no scatter"),
    ):
        regions = ["circle(2, 2, 1)"] if asked else []
        with pytest.raises(ConfigError, match=said):
            result.errors(*regions, progress=False, **asked)
    weight = np.ones((4, 5))
    weight[:, :2] = 0
    dark = skyfold.run(identity(np.full((4, 5), 20), weight=weight), "rl", 1, progress=False)
    with pytest.raises(DataError, match="none of its pixels is both seen"):
        dark.errors("circle(0, 0, 1)", progress=False)
    dark.errors("circle(2, 2, 1)", replicas=2, progress=False)
    assert "1 of its 5 values are not seen or masked" in caplog.text
