"""Settings that the data choose, and the way to the optimum beside that of PLUCY."""

from __future__ import annotations

import logging
import pickle
from copy import deepcopy
from itertools import islice

import astropy.units as u
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.benchmarks.two_channel_solver import HISTORICAL, case, path, solvers, with_stars
from tests.framework.test_plucy import least_of_total

import skyfold
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.plucy import Plucy
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import FWHM_PER_SIGMA, Grid
from skyfold.matrices import Matrix
from skyfold.methods.two_channel import WIDER, TwoChannel
from skyfold.model import Component, Model
from skyfold.options import build
from skyfold.points import PointList
from skyfold.priors.entropy import Entropy
from skyfold.priors.log_blur import LogBlur
from skyfold.priors.relative_difference import RelativeDifference
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.sphere import Sphere
from skyfold.strength import BESIDE_POINTS, WORTH, choose
from skyfold_responses import BlockSum, Psf


def gaussian(sigma, n=15):
    away = np.arange(n) - n // 2
    kernel = np.exp(-(away**2 + away[:, None] ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


@pytest.fixture(scope="module")
def small():
    """Two stars over a slope, 24 x 24 pixels."""
    psf = Psf(gaussian(1.2), (24, 24), "periodic")
    places = np.array([[6.0, 7.0], [15.3, 16.8]])
    below = 5 + np.add.outer(np.arange(24.0), np.arange(24.0)) / 3
    mean = psf.forward(below) + psf.points(places).forward(np.array([900.0, 1500.0]))
    counts = np.random.default_rng(5).poisson(np.maximum(mean, 0)).astype(float)
    return with_stars(counts, psf, places)


@pytest.fixture(scope="module")
def restored(small):
    """What the method makes of them when nothing is given."""
    return skyfold.run(small, "two-channel", progress=False)


@pytest.mark.parametrize("name", HISTORICAL)
def test_the_optimum_takes_a_part_of_the_historical_convolutions(shared_data, name):
    data, priors = case(shared_data / "two-channel", name)
    way = path(solvers(priors)["conjugate steps"], data, 40)
    best = way[-1][0]
    assert best - way[-2][0] < 1e-6
    spent = next(psf + blur for objective, psf, blur in way if objective >= best - 1e-3)
    assert 20 < spent <= HISTORICAL[name] / 2.5


@pytest.mark.slow
@pytest.mark.parametrize("name", HISTORICAL)
def test_it_ends_where_many_historical_iterations_end(shared_data, name):
    data, priors = case(shared_data / "two-channel", name)
    theirs, *ours = (
        _after(laps, algorithm, data)
        for laps, algorithm in (
            (1500, Plucy(priors=priors)),
            *((150, algorithm) for algorithm in solvers(priors).values()),
        )
    )
    total = data.counts.sum()
    for end in ours:
        assert end.objective >= theirs.objective - 1e-9 * total
        assert data.sensitivity.dot(end.model) == pytest.approx(total, rel=1e-11)
        np.testing.assert_allclose(end.model["stars"], theirs.model["stars"], rtol=1e-6)


def _after(laps, algorithm, data):
    *_, end = islice(algorithm.iterate(data, algorithm.start(data, Model.start(data))), laps + 1)
    return end


def test_a_lap_blurs_twice(small):
    algorithm = LBFGS(priors={"floating": Entropy(1.0, {"smooth": "5 pix"})}, conserve_flux=True)
    blurs = np.array([blur for _, _, blur in path(algorithm, small, 5)])
    np.testing.assert_array_equal(np.diff(blurs), 2)


def test_the_blur_is_twice_as_wide_as_a_star(small):
    (prior,) = TwoChannel().prepare(small)[1].priors.values()
    assert prior.reference.smooth.to_value(u.pix) == pytest.approx(
        WIDER * 1.2 * FWHM_PER_SIGMA, 0.01
    )
    fine = BlockSum(2, (24, 24)) @ Psf(gaussian(2.4, 25), (48, 48), "periodic")
    halved = with_stars(small.full_counts, fine, np.array([[10.0, 10.0]]))
    (finer,) = TwoChannel(relative=True).prepare(halved)[1].priors.values()
    assert isinstance(finer, LogBlur)
    width = u.Quantity(finer.smooth).to_value(u.pix)
    assert width == pytest.approx(2 * prior.reference.smooth.to_value(u.pix), rel=0.03)


def test_contradictions_are_refused(small):
    with pytest.raises(ConfigError, match="kernel and smooth both say what the blur is"):
        TwoChannel(kernel=np.ones((3, 3)), smooth="3 pix").prepare(small)


def test_on_the_sphere_the_width_begins_with_four_pixels():
    geometry = Sphere(4)
    data = BinnedData(
        np.ones(5),
        {"sky": Matrix(np.ones((5, 192)), geometry.shape)},
        components={"sky": Component(geometry)},
    )
    assert TwoChannel().widened(data, 1.0).smooth == "4 pix"
    assert TwoChannel().widened(data, 2.0) is None
    (prior,) = TwoChannel().prepare(data)[1].priors.values()
    assert prior.reference.smooth == 4 * u.pix


def test_several_blurs_share_the_strength(small):
    total = float(small.sensitivity["sky"].max())
    method = build(TwoChannel, {"strength": 0.6, "smooth": ["3 pix", "9 pix"]})
    algorithm = method.prepare(small)[1]
    assert isinstance(algorithm, LBFGS)
    assert [p.coefficient for p in algorithm.priors.values()] == pytest.approx([0.3 * total] * 2)
    weighed = {"strength": 0.6, "smooth": {"3 pix": 1, "9 pix": 2}, "relative": True}
    fine, coarse = build(TwoChannel, weighed).prepare(small)[1].priors.values()
    assert (fine.coefficient, coarse.coefficient) == pytest.approx((0.2, 0.4))
    assert (fine.smooth, coarse.smooth) == (3 * u.pix, 9 * u.pix)
    with pytest.raises(ConfigError, match="smooth"):
        build(TwoChannel, {"smooth": {"3 pix": -1}})
    with pytest.raises(ConfigError, match="smooth"):
        build(TwoChannel, {"smooth": [3, 9]})


@pytest.mark.parametrize("shares", [{2.0: 1, 6.0: 1}, {2.0: 1, 6.0: 3}])
def test_several_blurs_end_where_an_independent_optimiser_does(shares):
    shape, sigma = (6, 7), {width: width / FWHM_PER_SIGMA for width in shares}
    psf = Psf(gaussian(0.9, 5), shape, "periodic")
    places = np.array([[2.0, 1.0], [4.3, 3.6]])
    points = psf.points(places)
    counts = np.random.default_rng(4).poisson(
        np.maximum(psf.forward(np.full(shape, 6.0)) + points.forward(np.array([90.0, 150.0])), 0)
    )
    data = with_stars(counts.astype(float), psf, places)
    smooth = {f"{width} pix": part for width, part in shares.items()}
    method = build(TwoChannel, {"strength": 0.5, "smooth": smooth})
    _, algorithm = method.prepare(data)
    state = algorithm.start(data, Model.start(data))
    for _ in range(60):
        state = algorithm.step(state, data)

    def judged(x):
        image, fluxes = x[:-2].reshape(shape), x[-2:]
        e = psf.forward(image) + points.forward(fluxes)
        value = np.sum(counts * np.log(e) - e)
        slope = psf.adjoint(counts / e - 1)
        for width, part in shares.items():
            level = gaussian_filter(image, sigma[width], mode="reflect")
            ratio = gaussian_filter(image / level, sigma[width], mode="reflect")
            weight = 0.5 * part / sum(shares.values())
            value -= weight * np.sum(image * np.log(image / level))
            slope += weight * (ratio - 1 - np.log(image / level))
        return -value, -np.concatenate([slope.ravel(), points.adjoint(counts / e - 1)])

    total = float(counts.sum())
    found = least_of_total(judged, 44, total)
    assert found.success
    assert state.objective == pytest.approx(-found.fun, abs=1e-5)
    np.testing.assert_allclose(state.model["stars"], found.x[-2:], 1e-3)


def beside_a_mask(geometry, response, mask):
    """Counts without noise of a sky that is 30 inside a mask, and their data."""
    sky = Component(geometry, mask=mask)
    return BinnedData(response.forward(30.0 * mask), {"sky": response}, components={"sky": sky})


def masked_image():
    """An image of 8 x 8 pixels, of which a row is masked."""
    mask = np.ones((8, 8), bool)
    mask[3] = False
    return beside_a_mask(Grid((8, 8)), Psf(gaussian(0.9, 5), (8, 8), "reflect"), mask)


def masked_sphere():
    """A sphere of which all but a cap is masked, seen in 60 bins."""
    sphere, rng = Sphere(4), np.random.default_rng(3)
    mask = np.arange(192)[:, None] < 40
    return beside_a_mask(sphere, Matrix(rng.random((60, 192)), sphere.shape), mask)


BESIDE = {
    "entropy": {"smooth": "3 pix"},
    "relative": {"smooth": "3 pix", "relative": True},
    "tsv": {"prior": {"tsv": TotalSquaredVariation(0.1)}},
    "rdp": {"prior": {"rdp": RelativeDifference(3.0)}},
}


@pytest.mark.parametrize("options", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("data", [masked_image(), masked_sphere()], ids=["image", "sphere"])
def test_a_flat_sky_is_flat_beside_a_mask(data, options):
    rng, mask = np.random.default_rng(2), data.components["sky"].mask
    start = Model.start(data, sky=mask * rng.uniform(5, 90, mask.shape))
    _, algorithm = TwoChannel(strength=3.0, **options).prepare(data)
    *_, end = islice(algorithm.iterate(data, algorithm.start(data, start)), 80)
    np.testing.assert_allclose(end.model["sky"][mask], 30, rtol=1e-3)
    assert not np.any(end.model["sky"][~mask])


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("data", [masked_image(), masked_sphere()], ids=["image", "sphere"])
def test_beside_a_mask_it_ends_where_an_independent_optimiser_does(data, relative):
    counts = np.random.default_rng(1).poisson(data.full_counts).astype(float)
    data, response, sky = data.with_counts(counts), data.whole["sky"], data.components["sky"]
    method = TwoChannel(strength=0.5, smooth="3 pix", relative=relative)
    _, algorithm = method.prepare(data)
    ends = []
    for solver in (algorithm, LBFGS(priors=algorithm.priors, conserve_flux=True)):
        ends.append(_after(80, solver, data))
    (prior,), seen = algorithm.priors.values(), data.sensitivity["sky"]

    def judged(light):  # of each value, in counts
        image = np.zeros(sky.geometry.shape)
        image[sky.mask] = light / seen[sky.mask]
        expected = response.forward(image)
        value = np.sum(counts * np.log(expected) - expected) + prior.value(image, sky)
        slope = response.adjoint(counts / expected - 1) + prior.gradient(image, sky)
        return -value, -(slope / seen)[sky.mask]

    found = least_of_total(judged, np.count_nonzero(sky.mask), counts.sum())
    assert found.success
    for end in ends:
        assert end.objective == pytest.approx(-found.fun, abs=1e-4)
        np.testing.assert_allclose(
            (end.model["sky"] * seen)[sky.mask], found.x, rtol=1e-2, atol=1e-2 * found.x.max()
        )


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), deepcopy])
@pytest.mark.parametrize(
    "options",
    [
        {"strength": 1.0},
        {"strength": 1.0, "relative": True},
        {"prior": {"entropy": {"coefficient": 0.1, "reference": 5.0}}},
        {"resolution": "3 pix"},
    ],
)
def test_a_result_goes_on_in_another_process(small, options, copied):
    result = skyfold.run(small, "two-channel", 3, progress=False, **options)
    whole = result.problem.algorithm, result.state, result.data
    algorithm, state, data = copied(whole)
    expected = whole[0].step(*whole[1:])
    assert copied(result).state.objective == result.state.objective
    np.testing.assert_array_equal(algorithm.step(state, data).model["sky"], expected.model["sky"])


