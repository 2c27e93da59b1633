from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

import skyfold
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.config import RunConfig
from skyfold.errors import DataError
from skyfold.geometry import Normalisations
from skyfold.heldout import Curve, HeldOut, choose
from skyfold.joint import JointData
from skyfold.likelihood import Damped
from skyfold.model import Component, Model
from skyfold.origin import Origin
from skyfold.pixels import Diagonal
from skyfold.runner import prepare
from skyfold.settling import settle
from skyfold.simulate import generator, simulate
from skyfold_responses import Psf


def star_field(counts: float, seed: int = 1, size: int = 32) -> tuple[BinnedData, dict]:
    """Stars on an even sky, a known background, a Gaussian PSF."""
    y, x = np.indices((11, 11)) - 5
    kernel = np.exp(-0.5 * (x**2 + y**2) / 1.5**2)
    sky = np.full((size, size), 0.5)
    places = generator(seed, "places").integers(3, size - 3, (2, 8))
    sky[tuple(places)] += 5
    truth = {"sky": sky * counts / sky.sum(), "background": np.ones(1)}
    responses = {
        "sky": Psf(kernel / kernel.sum(), sky.shape, "same"),
        "background": np.full(sky.shape, 0.2 * counts / sky.size),
    }
    known = {"background": Component(Normalisations(), fixed=True)}
    empty = BinnedData(np.zeros(sky.shape), responses, components=known)
    return empty.with_counts(simulate(empty, truth, seed)), truth


def start_of(data):
    algorithm = RichardsonLucy()
    return algorithm, algorithm.start(data, Model.start(data))


def start_first(data):
    algorithm, start = start_of(data)
    return algorithm, data, start


def predictive_loss(data, truth, state) -> float:
    mean, seen = data.full_expectation(truth), data.full_expectation(state.model)
    return float(np.sum(mean * np.log(mean / seen) - mean + seen))


@pytest.mark.parametrize("counts", [1e4, 1e5])
def test_held_out_photons_choose_what_predicts_another_observation(counts):
    excess = []
    for seed in range(3):
        data, truth = star_field(counts, seed)
        algorithm, start = start_of(data)
        rule, curve = choose(HeldOut(), algorithm, data, start, seed)
        path = islice(algorithm.iterate(data, start), 2 * rule.best + 20)
        losses = [predictive_loss(data, truth, state) for state in path]
        excess.append(losses[rule.best] - min(losses))
        assert curve.ends
    assert np.mean(excess) < 3  # of some 200 at the start


def test_the_choice_depends_on_the_seed_alone():
    data, _ = star_field(2e3)
    algorithm, start = start_of(data)
    first, second = (choose(HeldOut(folds=2), algorithm, data, start, 3)[1] for _ in range(2))
    other = choose(HeldOut(folds=2), algorithm, data, start, 4)[1]
    assert np.array_equal(first.gains, second.gains)
    assert not np.array_equal(first.gains[:3], other.gains[:3])


def test_thinned_parts_are_poisson_counts_of_parts_of_the_exposure():
    data, truth = star_field(2e4)
    (kept, held), *others = data.folds(4, generator(1, "test"))
    assert np.array_equal(kept.full_counts + held.full_counts, data.full_counts)
    assert np.array_equal(kept.full_counts, sum(other.full_counts for _, other in others))
    assert held.full_counts.sum() == pytest.approx(0.25 * data.full_counts.sum(), rel=0.05)
    for name, whole in data.sensitivity.items():
        assert np.allclose(kept.sensitivity[name], 0.75 * whole)
        assert np.allclose(held.sensitivity[name], 0.25 * whole)
    # no product is needed to judge the held-out counts
    seen = kept.forward(truth)
    shift = held.counts.sum() * np.log(1 / 3)  # of the expectation that weights leave out
    assert held.log_likelihood(seen * (1 / 3)) == pytest.approx(
        held.log_likelihood(held.forward(truth)) + shift
    )


def test_thinning_and_resampling_keep_the_bins_of_sparse_data(rng):
    matrix = rng.random((400, 6))
    counts = rng.poisson(0.1, 400)
    data = BinnedData(counts, {"sky": skyfold.Matrix(matrix)})
    assert data.bins is not None
    kept, held = next(data.folds(3, rng))
    again = data.resample(rng)
    for part in (kept, held, again):
        assert part.responses is data.responses
        assert part.counts.shape == data.counts.shape
        assert part.counts.sum() == part.full_counts.sum()
    state = RichardsonLucy().start(kept, Model.start(kept))
    slow = BinnedData(kept.full_counts, data.whole, np.full(400, 2 / 3))
    assert state.log_likelihood == pytest.approx(
        slow.log_likelihood(slow.forward(state.model)), abs=1e-8
    )


