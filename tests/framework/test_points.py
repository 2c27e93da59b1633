"""Point sources as a component: places, starts, shared products, the whole sky."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.matrices import Matrix, Template
from skyfold.model import Component, Model
from skyfold.points import Few, PointList, with_points
from skyfold.priors.entropy import Entropy
from skyfold.response import Chain, Response, check_adjoint
from skyfold.sources import Sources
from skyfold.sphere import Sphere
from skyfold_responses import BlockSum, Psf
from skyfold_responses.points import Points

KERNEL = np.outer(*[np.exp(-0.5 * (np.arange(-6, 7) / 1.7) ** 2)] * 2)
KERNEL /= KERNEL.sum()


def sources(*places, **more):
    names = tuple(f"s{i}" for i in range(len(places)))
    return Sources(names, np.array(places, float), **more)


def field(shape=(24, 24), block=1, **more):
    psf: Response = Psf(KERNEL, tuple(block * n for n in shape))
    grid = None
    response = BlockSum(block, shape) @ psf if block > 1 else psf
    grid = Grid(psf.model_shape, field=psf.field)  # type: ignore[attr-defined]
    counts = np.random.default_rng(3).poisson(4.0, shape)
    return BinnedData(counts, {"sky": response}, components={"sky": Component(grid)}, **more)


def test_places_are_those_of_the_data_whatever_the_grid_of_the_sky():
    for block in (1, 2):
        seen = with_points(field(block=block), sources((5.3, 11.8)))
        image = seen.forward({"stars": np.array([1e4])}).observed.reshape(24, 24)
        y, x = np.indices((24, 24))
        centre = [float((image * axis).sum() / image.sum()) for axis in (x, y)]
        blurred = 1e4 * KERNEL.sum()
        assert image.sum() == pytest.approx(blurred, rel=0.05)
        assert centre == pytest.approx([5.3, 11.8], abs=0.05)


def test_in_whole_pixels_sky_and_stars_share_one_product(monkeypatch):
    seen = with_points(field(), sources((5, 6), (10, 17)))
    chain, psf = seen.responses["stars"], seen.responses["sky"]
    assert isinstance(chain, Chain)
    assert chain.outer is psf
    rng = np.random.default_rng(0)
    values = {"sky": rng.random(psf.model_shape), "stars": np.array([40.0, 90.0])}
    calls = []
    forward, adjoint = psf.engine.forward, psf.engine.adjoint
    monkeypatch.setattr(psf.engine, "forward", lambda x: (calls.append("R"), forward(x))[1])
    monkeypatch.setattr(psf.engine, "adjoint", lambda w: (calls.append("T"), adjoint(w))[1])
    seen.sensitivity  # noqa: B018
    calls.clear()
    step = seen.e_step(values)
    assert calls == ["R", "T"]
    apart = psf.forward(values["sky"]) + chain.forward(values["stars"])
    np.testing.assert_allclose(step.expectation.observed, apart.ravel(), rtol=1e-10)
    ratio = seen.full_counts / apart
    np.testing.assert_allclose(step.back["sky"], psf.adjoint(ratio), rtol=1e-9)
    np.testing.assert_allclose(step.back["stars"], chain.adjoint(ratio), rtol=1e-9)
    np.testing.assert_allclose(seen.adjoint(ratio.ravel())["stars"], chain.adjoint(ratio))


def test_between_pixels_the_kernel_is_shifted():
    seen = with_points(field(), sources((5.2, 6)))
    assert isinstance(seen.responses["stars"], Points)
    assert seen.parameters["stars"].shape == (1, 2)


def test_first_fluxes():
    data = field()
    total = data.counts.sum()
    given = with_points(data, sources((5, 6), (10, 17), flux=np.array([90.0, np.nan])))
    assert given.components["stars"].start[0] == 90
    assert given.components["stars"].start[1] == pytest.approx(total / 4, rel=0.05)
    unknown = with_points(data, sources((5, 6), (10, 17)))
    assert unknown.sensitivity["stars"] @ unknown.components["stars"].start == pytest.approx(
        total / 2
    )
    bright = with_points(data, sources((5, 6), flux=np.array([1e9])))
    model = Model.start(bright)
    assert bright.sensitivity["stars"] @ model["stars"] == pytest.approx(total / 2)
    assert bright.forward(model).total == pytest.approx(total)


def test_what_is_refused():
    data = field()
    with pytest.raises(DataError, match="outside"):
        with_points(data, sources((40, 3)))
    once = with_points(data, sources((4, 3)))
    with pytest.raises(ConfigError, match="have a component 'stars' already"):
        with_points(once, sources((4, 3)))
    with pytest.raises(ConfigError, match="one sky"):
        with_points(BinnedData(np.ones(3), {"b": np.ones(3)}), sources((1, 1)))


def test_several_observations_share_the_stars_or_each_has_its_own():
    both = JointData([field(), field()])
    shared = with_points(both, sources((5, 6)))
    assert set(shared.components) == {"sky", "stars"}
    each = with_points(both, sources((5, 6)), each=True)
    assert set(each.components) == {"sky", "stars 1", "stars 2"}


def test_lists_that_differ_are_told_apart():
    one, other = PointList(("a", "b"), np.zeros((2, 2))), PointList(("a", "c"), np.zeros((2, 2)))
    assert one.difference(one) is None
    assert "point sources" in str(one.difference(other))
    moved = PointList(("a", "b"), np.array([[0, 0], [0, 0.1]]))
    assert "'b'" in str(one.difference(moved))
    assert "point sources against" in str(one.difference(Sphere(1)))


def compton(counts=None):
    rng = np.random.default_rng(5)
    sphere = Sphere(4)
    matrix = rng.random((300, sphere.pixels)) ** 6 * sphere.pixel_area * 1e-1
    counts = rng.poisson(0.3, 300) if counts is None else counts
    return BinnedData(
        counts,
        {"sky": Matrix(matrix, sphere.shape), "background": np.full(300, 0.1)},
        components={"sky": Component(sphere, "1 / (cm2 s sr)")},
    )


def test_on_the_sphere_a_source_is_shared_among_the_nearest_pixels():
    pytest.importorskip("healpy")
    data = compton()
    seen = with_points(data, sources((10.0, 20.0), (200.0, -60.0), frame="galactic"))
    component, response = seen.components["stars"], seen.whole["stars"]
    assert isinstance(response, Few)
    assert component.geometry.shape == (2, 1)
    assert component.unit == "1 / (s cm2)" or component.unit == "1 / (cm2 s)"
    assert check_adjoint(response) < 1e-14
    fluxes = np.array([[2.0], [3.0]])
    sky = response.inner.forward(fluxes)
    assert sky.sum() * Sphere(4).pixel_area == pytest.approx(5)
    np.testing.assert_allclose(response.forward(fluxes), data.whole["sky"].forward(sky))
    few = np.array([3, 77, 250])
    np.testing.assert_allclose(
        response.rows(few).forward(fluxes), response.forward(fluxes).ravel()[few]
    )


@pytest.mark.parametrize("method", [RichardsonLucy(), LBFGS()])
def test_fluxes_on_the_sphere_are_found(method):
    pytest.importorskip("healpy")
    data = with_points(compton(), sources((10.0, 20.0), (200.0, -60.0), frame="galactic"))
    truth = {"stars": np.array([[3e3], [1e3]]), "background": np.ones(1)}
    truth["sky"] = np.zeros(Sphere(4).shape)
    counts = np.random.default_rng(1).poisson(data.full_expectation(truth))
    known = with_points(compton(counts), sources((10.0, 20.0), (200.0, -60.0), frame="galactic"))
    known = known.with_components(sky=Component(Sphere(4), "1 / (cm2 s sr)", fixed=True, start=0.0))
    state = method.start(known, Model.start(known))
    for _ in range(200):
        state = method.step(state, known)
    errors = np.sqrt(np.diag(_covariance(known, truth)))[:2]
    assert np.all(np.abs(state.model["stars"][:, 0] - [3e3, 1e3]) < 4 * errors)


def _covariance(data: BinnedData, truth):
    columns = [data.whole["stars"].forward(np.eye(2)[i][:, None]).ravel() for i in range(2)]
    columns.append(np.full(300, 0.1))
    made = np.array(columns)
    return np.linalg.inv((made / data.full_expectation(truth).ravel()) @ made.T)


def quasi_newton(data: DataInterface, laps: int = 60, **options):
    algorithm = LBFGS(priors={"floating": Entropy(0.3, {"smooth": "6 pix"})}, **options)
    state = algorithm.start(data, Model.start(data))
    states = [state]
    for _ in range(laps):
        state = algorithm.step(state, data)
        states.append(state)
    return states


@pytest.mark.parametrize("known", [0.0, 1.5])
def test_the_flux_is_conserved_to_rounding_and_the_objective_rises(known):
    data = field()
    if known:
        level = np.full(data.shape, known)
        data = BinnedData(
            data.full_counts,
            {**data.whole, "known": Template(level)},
            components={
                **data.components,
                "known": Component(PointList(("level",), np.zeros((1, 2))), fixed=True),
            },
        )
    data = with_points(data, sources((5, 6), (10.4, 17)))
    states = quasi_newton(data, conserve_flux=True)
    totals = np.array([data.forward(s.model).total for s in states])
    np.testing.assert_allclose(totals, totals[0], rtol=1e-12)
    assert totals[0] == pytest.approx(data.counts.sum())
    objectives = np.array([s.objective for s in states])
    assert np.all(np.diff(objectives) > -1e-9 * abs(objectives[0]))
    best = states[-1]
    slope = best.back["stars"] / data.sensitivity["stars"]
    lost = data.components and best.log_prior / (data.counts.sum() - known * data.counts.size)
    if not known:  # at the maximum the multiplier is one plus the prior per count
        seen = best.model["stars"] > 1
        np.testing.assert_allclose(slope[seen], 1 + lost, atol=1e-5)


def test_without_it_the_prior_takes_its_part_of_the_flux():
    data = with_points(field(), sources((5, 6), (10.4, 17)))
    free = quasi_newton(data)[-1]
    short = data.counts.sum() - data.forward(free.model).total
    assert short == pytest.approx(-free.log_prior, rel=1e-2)


def test_a_lower_bound_is_refused():
    data = field()
    raised = Component(data.components["sky"].geometry, bounds=(0.1, np.inf))
    data = data.with_components(sky=raised)
    with pytest.raises(ConfigError, match="no bound but zero"):
        LBFGS(conserve_flux=True).start(data, Model.start(data))


def masked(data, x, y, reach=9):
    rows, columns = np.indices(data.shape)
    weight = (np.hypot(columns - x, rows - y) > reach).astype(float)
    return BinnedData(data.full_counts, data.whole, weight, components=data.components)


@pytest.mark.parametrize("place", [(5, 6), (5.3, 6.1)])
def test_a_star_that_no_observation_sees_is_refused(place):
    blind, both = masked(field(), 5, 6), sources(place, (20.2, 20))
    with pytest.raises(DataError, match="from star 's0'"):
        with_points(blind, both)
    for each in (False, True):
        with pytest.raises(DataError, match="from star 's0'"):
            with_points(JointData([blind, blind]), both, each=each)
    alone = sources(place)
    with pytest.raises(DataError, match="from star 's0'"):
        with_points(blind, alone)


def test_of_observations_with_fluxes_of_their_own_those_that_do_not_see_a_star_hold_it_at_zero():
    both = JointData([field(), masked(field(), 5.3, 6.1)])
    stars = sources((5.3, 6.1), (20.2, 20))
    each = with_points(both, stars, each=True)
    assert each.components["stars 1"].mask is None
    assert each.components["stars 2"].mask.tolist() == [False, True]
    start = Model.start(each)["stars 2"]
    assert start[0] == 0
    assert 0 < start[1] < 1e4
    turned = JointData(both.members[::-1])
    shared = with_points(turned, stars)
    assert shared.components["stars"].mask is None
    assert 0 < np.max(Model.start(shared)["stars"]) < 1e4


def narrow():
    kernel = np.outer([1, 4, 1], [1, 4, 1]) / 36
    psf = Psf(kernel, (24, 24))
    components = {"sky": Component(Grid(psf.model_shape, field=psf.field))}
    return BinnedData(np.ones((24, 24)), {"sky": psf}, components=components)


def test_a_psf_narrower_than_its_pixels_is_told_for_stars_between_them():
    def told(data, *places):
        checks = with_points(data, sources(*places)).origin.checks
        return [check for check in checks if "between them" in check.message]

    assert "--block 2" in told(narrow(), (5.2, 6))[0].message
    assert not told(narrow(), (5, 6))
    assert not told(field(block=2), (5.2, 6))