def test_a_kernel_takes_the_place_of_a_width(small):
    for relative in (False, True):
        method = build(TwoChannel, {"kernel": gaussian(2.0), "relative": relative})
        assert method.widened(small, 2.0) is None
        result = skyfold.run(
            small, "two-channel", kernel=gaussian(2.0), relative=relative, strength=0.2,
            iterations=30, progress=False,
        )  # fmt: skip
        smooth = f"{2.0 * FWHM_PER_SIGMA} pix"
        other = skyfold.run(
            small, "two-channel", smooth=smooth, relative=relative, strength=0.2,
            iterations=30, progress=False,
        )  # fmt: skip
        np.testing.assert_allclose(result.model["stars"], other.model["stars"], rtol=5e-3)


def test_held_out_photons_choose_a_width_that_predicts_well():
    """A sky of grains three pixels wide is drawn to a narrow blur, a flat one to a wide one."""
    rng, widths, psf = np.random.default_rng(1), {}, Psf(gaussian(1.0, 9), (32, 32), "periodic")
    grains = 60 * np.exp(gaussian_filter(rng.normal(size=(32, 32)), 1.5, mode="wrap") * 6)
    for name, sky in (("grains", grains), ("flat", np.full((32, 32), 60.0))):
        counts = rng.poisson(psf.forward(sky)).astype(float)
        data = BinnedData(counts, {"sky": psf})
        algorithm = TwoChannel().prepare(data)[1]
        start = algorithm.start(data, Model.start(data))

        def widened(times, data=data):
            method = TwoChannel().widened(data, times)
            return method and method.prepare(data)[1].priors

        found = choose(algorithm, data, start, widened=widened)
        known = choose(algorithm, data, start)
        assert found.height >= known.height
        assert all(one.height <= found.height + WORTH for one in found.others)
        widths[name] = found.times
    assert widths["grains"] < 1 <= widths["flat"]


