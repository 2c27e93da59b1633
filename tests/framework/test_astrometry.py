"""Places of point sources that are fitted too: found, sure to what their errors say, resumed."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

import skyfold
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.recentred import Recentred
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.algorithms.sgp import ScaledGradientProjection
from skyfold.astrometry import MOVES, free_places, loosened, moved_by, scatter
from skyfold.binned import BinnedData
from skyfold.checkpoint import load, save
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.model import Component, Model
from skyfold.pixels import Diagonal
from skyfold.points import with_points
from skyfold.priors.entropy import Entropy
from skyfold.response import check_adjoint
from skyfold.sources import Sources
from skyfold.vector import Vector
from skyfold_responses import BlockSum, Psf

KERNEL = np.outer(*[np.exp(-0.5 * (np.arange(-6, 7) / 1.4) ** 2)] * 2)
KERNEL /= KERNEL.sum()
SHAPE = (28, 30)
TRUE = np.array([[9.3, 8.2], [19.1, 9.7], [12.4, 19.9], [16.6, 21.1]])
FLUX = np.array([6000.0, 2500.0, 4000.0, 3000.0])
WIDTH = 3.3


def field(counts=None, block=1, exposure=None):
    psf = Psf(KERNEL, tuple(block * n for n in SHAPE))
    response = BlockSum(block, SHAPE) @ psf if block > 1 else psf
    if exposure is not None:
        response = psf @ Diagonal(exposure(psf.model_shape))
    return BinnedData(
        np.zeros(SHAPE) if counts is None else counts,
        {"sky": response},
        components={"sky": Component(Grid(psf.model_shape, field=psf.field))},
    )


def listed(places, flux=None):
    return Sources(tuple(f"s{i}" for i in range(len(places))), np.array(places), flux=flux)


def diffuse(shape):
    y, x = np.indices(shape)
    return 4 + 6 * np.exp(-((x - 15) ** 2 + (y - 19) ** 2) / 200)


def observed(seed, off=0.5, **more):
    """Return a field whose stars are listed some way off, in directions drawn at random."""
    rng = np.random.default_rng(seed)
    sky = with_points(field(**more), listed(TRUE), free=True)
    values = {"sky": diffuse(sky.components["sky"].geometry.shape), "stars": FLUX}
    counts = rng.poisson(sky.full_expectation(values))
    angle = rng.uniform(0, 2 * np.pi, len(TRUE))
    start = TRUE + off * np.stack([np.cos(angle), np.sin(angle)], 1)
    return with_points(field(counts, **more), listed(start), free=True), start


def solver(inner=None, **more):
    priors = {"floating": Entropy(0.3, {"smooth": "8 pix"})}
    inner = inner or LBFGS(priors=priors, conserve_flux=True)
    return Recentred.around(inner, 1.5 * WIDTH, **more)


def laps(algorithm, data, n):
    state = algorithm.start(data, Model.start(data))
    for _ in range(n):
        state = algorithm.step(state, data)
    return state


def units(n):
    fluxes = [Vector({"stars": row}) for row in np.eye(n)]
    return fluxes + [Vector({MOVES: row.reshape(n, 2)}) for row in np.eye(2 * n)]


def pulls(seed, number=35):
    data, start = observed(seed)
    algorithm = solver()
    state = laps(algorithm, data, number)
    found = scatter(state, data.at(state.parameters), algorithm.priors, units(len(TRUE)))
    assert np.all(np.abs(found.remaining) < 0.1 * np.sqrt(np.diag(found.sandwich)))
    off = [state.model["stars"] - FLUX, (start + moved_by(data, state) - TRUE).ravel()]
    return np.concatenate(off) / np.sqrt(np.diag(found.sandwich))


def test_stars_half_a_pixel_off_are_found_to_their_errors():
    found = np.array([pulls(seed, 25) for seed in range(2)])
    assert np.max(np.abs(found)) < 4.5
    assert 0.5 < np.std(found) < 1.6


def test_priors_move_sources_but_not_the_counts_expected():
    data, _ = observed(3)
    algorithm = solver()
    state = laps(algorithm, data, 25)
    seen = data.at(state.parameters)
    edges = loosened(seen, state.model).sensitivity.only(frozenset([MOVES]))
    total = seen.sensitivity + edges
    found = scatter(state, seen, algorithm.priors, [total, *units(len(TRUE))], keep_flux=True)
    assert np.all(np.abs(found.pulled[1 : 1 + len(FLUX)]) > 0.1)
    assert abs(found.pulled[0]) < 1e-6


@pytest.mark.slow
def test_pulls_of_fluxes_and_places_have_unit_width():
    found = np.array([pulls(seed, 25) for seed in range(100, 140)])
    fluxes, places = found[:, : len(FLUX)], found[:, len(FLUX) :]
    assert 0.9 < np.std(places) < 1.1
    assert 0.9 < np.std(fluxes) < 1.15
    assert np.abs(places.mean()) < 0.15


def test_errors_of_places_over_a_held_sky_are_the_bound_of_cramer_and_rao():
    data, _ = observed(1, off=0.0)
    sky = replace(data.components["sky"], fixed=True, start=diffuse(data.whole["sky"].model_shape))
    data = data.with_components(sky=sky)
    model = Model.start(data, stars=FLUX)
    expected = data.full_expectation(model)
    data = data.with_counts(expected)
    state = RichardsonLucy().start(data, Model.start(data, stars=FLUX))
    found = scatter(state, data, {}, units(len(TRUE)))
    points = data.whole["stars"]
    columns = [points.forward(row) for row in np.eye(len(TRUE))]
    columns += [points.tangent(FLUX).forward(row.reshape(-1, 2)) for row in np.eye(2 * len(TRUE))]
    made = np.array(columns).reshape(len(columns), -1)
    bound = np.linalg.inv((made / expected.ravel()) @ made.T)
    np.testing.assert_allclose(found.laplace, bound, rtol=1e-3, atol=1e-3 * bound.max())
    np.testing.assert_allclose(found.sandwich, found.laplace, rtol=1e-2, atol=1e-3 * bound.max())


@pytest.mark.parametrize("inner", [RichardsonLucy(), ScaledGradientProjection()])
def test_the_objective_rises_whatever_the_algorithm(inner):
    data, start = observed(2)
    algorithm = solver(inner)
    state = algorithm.start(data, Model.start(data))
    objectives = [state.objective]
    for _ in range(25):
        state = algorithm.step(state, data)
        objectives.append(state.objective)
    assert np.min(np.diff(objectives)) > -1e-6
    off = np.hypot(*(start + moved_by(data, state) - TRUE).T)
    assert np.max(off) < 0.35
    assert np.max(np.hypot(*moved_by(data, state).T)) == pytest.approx(
        algorithm.figures(state, data)["largest_move"]
    )


def test_with_the_flux_conserved_the_total_stays():
    data, _ = observed(3)
    state = laps(solver(), data, 12)
    moves = moved_by(data, state)
    assert np.any(moves != 0)
    np.testing.assert_allclose(moved_by(data.at(state.parameters), state), moves, atol=1e-12)
    assert state.expectation.total == pytest.approx(data.counts.sum(), rel=1e-10)


def test_a_stored_state_goes_on_bit_for_bit(tmp_path):
    data, _ = observed(4)
    algorithm = solver()
    state = laps(algorithm, data, 8)
    save(tmp_path / "state.npz", state, [])
    again, _ = load(tmp_path / "state.npz", algorithm.start(data, Model.start(data)))
    for _ in range(4):
        state, again = algorithm.step(state, data), algorithm.step(again, data)
    assert np.array_equal(state.parameters["stars"], again.parameters["stars"])
    assert np.array_equal(state.model["sky"], again.model["sky"])


def test_a_star_that_is_none_is_stopped_and_named(caplog):
    sky = with_points(field(), listed(TRUE), free=True)
    values = {"sky": diffuse(sky.components["sky"].geometry.shape), "stars": FLUX}
    counts = np.random.default_rng(0).poisson(sky.full_expectation(values))
    wrong = TRUE.copy()
    wrong[1] += [4.0, 0]
    data = with_points(field(counts), listed(wrong), free=True)
    algorithm = Recentred.around(LBFGS(), 2.0)
    with caplog.at_level(logging.WARNING):
        state = laps(algorithm, data, 40)
    moved = np.hypot(*moved_by(data, state).T)
    assert moved[1] == pytest.approx(2.0)
    assert np.max(moved) < 2.001
    assert "'s1' would go farther than 2 pixels" in caplog.text
    assert "'s0'" not in caplog.text


def test_moves_are_told_in_pixels_of_the_data():
    data, start = observed(5, block=2)
    assert not np.allclose(free_places(data)["stars"], start)
    state = laps(solver(), data, 30)
    off = np.hypot(*(start + moved_by(data, state) - TRUE).T)
    assert np.max(off) < 0.3


def test_observations_share_places_with_fluxes_of_their_own_or_not():
    frames = [observed(seed, off=0.0)[0].with_origin(name=str(seed)) for seed in (6, 7)]
    both = JointData([field(frame.full_counts) for frame in frames])
    for each in (False, True):
        data = with_points(both, listed(TRUE + 0.3), each=each, free=True)
        state = laps(solver(), data, 15)
        first, second = state.parameters.values()
        assert np.array_equal(first, second)
        assert np.max(np.hypot(*(TRUE + 0.3 + moved_by(data, state) - TRUE).T)) < 0.2
        view = loosened(data, state.model)
        assert MOVES in view.components
        assert len(view.components) == (3 if each else 2)


def test_exposure_is_taken_where_a_star_has_moved_to():
    slope = lambda shape: 1 + 0.05 * np.indices(shape)[1]  # noqa: E731
    data = with_points(field(exposure=slope), listed([[9.5, 8.0]]), free=True)
    moved = data.at({"stars": data.parameters["stars"] + [2.0, 0.0]})
    there = with_points(field(exposure=slope), listed([[11.5, 8.0]]), free=True)
    fluxes = {"stars": np.array([100.0])}
    np.testing.assert_allclose(
        moved.forward(fluxes).observed, there.forward(fluxes).observed, atol=1e-9
    )
    np.testing.assert_allclose(moved.sensitivity["stars"], there.sensitivity["stars"])
    assert check_adjoint(moved.whole["stars"]) < 1e-12


def test_what_cannot_be_freed_is_refused(tmp_path):
    held = with_points(field(np.ones(SHAPE)), listed([[4.0, 5.0]]))
    with pytest.raises(ConfigError, match="whose places could be fitted"):
        solver().start(held, Model.start(held))
    data, start = observed(8)
    data = field(data.full_counts)
    text = tmp_path / "listed.txt"
    text.write_text("\n".join(f"{x} {y} 12" for x, y in start))
    stars = {"list": text, "origin": 0, "free": True}
    with pytest.raises(ConfigError, match="holds stars at their places"):
        skyfold.run(data, "lira", stars=stars, draws=5, burn=5, progress=False)
    result = skyfold.run(
        data, "map", prior={"tsv": 1e-3}, stars=stars, iterations=6, progress=False
    )
    assert np.any(result.problem.data.parameters["stars"] != free_places(result.data)["stars"])
    assert free_places(result.data)["stars"].shape == (4, 2)
    assert not any(hdu.name == "PSF" for hdu in result.to_fits())
