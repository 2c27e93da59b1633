import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.algorithm import Proposal
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.pixels import Diagonal
from skyfold.refinements import Acceleration, Floor, Mask, ResponseWeighting, Smoothing
from skyfold.sphere import Sphere
from skyfold.vector import Vector

SHAPE = (6, 7)


def observation(seed, level=20.0):
    rng = np.random.default_rng(seed)
    matrix = rng.random((60, 42)) ** 6
    exposure = np.linspace(0.2, 1, 42).reshape(SHAPE)
    sky = rng.gamma(0.3, level, SHAPE)
    response = Matrix(matrix, SHAPE) @ Diagonal(exposure)
    counts = rng.poisson(response.forward(sky) + 1.0)
    return BinnedData(counts, {"sky": response, "background": np.ones(60)})


def laps(data, n, *refinements):
    algorithm = RichardsonLucy(refinements=refinements)
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


@given(seed=st.integers(0, 2**32 - 1), maximum=st.sampled_from([1.0, 3.0, 100.0]))
@settings(max_examples=20)
def test_guarded_acceleration_never_lowers_the_likelihood(seed, maximum):
    states = laps(observation(seed), 25, Acceleration(maximum))
    levels = np.array([state.log_likelihood for state in states])
    assert np.diff(levels).min() >= -1e-9 * np.abs(levels).max()
    assert min(state.model["sky"].min() for state in states) >= 0
    assert max(state.notes["acceleration"] for state in states[1:]) <= maximum


def test_acceleration_is_worth_it():
    data = observation(1)
    plain, fast = laps(data, 40), laps(data, 20, Acceleration())
    assert fast[-1].log_likelihood > plain[-1].log_likelihood
    assert fast[-1].products <= plain[-1].products


def test_the_expectation_is_that_of_the_model():
    data = observation(2)
    for state in laps(data, 12, Acceleration(), ResponseWeighting(0.3), Acceleration(4)):
        truth = data.forward(state.model)
        np.testing.assert_allclose(state.expectation.observed, truth.observed, rtol=1e-10)
        assert state.expectation.total == pytest.approx(truth.total, rel=1e-10)


def test_unguarded_acceleration_can_fall_and_stays_positive():
    states = laps(observation(3), 60, Acceleration(10, guard=False))
    levels = np.array([state.log_likelihood for state in states])
    assert np.diff(levels).min() < 0
    assert min(state.model["sky"].min() for state in states) >= 0


def test_normalisations_are_left_alone():
    data = observation(4)
    plain = laps(data, 1)[-1].model["background"]
    for refinement in (Acceleration(), ResponseWeighting(), Smoothing(3 * u.pix), Floor(0.1)):
        assert laps(data, 1, refinement)[-1].model["background"] == plain


def test_response_weighting_slows_what_is_hardly_seen():
    data = observation(5)
    start, plain = laps(data, 1)
    weighted = laps(data, 1, ResponseWeighting(2.0))[-1]
    moved = (weighted.model["sky"] - start.model["sky"]) / (plain.model["sky"] - start.model["sky"])
    s = data.sensitivity["sky"]
    np.testing.assert_allclose(moved, (s / s.max()) ** 2, rtol=1e-6)


def test_smoothing_keeps_the_step_and_blurs_it():
    data = observation(6)
    start, plain = laps(data, 1)
    state = laps(data, 1, Smoothing(2 * u.pix))[-1]
    step, smooth = plain.model["sky"] - start.model["sky"], state.model["sky"] - start.model["sky"]
    assert smooth.std() < 0.7 * step.std()
    if state.model["sky"].min() > 0:  # nothing was cut off at zero
        assert smooth.sum() == pytest.approx(step.sum())


def test_floor():
    assert laps(observation(7), 30, Floor(0.5))[-1].model["sky"].min() == 0.5


def test_mask():
    mask = np.zeros(SHAPE)
    mask[2:4] = 1
    state = laps(observation(8), 3, Mask(mask))[-1]
    assert not state.model["sky"][mask == 0].any()
    assert state.model["sky"][2:4].all()


def test_a_mask_of_the_field_is_enough():
    grid = Grid((4, 5)).extend((1, 1))
    data = observation(9)
    data = BinnedData(data.full_counts, data.whole, components={"sky": Component(grid)})
    mask = np.ones((4, 5))
    mask[0] = 0
    sky = laps(data, 1, Mask(mask))[-1].model["sky"]
    assert sky[2:5, 1:-1].all()
    assert not sky[0].any()
    assert not sky[1].any()
    with pytest.raises(ConfigError, match=r"mask has shape \(3, 3\)"):
        laps(data, 1, Mask(np.ones((3, 3))))


def test_unknown_component_is_refused():
    with pytest.raises(ConfigError, match="no component skye; the model has"):
        laps(observation(9), 1, Floor(0.5, components=("skye",)))


def test_a_component_may_be_named():
    state = laps(observation(9), 1, Floor(50.0, components=("background",)))[-1]
    assert state.model["background"] == 50


def test_refinements_apply_in_the_order_given():
    def double(state, proposal, data):
        return Proposal(proposal.values * 2.0)

    def add(state, proposal, data):
        return Proposal(proposal.values + Vector({"sky": np.ones(SHAPE)}))

    plain = laps(observation(1), 1)[-1].model["sky"]
    np.testing.assert_allclose(laps(observation(1), 1, double, add)[-1].model["sky"], 2 * plain + 1)
    np.testing.assert_allclose(laps(observation(1), 1, add, double)[-1].model["sky"], 2 * plain + 2)


def test_a_smoothed_image_stays_positive_and_is_no_sharper_than_the_gaussian():
    data = observation(6)
    grid, width = Grid(SHAPE), 2 * u.pix
    image = [state.model["sky"] for state in laps(data, 6, Smoothing(width, of="image"))]
    np.testing.assert_allclose(image[1], grid.smooth(laps(data, 1)[-1].model["sky"], width))
    assert image[-1].min() > 0
    assert image[-1].std() < laps(data, 6, Smoothing(width))[-1].model["sky"].std()


@pytest.mark.parametrize("of", ["step", "image"])
def test_smoothing_on_the_sphere(of, rng):
    sphere = Sphere(2, [1, 2, 3] * u.MeV)
    matrix, mask = rng.random((60, 96)) ** 4, np.ones(sphere.shape, dtype=bool)
    mask[:7] = False
    data = BinnedData(
        rng.poisson(5, 60),
        {"sky": Matrix(matrix, sphere.shape)},
        components={"sky": Component(sphere, mask=mask)},
    )
    start, plain = laps(data, 1)
    smooth = laps(data, 1, Smoothing(60 * u.deg, of=of))[-1].model["sky"]
    kept = start.model["sky"] if of == "step" else 0
    expected = kept + sphere.smooth(plain.model["sky"] - kept, 60 * u.deg)
    np.testing.assert_allclose(smooth, np.where(mask, expected, 0))
    assert smooth[mask].min() > 0