def test_beside_points_less_is_taken_than_predicts_best(small):
    _, algorithm = TwoChannel().prepare(small)
    found = choose(algorithm, small, algorithm.start(small, Model.start(small)), [0.1, 1.0])
    assert found.taken == pytest.approx(BESIDE_POINTS * found.best)
    sky = BinnedData(small.full_counts, {"sky": small.whole["sky"]})
    _, algorithm = TwoChannel().prepare(sky)
    alone = choose(algorithm, sky, algorithm.start(sky, Model.start(sky)), [0.1, 1.0])
    assert alone.taken == alone.best


def test_on_the_sphere_the_best_is_taken_beside_points():
    rng, geometry = np.random.default_rng(2), Sphere(1)
    sky, stars = rng.random((40, 12)), rng.random((40, 2))
    data = BinnedData(
        rng.poisson(30 * sky.sum(axis=1) + 200 * stars.sum(axis=1)).astype(float),
        {"sky": Matrix(sky, geometry.shape), "stars": Matrix(stars, (2,))},
        components={
            "sky": Component(geometry),
            "stars": Component(PointList(("a", "b"), np.zeros((2, 2))), start=np.ones(2)),
        },
    )
    _, algorithm = TwoChannel().prepare(data)
    found = choose(algorithm, data, algorithm.start(data, Model.start(data)), [0.1, 1.0])
    assert found.taken == found.best


