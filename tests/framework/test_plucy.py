"""The step of PLUCY: the numbers of the original, and what it must keep to on any problem."""

import logging
import sys
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

import skyfold
from skyfold import checkpoint
from skyfold.algorithm import REFRESH
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.plucy import Plucy
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import FWHM_PER_SIGMA, Grid, Normalisations
from skyfold.methods.plucy import PLUCY
from skyfold.model import Component, Model
from skyfold.pixels import Shared
from skyfold.points import PointList
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma
from skyfold.refinements import Floor
from skyfold.response import Response
from skyfold.sphere import Sphere
from skyfold_responses import BlockSum, Psf
from skyfold_responses.boxes import boxes

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from numpy_plucy import NumpyPlucy


class BlockMean(Response):
    """Every pixel becomes the mean of its block, as PLUCY sub-samples."""

    def __init__(self, block):
        self.block, self.model_shape = block, block.model_shape
        self.data_shape = block.model_shape

    def forward(self, values):
        return self.block.adjoint(self.block.forward(values)) / np.prod(self.block.factor)

    adjoint = forward


def floating(strength, sigma):
    smooth = {"smooth": f"{float(sigma * FWHM_PER_SIGMA)!r} pix", "cyclic": True}
    return {"entropy": Entropy(strength, smooth)}


def with_stars(counts, sky, stars, flux, shape=None, **others):
    """Data of a sky and stars; the flux is where these start."""
    places = np.zeros((len(flux), 2))
    components = {
        "sky": Component(Grid(shape or counts.shape)),
        "stars": Component(PointList(tuple(map(str, range(len(flux)))), places), start=flux),
        **{name: Component(Normalisations(), fixed=True) for name in others},
    }
    return BinnedData(counts, {"sky": sky, "stars": stars, **others}, components=components)


def laps(algorithm, data, n):
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


def note(states, name):
    return np.array([state.notes[name] for state in states])


def historical(shared_data, name):
    """Input of a reference run: its arrays, its PSF and where the stars lie, and their fluxes."""
    case = np.load(shared_data / "two-channel" / f"case_{name}_input.npz")
    flux = 10 ** (float(np.float32(-0.4)) * (case["mags"] - case["magzero"]))
    return case, case["psf"] / case["psf"].sum(), np.rint(case["stars"][:, :2]) - 1, flux


