import json

import astropy.units as u
import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skyfold
from skyfold import checkpoint, config_help
from skyfold.algorithms.one_step_late import OneStepLate
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.cli import main
from skyfold.errors import ConfigError, NumericalError
from skyfold.geometry import Normalisations
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.priors import derivative
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma, GammaBackground
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.refinements import Acceleration, Floor, Mask, ResponseWeighting
from skyfold.sphere import Sphere

SPHERE = Sphere(2, [1, 2, 3] * u.MeV)


def observation(seed, bins=70, bounds=(0.8, 1.2)):
    rng = np.random.default_rng(seed)
    matrix = rng.random((bins, 96)) ** 5
    sky, background = rng.gamma(0.4, 3, SPHERE.shape), rng.uniform(1, 3, bins)
    counts = rng.poisson(matrix @ sky.ravel() + background)
    components = {
        "sky": Component(SPHERE, start=1.0),
        "background": Component(Normalisations(), bounds=bounds),
    }
    responses = {"sky": Matrix(matrix, SPHERE.shape), "background": background}
    return matrix, background, BinnedData(counts, responses, components=components)


def laps(data, n, priors, *refinements, guard=True):
    algorithm = OneStepLate(refinements, priors, guard)
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


def published(matrix, background, counts, laps, k, theta, kb, tb, c, ce, level, power, mask, floor):
    """Work out cosipy's recipe in plain NumPy."""
    pixels = 48
    neighbours = healpy.get_all_neighbours(2, np.arange(pixels)).T
    x, norm, exposure = np.ones(96), 1.0, matrix.sum(axis=0)
    for _ in range(laps):
        ratio = counts / (matrix @ x + norm * background)
        divisor = exposure + 1 / theta
        m = np.maximum((x * (matrix.T @ ratio) + k - 1) / divisor, floor).reshape(pixels, 2)
        slope = np.zeros((pixels, 2))
        for i in range(pixels):
            for j in neighbours[i]:
                if j >= 0:
                    slope[i] -= 4 * c * (m[i] - m[j])
        slope -= ce * np.log(m / level)
        new = (m.ravel()) * np.exp(slope.ravel() / divisor)
        new = x + (exposure / exposure.max()) ** power * (new - x)
        x = np.maximum(new * mask.ravel(), floor)
        norm = (norm * (ratio @ background) + kb - 1) / (background.sum() + 1 / tb)
        norm = np.clip(norm, 0.8, 1.2)
    e = matrix @ x + norm * background
    image = x.reshape(pixels, 2)
    tsv = -c * sum(
        ((image[i] - image[j]) ** 2).sum() for i in range(pixels) for j in neighbours[i] if j >= 0
    )
    prior = tsv + ((k - 1) * np.log(x + 2.2e-16) - x / theta).sum()
    prior += (kb - 1) * np.log(norm) - norm / tb + ce * (x * (1 - np.log(x / level))).sum()
    return x, norm, counts @ np.log(e) - e.sum() + prior


@pytest.mark.parametrize("seed", range(4))
def test_without_guard_it_is_the_published_recipe(seed):
    matrix, background, data = observation(seed)
    mask = np.ones(SPHERE.shape)
    mask[:9] = 0
    priors = {
        "gamma": Gamma(0.9, 30.0),
        "gamma_background": GammaBackground(1.5, 4.0),
        "tsv": TotalSquaredVariation(2e-3),
        "entropy": Entropy(0.02, 0.7),
    }
    refinements = (ResponseWeighting(0.5), Mask(mask), Floor(1e-4))
    state = laps(data, 6, priors, *refinements, guard=False)[-1]
    settings = (0.9, 30.0, 1.5, 4.0, 2e-3, 0.02, 0.7, 0.5, mask, 1e-4)
    sky, norm, posterior = published(matrix, background, data.full_counts, 6, *settings)
    np.testing.assert_allclose(state.model["sky"].ravel(), sky, rtol=1e-12)
    np.testing.assert_allclose(state.model["background"], norm, rtol=1e-12)
    assert state.objective == pytest.approx(posterior, rel=1e-12)
    assert state.notes["log_posterior"] == state.objective
    assert state.log_prior == sum(state.notes[f"prior_{name}"] for name in priors)


def test_without_priors_it_is_richardson_lucy():
    _, _, data = observation(1)
    rl = RichardsonLucy()
    plain = rl.iterate(data, rl.start(data, Model.start(data)))
    for state in laps(data, 5, {}):
        expected = next(plain)
        np.testing.assert_allclose(state.model["sky"], expected.model["sky"], rtol=1e-13)
        assert state.products == expected.products