def test_counts_that_are_no_whole_numbers_get_the_usual_number(rng, caplog):
    data = BinnedData(rng.random(5) + 1, {"sky": Diagonal(np.ones(5))}, origin=Origin("CCD frame"))
    with pytest.raises(DataError, match="CCD frame: the counts are not whole numbers"):
        next(data.folds(3, rng))
    rule, curve = choose(HeldOut(), *start_first(data))
    assert rule.best == 100
    assert curve is None
    assert "100 are done" in caplog.text


def test_the_search_says_when_it_did_not_find_the_end(caplog):
    data, _ = star_field(1e5)
    algorithm, start = start_of(data)
    rule, curve = choose(HeldOut(folds=2, longest=5), algorithm, data, start)
    assert len(curve.gains) == 6
    assert rule.best == 10
    assert "may lie beyond 5" in caplog.text


def test_parts_of_a_joint_observation_are_thinned_together():
    data, _ = star_field(1e4)
    joint = JointData([data, data])
    algorithm, start = start_of(joint)
    rule, _ = choose(HeldOut(folds=2), algorithm, joint, start)
    assert rule.best > 0


def test_a_curve_ends_a_quarter_and_ten_iterations_behind_its_best():
    rising = np.arange(60.0)[:, None] * np.ones(2)
    assert not Curve(rising).ends
    bent = np.concatenate([rising, rising[-1] - np.arange(1.0, 40)[:, None]])
    assert not Curve(bent[:80]).ends
    assert Curve(bent[:86]).ends


def test_all_photons_are_restored_a_little_longer_than_a_part_of_them():
    gains = -np.abs(np.arange(80.0) - 36)[:, None] * np.ones(10)
    assert Curve(gains).top == 36
    assert Curve(gains).best == 40


def test_a_curve_ends_where_more_iterations_change_nothing():
    level = np.minimum(np.arange(100.0), 30)[:, None] * np.ones(2)
    assert not Curve(level[:35]).ends
    assert Curve(level[:50]).ends


def test_damped_data_are_judged_by_all_that_was_held_out():
    data, _ = star_field(2e3)
    damped = data.with_likelihood(Damped(3.0))
    kept, held = next(damped.folds(10, generator(1, "test")))
    assert isinstance(kept.likelihood, Damped)
    expectation = kept.forward(Model.start(kept)) * (1 / 9)
    plain = next(data.folds(10, generator(1, "test")))[1]
    apart = held.log_likelihood(expectation) - plain.log_likelihood(expectation)
    assert apart == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("photons", [1, 2])
def test_photons_too_few_to_hold_any_out_get_the_usual_number(photons, caplog):
    counts = np.zeros(5)
    counts[2] = photons
    data = BinnedData(counts, {"sky": Diagonal(np.ones(5))})
    seeds = range(20) if photons == 2 else range(1)
    found = {choose(HeldOut(), *start_first(data), seed)[0].best for seed in seeds}
    assert 100 in found
    assert "held-out photons cannot choose" in caplog.text
    (state,) = {skyfold.run(data, progress=False).state.iteration} if photons == 1 else {100}
    assert state == 100


def test_nothing_said_means_auto_and_the_choice_is_kept_for_resuming():
    data, _ = star_field(2e3)
    problem = settle(prepare(RunConfig.of(data=[]), data))
    assert problem.config.method == {"name": "rl"}
    found = problem.config.stop["held_out"]["best"]
    assert problem.curve.best == found
    again = settle(prepare(problem.config, data))
    assert again.curve is None
    assert again.stop == problem.stop
    result = skyfold.run(data, progress=False)
    assert result.state.iteration == found
    assert result.reason == f"held-out photons are predicted best after {found} iterations"


def test_what_an_instrument_advises_holds_where_nothing_is_said():
    advice = {"method": {"name": "rl", "acceleration": {"maximum": 5.0}}, "iterations": 7}
    data = star_field(2e3)[0].with_origin(advice=advice)
    assert skyfold.run(data, progress=False).state.notes["acceleration"] > 1
    assert skyfold.run(data, progress=False).state.iteration == 7
    assert skyfold.run(data, iterations=3, progress=False).state.iteration == 3
    plain = skyfold.run(data, method="rl", progress=False)
    assert plain.state.iteration == 7
    assert "acceleration" not in plain.state.notes
    assert not skyfold.run(data, method="ml", progress=False).reason.startswith("all 7")


def test_rules_given_by_hand_choose_alone():
    data, _ = star_field(1e4)
    result = skyfold.run(data, stop=skyfold.DeltaLogLikelihood(1.0), progress=False)
    assert result.reason.startswith("the log-likelihood rose by")
    joined = HeldOut(folds=2) | skyfold.DeltaLogLikelihood(1e6)
    assert skyfold.run(data, stop=joined, progress=False).state.iteration == 1
