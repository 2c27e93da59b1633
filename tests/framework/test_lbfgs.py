from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.algorithms.sgp import ScaledGradientProjection
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import Grid, Normalisations
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.priors.entropy import Entropy
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold_responses import Psf


def stars(start=None, bounds=(0.0, np.inf)):
    """Points on a level, seen through a wide PSF, on a background that is known."""
    rng = np.random.default_rng(5)
    y, x = np.indices((15, 15)) - 7
    psf = Psf((1 + (x**2 + y**2) / 4) ** -1.5 / 22, (40, 40), "same")
    sky = np.full((40, 40), 0.3)
    sky.flat[rng.integers(1600, size=20)] += 100 * rng.random(20)
    background = np.full((40, 40), 0.5)
    counts = rng.poisson(psf.forward(sky) + background)
    components = {
        "sky": Component(Grid((40, 40)), start=start, bounds=bounds),
        "background": Component(Normalisations(), fixed=True),
    }
    return BinnedData(counts, {"sky": psf, "background": background}, components=components)


def laps(algorithm, data, n):
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


def products_to(states, gap, top):
    first = states[0].objective
    return next((s.products for s in states if top - s.objective <= gap * (top - first)), np.inf)


def test_fewer_than_a_tenth_of_the_products_of_em():
    data = stars()
    states = laps(LBFGS(), data, 150)
    needed = products_to(states, 1e-3, states[-1].objective)
    slow = laps(RichardsonLucy(), data, int(10 * needed))
    assert products_to(slow, 1e-3, states[-1].objective) == np.inf


@pytest.mark.parametrize("strength", [1e-3, 1e-1, 10.0, 1e3])
def test_stiff_priors_cost_no_more_products(strength):
    data, priors = stars(), {"tsv": TotalSquaredVariation(strength)}
    states = laps(LBFGS(priors=priors), data, 60)
    assert products_to(states, 1e-3, states[-1].objective) <= 25


def test_a_lap_costs_one_product_unless_the_step_was_too_long():
    states = laps(LBFGS(), stars(), 28)
    for before, now in pairwise(states):
        spent = now.products - before.products
        assert spent == (1.0 if now.notes["share"] == 1 else 1.5)
    assert sum(state.notes.get("share", 1) == 1 for state in states) > 20


def test_values_stop_at_both_bounds():
    data = stars(bounds=(0.2, 5.0))
    state = laps(LBFGS(), data, 300)[-1]
    sky = state.model["sky"]
    assert sky.min() >= 0.2
    assert sky.max() == pytest.approx(5.0, rel=1e-14)
    slope = state.back["sky"] - data.sensitivity["sky"]
    assert slope[sky > 5 - 1e-12].min() > 0
    other = laps(ScaledGradientProjection(), data, 300)[-1]
    assert state.objective == pytest.approx(other.objective, abs=0.1)


@pytest.mark.parametrize("prior", [TotalSquaredVariation(1e-3), Entropy(10.0, {"smooth": "5 pix"})])
def test_conserved_counts_are_those_of_the_model_with_a_mask_too(prior):
    mask = np.zeros((40, 40), bool)
    mask[6:34, 6:34] = True
    data = stars()
    free = replace(data.components["background"], fixed=False)
    data = data.with_components(sky=replace(data.components["sky"], mask=mask), background=free)
    total = data.counts.sum()
    for state in laps(LBFGS(priors={"prior": prior}, conserve_flux=True), data, 60):
        assert data.forward(state.model).total == pytest.approx(total, rel=1e-9)
        assert state.expectation.total == pytest.approx(total, rel=1e-9)


def test_what_leaves_no_flux_to_conserve_is_refused():
    algorithm, data = LBFGS(conserve_flux=True), stars(bounds=(0.0, 0.5))
    with pytest.raises(ConfigError, match=r"'sky' has the bounds \(0.0, 0.5\): leave them out"):
        algorithm.start(data, Model.start(data))
    data = stars()
    bright = Model.start(data, background=1e3)
    with pytest.raises(ConfigError, match="what is held fixed expects 800000 counts"):
        algorithm.start(data, bright)
    with pytest.raises(ConfigError, match="starts from zero"):
        algorithm.start(data, Model.start(data, sky=0.0))


def test_of_linear_problems_it_finds_the_exact_solution():
    rng = np.random.default_rng(2)
    matrix, sky = rng.random((9, 5)), rng.random(5) * 1e4
    state = laps(LBFGS(), BinnedData(matrix @ sky, {"sky": Matrix(matrix)}), 60)[-1]
    np.testing.assert_allclose(state.model["sky"], sky, rtol=1e-4)
