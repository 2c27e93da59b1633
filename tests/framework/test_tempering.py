"""Hotter chains carry a chain between modes, and leave its posterior as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.calibration.setups import image, setup

from skyfold import checkpoint
from skyfold.algorithms.gibbs import Gibbs
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.sampling.chains.tempering import SPACING, exchange, ladder
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.strengths import HalfCauchy


def law_of(data, **options):
    return MultiScale(data.components["sky"], data.sensitivity["sky"], **options)


def counted(seed=1):
    data = image(exposure=True)
    return data.with_counts(np.random.default_rng(seed).poisson(2.0, data.shape))


def run(gibbs, data, sweeps):
    state = gibbs.start(data, Model.start(data))
    while state.sweeps < sweeps:
        state = gibbs.step(state, data)
    return state


@pytest.mark.parametrize("hyper", ["lira", "half-cauchy", None])
def test_strengths_of_hotter_laws_are_larger_by_the_factor(hyper):
    options = {"hyper": HalfCauchy(0.2)} if hyper == "half-cauchy" else {}
    options = {"hyper": None} if hyper is None else options
    law = law_of(image(), **options)
    hot = law.hotter(4.0)
    alphas = [
        np.array([one.simulate(np.random.default_rng(i))[1]["alpha"] for i in range(300)])
        for one in (law, hot)
    ]
    ratio = np.median(alphas[1]) / np.median(alphas[0])
    assert ratio == pytest.approx(4, rel=0 if hyper is None else 0.25)


def test_hotter_densities_are_those_of_scaled_strengths():
    law = law_of(image())
    hot = law.hotter(3.0)
    rng = np.random.default_rng(2)
    values, unknowns = law.simulate(rng)
    stretched = {**unknowns, "alpha": 3 * unknowns["alpha"]}

    def own(one, known):
        """The density of the strengths alone: the rest is that of a law which keeps them."""
        kept = law_of(image(), hyper=None)
        return one.log_density(values, known) - kept.log_density(values, known)

    jacobian = unknowns["alpha"].size * np.log(3)
    assert own(hot, stretched) == pytest.approx(own(law, unknowns) - jacobian)


def test_the_first_rung_is_the_law_itself():
    law = law_of(image())
    rungs = ladder({"sky": law}, 3)
    assert rungs[0]["sky"] is law
    assert len(rungs) == 3
    assert rungs[2]["sky"].adopt({"alpha": np.ones(3)}) == {"alpha": pytest.approx(np.ones(3))}


def test_kept_strengths_stay_on_their_rung():
    given = replace(setup(image(), alpha=[0.1, 0.3, 1], hyper=None), rungs=2)
    rng = np.random.default_rng(3)
    values, unknowns = given.truth(rng)
    chain = given.chain(given.observed(values, rng), values, unknowns, 1, 0)
    (hot,) = chain.hotter
    swaps = np.zeros(2)
    for _ in range(60):
        chain.sweep()
        chain.temper()
        swaps = chain.swaps[0]
        np.testing.assert_allclose(hot.unknowns["sky"]["alpha"], SPACING * unknowns["sky"]["alpha"])
        np.testing.assert_allclose(chain.unknowns["sky"]["alpha"], unknowns["sky"]["alpha"])
    assert swaps[0] > 10


def test_an_exchange_is_of_all():
    given = replace(setup(image()), rungs=2)
    rng = np.random.default_rng(4)
    values, unknowns = given.truth(rng)
    chain = given.chain(given.observed(values, rng), values, unknowns, 1, 0)
    (hot,) = chain.hotter
    accepted = 0
    for _ in range(100):
        before = [(c.values["sky"], c.unknowns["sky"]["alpha"]) for c in (chain, hot)]
        _, swapped = exchange([chain, hot], rng)[0]
        after = [(c.values["sky"], c.unknowns["sky"]["alpha"]) for c in (chain, hot)]
        expected = before[::-1] if swapped else before
        for (x, a), (y, b) in zip(after, expected, strict=True):
            assert x is y
            assert a is b
        accepted += swapped
        chain.sweep(), hot.sweep()
    assert 2 < accepted < 60  # of about 50 that were proposed


def test_random_origins_cannot_be_tempered():
    law = law_of(image(), origin="random")
    with pytest.raises(ConfigError, match="one rung"):
        law.hotter(2.0)


def test_a_run_that_was_stopped_goes_on_bit_by_bit(tmp_path):
    """Another process has other laws, and looks up in the response what this one has kept."""
    data, path = counted(), tmp_path / "half.npz"

    def new():
        law = law_of(data)
        return Gibbs(laws={"sky": law}, chains=2, origins=1, burn=20, draws=120, rungs=3)

    gibbs = new()
    whole = run(gibbs, data, 140)
    checkpoint.save(path, run(gibbs, data, 20), [])
    gibbs = new()
    state, _ = checkpoint.load(path, gibbs.start(data, Model.start(data)))
    while state.sweeps < 140:
        state = gibbs.step(state, data)
    np.testing.assert_array_equal(state.table, whole.table)
    for one, other in zip(state.hotter, whole.hotter, strict=True):
        np.testing.assert_array_equal(one["draws"]["sky"], other["draws"]["sky"])
        np.testing.assert_array_equal(one["swaps"], other["swaps"])


def test_the_notes_tell_how_often_pairs_exchanged():
    data = counted()
    gibbs = Gibbs(laws={"sky": law_of(data)}, chains=2, origins=1, burn=20, draws=60, rungs=3)
    state = run(gibbs, data, 80)
    assert all(0.02 < state.notes[f"swapped_{pair}"] <= 1 for pair in (1, 2))
    assert "swapped_3" not in state.notes
    alone = run(replace(gibbs, rungs=1), data, 20)
    assert alone.hotter == ()
    assert not any("swapped" in name for name in alone.notes)


def argmax(images):
    return np.argmax(images.reshape(*images.shape[:2], -1), axis=2)


def test_a_chain_passes_between_modes():
    """Four pixels that look alike: the light is in one of them, the counts do not say in which."""
    data = BinnedData(
        np.array([60.0]),
        {"sky": Matrix(np.ones((1, 4)), (2, 2))},
        components={"sky": Component(Grid((2, 2)))},
    )
    law = law_of(data, alpha=0.02, hyper=None)
    gibbs = Gibbs(laws={"sky": law}, chains=2, origins=1, burn=0, draws=500, moves=False)
    found = []
    for rungs in (1, 12):
        tempered = replace(gibbs, rungs=rungs)
        state = tempered.start(data, Model.start(data))
        places = []
        while state.sweeps < 500:
            state = tempered.step(state, data)
            places.append(argmax(state.kept["sky"]))
        found.append(np.concatenate(places, axis=1))
    passes = [np.count_nonzero(np.diff(each, axis=1)) for each in found]
    assert passes[1] > 3 * passes[0] + 20, passes
    shares = np.bincount(found[1].ravel(), minlength=4) / found[1].size
    assert np.all((shares > 0.05) & (shares < 0.6)), shares