def test_strength_and_width_are_chosen_unless_they_are_given(small, restored):
    told = restored.manifest["config"]["method"]
    assert 1e-3 < told["strength"] < 1e3
    assert 1.5 <= u.Quantity(told["smooth"]).value <= 12
    known = {key: told[key] for key in ("strength", "smooth")}
    again = skyfold.run(small, "two-channel", **known, progress=False)
    np.testing.assert_allclose(again.model["stars"], restored.model["stars"], rtol=1e-4)


def test_counts_that_cannot_be_divided_take_the_usual_strength(small, caplog):
    weighed = with_stars(
        small.full_counts * 1.37, small.whole["sky"], small.components["stars"].geometry.places
    )
    with caplog.at_level(logging.WARNING):
        result = skyfold.run(weighed, "two-channel", progress=False, iterations=5)
    assert result.manifest["config"]["method"]["strength"] == 0.1
    assert "0.1 is taken" in caplog.text
    with pytest.raises(DataError, match="give it as a number"):
        skyfold.run(weighed, "two-channel", strength="auto", progress=False)


def test_ratios_to_the_blur_lead_to_one_result_from_both_ends(small):
    _, algorithm = TwoChannel(strength=2.0, relative=True).prepare(small)
    ends = []
    for share in (0.05, 0.95):
        total = small.counts.sum()
        start = Model.start(small).with_values(
            {
                "sky": np.full((24, 24), (1 - share) * total / 576),
                "stars": np.full(2, share * total / 2),
            }
        )
        state = algorithm.start(small, start)
        for _ in range(50):
            state = algorithm.step(state, small)
        ends.append(state)
    assert ends[0].objective == pytest.approx(ends[1].objective, abs=1e-4)
    np.testing.assert_allclose(ends[0].model["stars"], ends[1].model["stars"], rtol=1e-3)


def test_errors_of_fluxes_hold(small, restored):
    relative = skyfold.run(small, "two-channel", relative=True, strength=2.0, progress=False)
    for table in (restored.stars, relative.stars):
        pulls = (table["flux"] - [900, 1500]) / table["flux_error"]
        assert np.all(np.abs(pulls) < 3.5)
        assert np.all(table["flux_error"] > np.sqrt([900, 1500]))