@given(
    seed=st.integers(0, 2**32 - 1),
    strength=st.floats(-4, 3),
    k=st.sampled_from([0.5, 0.999, 1.0, 4.0]),
    refined=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_posterior_never_falls(seed, strength, k, refined):
    _, _, data = observation(seed)
    priors = {
        "tsv": TotalSquaredVariation(10**strength),
        "gamma": Gamma(k, 5.0),
        "entropy": Entropy(10**strength, 0.5),
    }
    mask = np.ones(SPHERE.shape)
    mask[5:20] = 0
    refinements = (ResponseWeighting(0.5), Mask(mask), Floor(1e-3)) if refined else ()
    states = laps(data, 15, priors, *refinements)
    assert np.diff([state.objective for state in states]).min() >= 0
    for state in states:
        assert state.model["sky"].min() >= 0
        if refined:
            assert np.all(state.model["sky"][mask == 0] <= 1e-3)
            assert np.all(state.model["sky"][mask == 1] >= 1e-3 * (1 - 1e-12))
    last = states[-1]
    truth = data.e_step(last.model)
    np.testing.assert_allclose(last.expectation.observed, truth.expectation.observed, rtol=1e-9)
    assert last.log_likelihood == pytest.approx(truth.log_likelihood, rel=1e-9)


def test_the_limit_is_the_maximum():
    _, _, data = observation(5, bounds=(0.0, np.inf))
    priors = {"tsv": TotalSquaredVariation(0.3), "gamma": Gamma(3.0, 3.0)}
    state = laps(data, 400, priors)[-1]
    slope = state.back["sky"] - data.sensitivity["sky"] + derivative(priors, state.model)["sky"]
    assert np.abs(slope * state.model["sky"]).max() < 0.02
    assert "step" not in laps(data, 50, priors)[-1].notes  # the bound alone never falls


def test_too_strong_without_guard_is_said():
    _, _, data = observation(2)
    with pytest.raises(NumericalError, match="too strong for the recipe without guard"):
        laps(data, 20, {"tsv": TotalSquaredVariation(1e3)}, guard=False)


def test_a_step_that_a_refinement_overdoes_is_shortened():
    _, _, data = observation(6)
    states = laps(data, 20, {"gamma": Gamma(2.0, 3.0)}, Acceleration(50, guard=False))
    assert np.diff([state.objective for state in states]).min() >= 0
    assert 0 < min(state.notes.get("step", 1) for state in states) < 1


def test_a_stored_state_goes_on_alike(tmp_path):
    _, _, data = observation(3)
    priors = {"tsv": TotalSquaredVariation(1.0)}
    states = laps(data, 6, priors)
    checkpoint.save(tmp_path / "state", states[3], [])
    state, _ = checkpoint.load(tmp_path / "state", states[0])
    for _ in range(3):
        state = OneStepLate(priors=priors).step(state, data)
    np.testing.assert_array_equal(state.model["sky"], states[6].model["sky"])
    assert state.objective == states[6].objective


def test_priors_have_names_in_a_configuration():
    _, _, data = observation(4)
    result = skyfold.run(
        data,
        "map",
        50,
        prior={"tsv": 1e-2, "gamma": {"k": 1.1, "theta": 9}, "gamma_background": {"theta": 2}},
        floor=1e-6,
        stop=skyfold.stopping.DeltaLogPosterior(1.0),
        progress=False,
    )
    last = result.trace[-1]
    assert "log-posterior rose by" in result.reason
    assert last["iteration"] < 50
    parts = [last[f"prior_{name}"] for name in ("tsv", "gamma", "gamma_background")]
    assert last["log_prior"] == pytest.approx(sum(parts))
    assert last["log_posterior"] == pytest.approx(last["log_likelihood"] + last["log_prior"])
    with pytest.raises(ConfigError, match=r"no prior named 'tvs'.*tsv"):
        skyfold.run(data, "map", 1, prior={"tvs": 1})
    with pytest.raises(ConfigError, match="coefficient"):
        skyfold.run(data, "map", 1, prior={"tsv": -1})


def test_a_rule_for_the_posterior_needs_a_prior(tmp_path):
    _, _, data = observation(4)
    rule = skyfold.stopping.DeltaLogPosterior(1.0)
    with pytest.raises(ConfigError, match="delta_log_likelihood"):
        skyfold.run(data, "rl", stop=rule, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_priors_are_in_the_help(capsys):
    assert main(["run", "--help", "--instrument", "image"]) == 0
    told = capsys.readouterr().out
    for flag in ("--prior.tsv.coefficient", "--prior.gamma-background.k", "--smoothing.of"):
        assert flag in told
    assert json.loads(json.dumps(config_help.schema(), allow_nan=False))