def agrees(states, reference):
    """Check all that the original printed; its numbers have 12 digits, or 4 to 6."""
    entering, leaving = states[:-1], states[1:]
    early = reference["conv"] > 1e-3
    np.testing.assert_allclose(note(entering, "objective"), reference["obj"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(note(entering, "mean_log_likelihood"), reference["loglik"], 2e-6)
    np.testing.assert_allclose(note(entering, "entropy"), reference["ent"], 1e-4, atol=1e-12)
    np.testing.assert_allclose(
        100 * note(entering, "share_of_stars"), reference["star_frac"], rtol=0, atol=0.006
    )
    used = np.abs(note(leaving, "acceleration") - reference["accel"])
    assert used[early].max() <= 1e-3
    np.testing.assert_allclose(note(leaving, "convergence")[early], reference["conv"][early], 1e-3)
    first = np.array([state.model["stars"][0] for state in leaving])
    np.testing.assert_allclose(first, reference["flux4"][:, 0], 1e-5)
    np.testing.assert_allclose(states[-1].model["stars"], reference["table"][:, 4], 1e-5)
    np.testing.assert_allclose(states[-1].model["sky"], reference["back"], 1e-4)


@pytest.mark.parametrize(("accelerate", "exact"), [(True, False), (True, True), (False, False)])
def test_a_star_on_a_flat_sky_as_the_original(shared_data, accelerate, exact):
    case, kernel, places, flux = historical(shared_data, "a")
    psf = Psf(kernel, case["data"].shape, "periodic")
    stars = psf.points(places) if exact else psf @ Shared(places, case["data"].shape)
    data = with_stars(case["data"], psf, stars, flux)
    name = "ref_a" if accelerate else "ref_a_noaccel"
    reference = np.load(shared_data / "two-channel" / f"{name}.npz")
    algorithm = Plucy(priors=floating(0.1, 10), accelerate=accelerate)
    states = laps(algorithm, data, len(reference["obj"]))
    agrees(states, reference)
    if accelerate:
        early = reference["conv"] > 1e-3
        longest = note(states[1:], "largest_acceleration")[early]
        np.testing.assert_allclose(longest, reference["maxacc"][early], 1e-4)


@pytest.mark.parametrize("replicated", [True, False])
def test_a_quasar_in_its_galaxy_on_finer_pixels_as_the_original(shared_data, replicated):
    case, kernel, places, flux = historical(shared_data, "b")
    fine = case["data"].shape
    block = BlockSum(2, case["detector"].shape)
    psf = (BlockMean(block) if replicated else block) @ Psf(kernel, fine, "periodic")
    counts = case["data"] if replicated else case["detector"]
    data = with_stars(counts, psf, psf @ Shared(places, fine), flux, fine)
    states = laps(Plucy(priors=floating(0.1, 3)), data, 100)
    agrees(states, np.load(shared_data / "two-channel" / "ref_b.npz"))


def between_pixels(shared_data, response):
    """CPLUCY: half of the counts in stars, equally shared; no acceleration; single precision."""
    case, kernel, _, _ = historical(shared_data, "d")
    places, shape = case["stars"][:, :2] - 1, case["data"].shape
    psf = Psf(kernel, shape, "periodic")
    stars = response(psf, kernel.astype(np.float32).astype(float), places, shape)
    inside = stars.sensitivity(np.ones(shape))
    total = case["data"].sum()
    data = with_stars(case["data"], psf, stars, 0.5 * total / len(places) / inside)
    algorithm = Plucy(priors=floating(float(np.float32(0.1)), 5), accelerate=False)
    return laps(algorithm, data, 60)


@pytest.mark.parametrize("interpolant", ["linear", "poly3", "poly5"])
def test_stars_between_pixels_as_the_original(shared_data, interpolant):
    def small(psf, kernel, places, shape):
        return boxes(kernel, places, shape, interpolant=interpolant)

    states = between_pixels(shared_data, small)
    reference = np.load(shared_data / "two-channel" / f"ref_d_cplucy_{interpolant}.npz")
    objective = np.array([s.objective + s.expectation.total for s in states[:-1]])
    np.testing.assert_allclose(objective, reference["obj"], 1e-9)
    np.testing.assert_allclose(states[-1].model["stars"], reference["table"][:, 4], 5e-6)
    np.testing.assert_allclose(states[-1].model["sky"], reference["back"], 1e-4)


def test_exact_shifts_come_close_to_interpolated_stars(shared_data):
    states = between_pixels(shared_data, lambda psf, kernel, places, shape: psf.points(places))
    reference = np.load(shared_data / "two-channel" / "ref_d_cplucy_poly5.npz")
    np.testing.assert_allclose(states[-1].model["stars"], reference["table"][:, 4], 2e-3)


def scene(shape, seed=0, strength=0.1, points=2):
    """Stars on an uneven sky of any size, a known background, and how they are restored."""
    rng = np.random.default_rng(seed)
    where = np.indices(shape)
    away = sum((i - (n - 1) // 2) ** 2 for i, n in zip(where, shape, strict=True))
    psf = Psf(np.exp(-away / 3) / np.exp(-away / 3).sum(), shape, "periodic", engine="scipy")
    sky = 4 + 3 * rng.random(shape)
    places = np.stack([rng.integers(0, n, points) for n in (*shape, 1)[:2][::-1]], axis=1)
    if len(shape) == 1:
        places = places[:, ::-1]
    stars = psf @ Shared(places.astype(float), shape)
    fluxes = rng.uniform(50, 300, points)
    known = np.full(shape, 0.5)
    counts = rng.poisson(np.maximum(psf.forward(sky) + stars.forward(fluxes) + known, 0))
    data = with_stars(counts.astype(float), psf, stars, 0.7 * fluxes, background=known)
    return data, Plucy(priors=floating(strength, 1.7))


SHAPES = st.one_of(
    st.tuples(st.integers(5, 40)), st.tuples(st.sampled_from([4, 5, 7, 13, 16]), st.integers(4, 19))
)


@given(SHAPES, st.integers(0, 99), st.sampled_from([1e-2, 0.1, 1.0, 30.0]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_on_any_problem_counts_are_kept_and_values_positive(shape, seed, strength, fixed):
    data, algorithm = scene(shape, seed, strength)
    if fixed:
        algorithm = Plucy(priors={"entropy": Entropy(strength, 40.0)}, guard=True)
    states = laps(algorithm, data, 8)
    for before, now in pairwise(states):
        seen = data.sensitivity.dot(now.model)
        assert seen == pytest.approx(data.sensitivity.dot(before.model), rel=1e-12)
        assert seen == pytest.approx(data.counts.sum(), rel=1e-11)
        assert min(now.model["sky"].min(), now.model["stars"].min()) > 0
        assert now.objective >= before.objective - 1e-9 * abs(before.objective)
        sky, values = data.components["sky"], now.model["sky"]
        ahead = sum(prior.value(values, sky) for prior in algorithm.priors.values())
        assert now.log_prior == pytest.approx(ahead, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("shape", [(12, 20), (13, 17), (11, 16)])
def test_any_size_as_by_an_independent_program(shape):
    rng = np.random.default_rng(3)
    y, x = np.indices(shape)
    psf = np.exp(-((y - (shape[0] - 1) // 2) ** 2 + (x - (shape[1] - 1) // 2) ** 2) / 2)
    counts = rng.poisson(20, shape).astype(float)
    counts[3, 4] += 300
    places, flux = np.array([[3, 4], [9, 11]]), np.array([100.0, 30.0])
    other = NumpyPlucy(counts, psf, places, 0.3, 2.0)
    psf = Psf(psf / psf.sum(), shape, "periodic", engine="scipy")
    data = with_stars(counts, psf, psf @ Shared(places[:, ::-1].astype(float), shape), flux)
    states, now = laps(Plucy(priors=floating(0.3, 2.0)), data, 12), other.start(flux)
    for before, after in pairwise(states):
        now = other.step(now)
        assert before.notes["objective"] == pytest.approx(now.objective, abs=1e-12)
        assert after.notes["acceleration"] == pytest.approx(now.acceleration, abs=1e-8)
    np.testing.assert_allclose(states[-1].model["sky"] / counts.sum(), now.background, 1e-9)


def test_image_and_stars_moved_alike_give_the_same_moved(shared_data):
    case, kernel, places, flux = historical(shared_data, "a")
    shape, move = case["data"].shape, np.array([9, -23])  # x, y
    psf = Psf(kernel, shape, "periodic")
    found = []
    for by in (np.zeros(2), move):
        counts = np.roll(case["data"], by[::-1].astype(int), (0, 1))
        stars = psf @ Shared((places + by) % 64, shape)
        data = with_stars(counts, psf, stars, flux)
        found.append(laps(Plucy(priors=floating(0.1, 10)), data, 5)[-1].model)
    here, there = found
    np.testing.assert_allclose(np.roll(here["sky"], move[::-1], (0, 1)), there["sky"], 1e-10)
    np.testing.assert_allclose(here["stars"], there["stars"], 1e-12)


@given(SHAPES, st.integers(0, 99), st.floats(0.3, 9))
@settings(max_examples=40, deadline=None)
def test_the_cyclic_blur_is_the_sum_over_its_pixels(shape, seed, sigma):
    rng = np.random.default_rng(seed)
    values = rng.random(shape)
    (prior,) = floating(1.0, sigma).values()
    away = [np.abs(np.arange(n)[:, None] - np.arange(n)) for n in shape]
    away = [np.minimum(d, len(d) - d) for d in away]
    square = away[0] ** 2
    if len(shape) == 2:
        square = away[0][:, None, :, None] ** 2 + away[1][None, :, None, :] ** 2
    kernel = np.where(square < 25 * sigma**2, np.exp(-square / (2 * sigma**2)), 0)
    blurred = np.tensordot(kernel, values, len(shape)) / kernel[(0,) * len(shape)].sum()
    np.testing.assert_allclose(prior.level(values, Component(Grid(shape))), blurred, rtol=1e-11)


@given(SHAPES, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_slope_and_bend_of_the_cyclic_entropy_are_those_of_its_value(shape, seed):
    rng = np.random.default_rng(seed)
    values, direction = np.exp(rng.normal(size=shape)), rng.normal(size=shape)
    (prior,), sky, h = floating(0.7, 1.5).values(), Component(Grid(shape)), 1e-5

    def along(what, a):
        return what(values + a * direction, sky)

    slope = np.sum(prior.gradient(values, sky) * direction)
    rise = (along(prior.value, h) - along(prior.value, -h)) / (2 * h)
    assert slope == pytest.approx(rise, rel=1e-5, abs=1e-6)
    bend = prior.hessian(values, direction, sky)
    change = (along(prior.gradient, h) - along(prior.gradient, -h)) / (2 * h)
    np.testing.assert_allclose(bend, change, rtol=1e-4, atol=1e-5)


def test_a_sphere_has_no_edges_to_be_cyclic_at():
    (prior,) = floating(1.0, 2.0).values()
    with pytest.raises(ConfigError, match="Sphere has no edges to be cyclic at"):
        prior.value(np.ones((12, 1)), Component(Sphere(1)))


SKEW = np.array([[0.0, 1, 0.2], [0.5, 3, 1], [0.3, 2, 0]])


def least_of_total(judged, values, total):
    """Return the least of a function, given with its slope, of positive values with this total."""
    return optimize.minimize(
        judged,
        np.full(values, total / values),
        jac=True,
        method="SLSQP",
        bounds=[(1e-10, None)] * values,
        constraints={"type": "eq", "fun": lambda x: x.sum() - total, "jac": np.ones_like},
        options={"maxiter": 500, "ftol": 1e-13},
    )


@pytest.mark.parametrize("reference", [30.0, {"smooth": "4 pix", "cyclic": True}, {"kernel": SKEW}])
@pytest.mark.parametrize("masked", [False, True])
def test_it_ends_where_an_independent_optimiser_does(reference, masked):
    data, _ = scene((6, 7), seed=4)
    prior, total, inside = Entropy(0.5, reference), data.counts.sum() - 0.5 * 42, np.ones((6, 7))
    if masked:
        inside[2:4, 1:6] = 0
        part = Component(Grid((6, 7)), mask=inside > 0)
        data = data.with_components(sky=part)
    sky, stars, part = data.whole["sky"], data.whole["stars"], data.components["sky"]

    def judged(x):
        image, fluxes = np.zeros((6, 7)), x[-2:]
        image[inside > 0] = x[:-2]
        e = sky.forward(image) + stars.forward(fluxes) + 0.5
        ratio = data.full_counts / e
        value = np.sum(data.full_counts * np.log(e) - e) + prior.value(image, part)
        slope = sky.adjoint(ratio - 1) + prior.gradient(image, part)
        return -value, -np.concatenate([slope[inside > 0], stars.adjoint(ratio - 1)])

    found = least_of_total(judged, 2 + int(inside.sum()), total)
    assert found.success
    for conjugate, laps_ in ((False, 500), (True, 60)):
        state = laps(Plucy(priors={"entropy": prior}, conjugate=conjugate), data, laps_)[-1]
        assert state.objective == pytest.approx(-found.fun, abs=1e-6)
    np.testing.assert_allclose(state.model["stars"], found.x[-2:], 1e-5, atol=1e-6)
    quick = LBFGS(priors={"entropy": prior}, conserve_flux=True)
    states = quick.iterate(data, quick.start(data, Model.start(data).balanced(data)))
    best = max(next(states).objective for _ in range(60))
    assert best == pytest.approx(-found.fun, abs=1e-5)


def test_sky_that_is_hardly_seen_follows_its_blur():
    rng = np.random.default_rng(1)
    away = sum((i - 10) ** 2 for i in np.indices((21, 21)))
    psf = Psf((1 + away / 4) ** -2.5 / 8, (24, 24), "extended")
    middle = sum(
        (i - n / 2) ** 2 for i, n in zip(np.indices(psf.model_shape), (44, 44), strict=True)
    )
    stars = psf.points(rng.uniform(12, 30, (3, 2)))
    expected = psf.forward(5 + 50 * np.exp(-middle / 100)) + stars.forward(np.full(3, 2e3))
    data = with_stars(
        rng.poisson(np.maximum(expected, 0)).astype(float),
        psf,
        stars,
        np.full(3, 1e3),
        psf.model_shape,
    )
    assert data.sensitivity["sky"].min() < 1e-4
    priors = {"entropy": Entropy(0.1, {"smooth": "8 pix"})}
    quick = LBFGS(priors=priors, conserve_flux=True)
    states = quick.iterate(data, quick.start(data, Model.start(data).balanced(data)))
    best = max(next(states).objective for _ in range(120))
    state = laps(Plucy(priors=priors, conjugate=True), data, 60)[-1]
    assert state.objective == pytest.approx(best, abs=2e-3)
    assert data.sensitivity.dot(state.model) == pytest.approx(data.counts.sum(), rel=1e-11)
    assert best - laps(Plucy(priors=priors), data, 60)[-1].objective < 1


def test_without_entropy_and_acceleration_it_is_richardson_lucy():
    data, _ = scene((9, 8), points=1)
    data = BinnedData(data.full_counts, {"sky": data.whole["sky"]})
    state = laps(Plucy(accelerate=False), data, 10)[-1]
    expected = laps(RichardsonLucy(), data, 10)[-1]
    np.testing.assert_allclose(state.model["sky"], expected.model["sky"], 1e-12)
    assert state.notes["convergence"] == 1
    assert "share_of_stars" not in state.notes


def test_a_fall_of_the_objective_switches_acceleration_on_for_good(caplog):
    data, algorithm = scene((16, 15), strength=20.0)
    states = laps(Plucy(priors=algorithm.priors, accelerate=False), data, 12)
    objectives = [state.objective for state in states]
    fell = int(np.argmax(np.diff(objectives) < 0)) + 1
    assert fell < 10
    assert [state.accelerating for state in states] == [i > fell for i in range(13)]
    assert f"iteration {fell}: the objective fell by" in caplog.text


def test_no_value_falls_below_zero_and_it_is_said(caplog):
    caplog.set_level(logging.INFO)
    data, _ = scene((16, 15))
    prior = Entropy(3.0, 4.0 * data.counts.sum())  # all that can be, in the sky
    states = laps(Plucy(priors={"entropy": prior}, accelerate=False), data, 3)
    assert all(state.model["stars"].min() > 0 for state in states)
    assert "of the step taken, so that no value falls below zero" in caplog.text
    assert states[1].notes["acceleration"] == pytest.approx(
        0.9 * states[1].notes["largest_acceleration"]
    )


@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("at", [3, 29, 30])
def test_a_resumed_run_is_bit_identical(tmp_path, at, conjugate):
    data, algorithm = scene((16, 15), strength=20.0)
    algorithm = Plucy(priors=algorithm.priors, accelerate=False, conjugate=conjugate)
    through = laps(algorithm, data, 40)
    checkpoint.save(tmp_path / "c.npz", through[at], [])
    start = algorithm.start(data, Model.start(data))
    again = algorithm.iterate(data, checkpoint.load(tmp_path / "c.npz", start)[0])
    for expected, got in zip(through[at:], again, strict=False):
        assert got.notes == expected.notes
        assert (got.accelerating, got.before) == (expected.accelerating, expected.before)
        for name, values in expected.model.items():
            np.testing.assert_array_equal(got.model[name], values)


@pytest.mark.parametrize(("name", "sigma", "needed"), [("a", 10, 12), ("b", 3, 17)])
def test_conjugate_steps_need_a_third_of_the_convolutions(shared_data, name, sigma, needed):
    case, kernel, places, flux = historical(shared_data, name)
    fine = case["data"].shape
    response, counts = Psf(kernel, fine, "periodic"), case["data"]
    if name == "b":
        response, counts = BlockSum(2, case["detector"].shape) @ response, case["detector"]
    data = with_stars(counts, response, response @ Shared(places, fine), flux, fine)
    slow = laps(Plucy(priors=floating(0.1, sigma)), data, 150)
    fast = laps(Plucy(priors=floating(0.1, sigma), conjugate=True), data, 50)
    best = max(slow[-1].objective, fast[-1].objective)
    laps_to = [
        next(i for i, state in enumerate(states) if state.objective >= best - 1e-3)
        for states in (slow, fast)
    ]
    assert laps_to[1] <= needed
    assert 3 + 4 * laps_to[1] <= (6 * laps_to[0]) / 3
    assert fast[-1].objective == pytest.approx(best, abs=1e-9 * abs(best))
    np.testing.assert_allclose(fast[-1].model["stars"], slow[-1].model["stars"], 1e-6)


@given(SHAPES, st.integers(0, 99), st.sampled_from([1e-2, 0.1, 1.0, 30.0]))
@settings(max_examples=15, deadline=None)
def test_conjugate_steps_keep_to_the_same(shape, seed, strength):
    data, plain = scene(shape, seed, strength)
    states = laps(Plucy(priors=plain.priors, conjugate=True, guard=True), data, 12)
    for before, now in pairwise(states):
        assert data.sensitivity.dot(now.model) == pytest.approx(data.counts.sum(), rel=1e-11)
        assert min(now.model["sky"].min(), now.model["stars"].min()) > 0
        assert now.objective >= before.objective - 1e-9 * abs(before.objective)


@pytest.mark.parametrize("reference", [30.0, {"smooth": "4 pix", "cyclic": True}])
def test_past_the_optimum_it_stays_there(reference):
    data, _ = scene((6, 7), seed=4)
    states = laps(Plucy(priors={"entropy": Entropy(0.5, reference)}), data, 250)
    late = [state.objective for state in states[120:]]
    assert max(late) - min(late) < 1e-9
    total = data.sensitivity.dot(states[-1].model)
    assert total == pytest.approx(data.counts.sum(), rel=1e-12)


def test_with_a_guard_the_objective_never_falls():
    data, algorithm = scene((16, 15), strength=20.0)
    guarded = Plucy(priors=algorithm.priors, accelerate=False, guard=True)
    states = laps(guarded, data, 12)
    assert "step" in states[1].notes or "step" in states[2].notes
    for before, now in pairwise(states):
        assert now.objective >= before.objective
        (prior,) = algorithm.priors.values()
        assert now.log_prior == pytest.approx(prior.value(now.model["sky"], data.components["sky"]))


@pytest.mark.parametrize(
    ("flux", "left"), [([100.0, 50.0], None), ([1e6, 3e6], 0.5), ([0.0, 0.0], 1.0)]
)
def test_the_sky_starts_with_what_the_stars_leave(flux, left):
    data, _ = scene((16, 15))
    data = data.with_components(stars=Component(data.components["stars"].geometry, start=flux))
    room = data.counts.sum() - 0.5 * 240
    model = Model.start(data).balanced(data)
    assert np.ptp(model["sky"]) == 0
    assert data.sensitivity.dot(model) == pytest.approx(data.counts.sum(), rel=1e-12)
    expected = room - 150 if left is None else left * room
    assert model["sky"].sum() == pytest.approx(expected)
    if left == 0.5:
        np.testing.assert_allclose(model["stars"], 0.5 * room * np.array([0.25, 0.75]))


def test_what_it_cannot_heed_is_refused():
    data, algorithm = scene((8, 9))
    (entropy,) = algorithm.priors.values()
    start = Model.start(data)
    for options, says in [
        ({"refinements": (Floor(1.0),)}, "plucy takes no refinements"),
        ({"priors": {"gamma": Gamma(1.0, 1.0)}}, "plucy heeds one entropy, not gamma"),
        ({"priors": {"a": entropy, "b": entropy}}, "plucy heeds one entropy, not a, b"),
        (
            {"priors": {"e": Entropy(1.0, 2.0, components=("sky", "stars"))}},
            "the prior e of plucy must be on one component, not on 2: sky, stars",
        ),
    ]:
        with pytest.raises(ConfigError, match=says):
            Plucy(**options).start(data, start)
    bound = data.with_components(sky=Component(Grid((8, 9)), bounds=(0.1, inf)))
    with pytest.raises(ConfigError, match="'sky' has the bounds"):
        Plucy().start(bound, Model.start(bound))


def test_as_a_method_it_has_the_settings_of_the_time(shared_data):
    case, kernel, places, flux = historical(shared_data, "a")
    psf = Psf(kernel, (64, 64), "periodic")
    data = with_stars(case["data"], psf, psf @ Shared(places, (64, 64)), flux)
    found = skyfold.run(data, method="plucy", progress=False)
    assert found.reason == "all 50 iterations done"
    reference = np.load(shared_data / "two-channel" / "ref_a.npz")["obj"]
    np.testing.assert_allclose(
        [row["objective"] for row in found.trace[:50]], reference[:50], 1e-10
    )
    assert found.trace[3]["acceleration"] == pytest.approx(1.6991, abs=1e-3)


def test_the_constant_prior_is_the_entropy_of_shares():
    data, _ = scene((8, 9))
    _, algorithm = PLUCY(strength=0.3, floating=False).prepare(data)
    state = laps(algorithm, data, 1)[1]
    share = state.model["sky"] / data.counts.sum()
    total = -np.sum(share * np.log(share)) * data.counts.sum()
    assert state.log_prior == pytest.approx(0.3 * total, rel=1e-12)
    assert PLUCY(strength=0).prepare(data)[1].priors == {}


@pytest.mark.parametrize("lap", [3, REFRESH - 1])
def test_it_takes_less_than_ten_frames(rng, lap):
    shape = (512, 512)
    psf = Psf(rng.random(shape), shape, "periodic", engine="scipy")
    counts, places = rng.poisson(50.0, shape).astype(float), rng.uniform(0, 511, (50, 2))
    opened, algorithm = PLUCY().prepare(
        with_stars(counts, psf, psf @ Shared(places, shape), np.full(50, 1e3))
    )
    algorithm.step(laps(algorithm, opened, 0)[0], opened)  # modules are loaded, transforms planned
    tracemalloc.start()
    try:
        psf = Psf(psf.kernel, shape, "periodic", engine="scipy")
        data = with_stars(counts, psf, psf @ Shared(places, shape), np.full(50, 1e3))
        state = replace(laps(algorithm, data, 0)[0], iteration=lap)
        assert algorithm.step(state, data).iteration == lap + 1
        assert tracemalloc.get_traced_memory()[1] < 9.5 * counts.nbytes  # half a one: the blur's
    finally:
        tracemalloc.stop()
