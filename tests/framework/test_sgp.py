import numpy as np
import pytest

import skyfold
from skyfold.algorithms.one_step_late import OneStepLate
from skyfold.algorithms.richardson_lucy import expected_values
from skyfold.algorithms.sgp import ScaledGradientProjection
from skyfold.binned import BinnedData
from skyfold.errors import UnknownNameError
from skyfold.geometry import Grid, Normalisations
from skyfold.methods.map import MAP
from skyfold.methods.ml import ML
from skyfold.model import Component, Model
from skyfold.priors.entropy import Entropy
from skyfold.priors.relative_difference import RelativeDifference
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold_responses import Psf


@pytest.fixture(scope="module")
def stars():
    """Points on a level, seen through a wide PSF, with a background to fit."""
    rng = np.random.default_rng(5)
    y, x = np.indices((15, 15)) - 7
    psf = Psf((1 + (x**2 + y**2) / 4) ** -1.5 / 22, (40, 40), "same")
    sky = np.full((40, 40), 0.3)
    sky.flat[rng.integers(1600, size=20)] += 100 * rng.random(20)
    background = np.full((40, 40), 0.5)
    counts = rng.poisson(psf.forward(sky) + background)
    parts = {"sky": psf, "background": background}
    components = {"background": Component(Normalisations(), bounds=(0.8, 1.2))}
    return BinnedData(counts, parts, components=components)


def laps(algorithm, data, n):
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


def products_to(states, gap, top):
    first = states[0].objective
    return next(s.products for s in states if top - s.objective <= gap * (top - first))


def test_the_first_direction_is_that_of_em(stars):
    first, second = laps(ScaledGradientProjection(), stars, 1)
    em, share = expected_values(first, stars)["sky"], second.notes["share"]
    moved = first.model["sky"] + share * (em - first.model["sky"])
    assert second.notes["step_length"] == 1
    np.testing.assert_allclose(second.model["sky"], moved, rtol=1e-9)


@pytest.mark.parametrize(
    "prior",
    [
        TotalSquaredVariation(0.01),
        TotalSquaredVariation(0.3),
        RelativeDifference(0.3),
        RelativeDifference(3.0),
        Entropy(0.3, 0.5),
    ],
    ids=str,
)
def test_forty_products_lead_to_a_thousandth(stars, prior):
    states = laps(ScaledGradientProjection(priors={"prior": prior}), stars, 120)
    top = states[-1].objective
    assert products_to(states, 1e-3, top) <= 40
    assert all(0.8 <= state.model["background"] <= 1.2 for state in states)
    late = OneStepLate(priors={"prior": prior})
    slow = laps(late, stars, int(products_to(states, 1e-3, top)))
    assert slow[-1].objective < top - 1e-3 * (top - states[0].objective)


def test_a_lap_costs_one_product_and_sometimes_half_a_one_more(stars):
    states = laps(ScaledGradientProjection(priors={"tsv": TotalSquaredVariation(0.1)}), stars, 60)
    spent = np.diff([state.products for state in states])
    assert set(spent) == {1.0, 1.5}  # the expectation is refreshed every thirtieth lap
    assert np.count_nonzero(spent == 1.5) == 2


def test_dark_pixels_are_soon_dark():
    data = BinnedData(
        np.r_[np.zeros(50), 100.0], {"sky": skyfold.Matrix(np.eye(51)), "background": np.ones(51)}
    )
    data = data.with_components(background=Component(Normalisations(), fixed=True))
    state = laps(ScaledGradientProjection(), data, 10)[-1]
    assert state.model["sky"][:50].max() < 1e-9
    assert state.model["sky"][50] == pytest.approx(99)


def test_a_start_at_the_maximum_stays():
    part = {"sky": Component(Grid((3,)), start=np.array([1.0, 2.0, 3.0]))}
    data = BinnedData(np.array([1.0, 2, 3]), {"sky": skyfold.Matrix(np.eye(3))}, components=part)
    for state in laps(ScaledGradientProjection(), data, 5):
        np.testing.assert_array_equal(state.model["sky"], [1, 2, 3])


def test_methods_name_their_solver(stars):
    prior = {"tsv": TotalSquaredVariation(0.1)}
    assert isinstance(MAP(prior).prepare(stars)[1], ScaledGradientProjection)
    algorithm = MAP(prior, solver="one-step-late", guard=False).prepare(stars)[1]
    assert isinstance(algorithm, OneStepLate)
    assert (algorithm.priors, algorithm.guard) == (prior, False)
    assert isinstance(ML(solver="sgp").prepare(stars)[1], ScaledGradientProjection)
    for method in (ML(solver="sgpp"), MAP(prior, solver="sgpp")):
        with pytest.raises(UnknownNameError, match=r"no algorithm named 'sgpp'.*sgp"):
            method.prepare(stars)


def test_a_run_to_the_maximum_ends_by_itself(stars):
    result = skyfold.run(stars, "map", prior={"tsv": 0.1}, progress=False)
    assert result.trace[-1]["iteration"] < 2000
    assert "iterations done" not in result.reason
    result = skyfold.run(stars, "ml", solver="sgp", progress=False, iterations=3)
    assert result.trace[-1]["iteration"] == 3
