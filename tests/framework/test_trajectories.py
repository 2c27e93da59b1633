"""Trajectories follow the slope of the posterior, and leave it as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.calibration.calibration import quantities
from tests.calibration.setups import GAMMA, energies, image, joint, setup, sphere, template

import skyfold
from skyfold import Diagonal, checkpoint
from skyfold.algorithms.gibbs import Gibbs
from skyfold.model import Model
from skyfold.points import with_points
from skyfold.sampling.chains.trajectories import Field, follow, pays
from skyfold.sampling.laws.masked_law import Masked
from skyfold.sampling.laws.scale_law import GammaFactor, LogNormalFactor, Scale
from skyfold.sampling.laws.shares import Shares
from skyfold.sampling.laws.strengths import HalfCauchy, Lira
from skyfold.sources import Sources


def unseen():
    """Return an image with three stars, the second of which is held at zero."""
    places = np.array([[2.0, 2.0], [5.0, 3.0], [4.3, 6.1]])
    given = setup(with_points(image().with_counts(np.ones((8, 8))), Sources(tuple("abc"), places)))
    inside = np.array([True, False, True])
    stars = Masked(Scale(given.data.sensitivity["stars"][inside], GAMMA), inside)
    return replace(given, laws=given.laws | {"stars": stars})


PROBLEMS = {
    "unseen": unseen,
    "background": lambda: setup(image(exposure=True, backgrounds={"background": 0.7})),
    "border": lambda: setup(image((5, 6), "extended"), origins=[(3, 5)]),
    "template": lambda: setup(image(exposure=True), template=template()),
    "energies": lambda: setup(energies()),
    "joint": lambda: setup(joint(), LogNormalFactor(1, 0.3)),
    "sphere": lambda: setup(sphere(2, nested=False)),
    "diffuse": lambda: setup(
        image(exposure=True, backgrounds={"background": 0.7}), hyper=Lira(1, 0.02, 1)
    ),
    "diffuse sphere": lambda: setup(sphere(2, nested=True), hyper=HalfCauchy(), total=(2e4, 0.2)),
    "diffuse template": lambda: setup(image(), template=template(), hyper=Lira(1, 0.02, 1)),
    "strong": lambda: setup(image(), alpha=[0.4, 3.0, 20.0], hyper=None),
}


def field(given, rng):
    """Return a posterior at the truth, and the truth."""
    values, unknowns = given.truth(rng)
    coordinates = {name: law.coordinates(unknowns[name]) for name, law in given.laws.items()}
    return Field(given.observed(values, rng), values, coordinates), values, unknowns


@pytest.mark.parametrize("settled", [False, True], ids=["loose", "settled"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_slopes_are_those_of_the_level(name, settled, rng):
    posterior, values, unknowns = field(PROBLEMS[name](), rng)
    if settled:
        posterior, masses = posterior.settled(posterior.told(rng))
        assert np.all(masses > 0)
    place = posterior.place(rng)
    here, way = posterior.at(place), rng.standard_normal(place.size)
    assert bool(here.unknowns["sky"]) == ("diffuse" in name)
    for key, value in values.items():
        np.testing.assert_allclose(here.values[key], value, rtol=1e-6, atol=1e-12 * value.max())
        for unknown, moved in here.unknowns[key].items():
            np.testing.assert_allclose(moved, unknowns[key][unknown])
    up, down = (posterior.at(place + h * way).level for h in (1e-5, -1e-5))
    assert (up - down) / 2e-5 == pytest.approx(here.slopes @ way, rel=1e-5, abs=1e-4)


def test_values_held_at_zero_stay_there(rng):
    given = unseen()
    posterior, *_ = field(given, rng)
    place = posterior.place(rng)
    there = posterior.at(place + 0.1 * rng.standard_normal(place.size))
    np.testing.assert_array_equal(there.values["stars"] > 0, [True, False, True])
    law, logs = given.laws["stars"], np.log([3.0, 5.0])
    own, moved = law.coordinates({}), np.array([0.3, -0.2])
    densities = [law.log_density(own.at(logs + by).values, {}) for by in (0, moved)]
    told = [own.at(logs + by).density for by in (0, moved)]
    assert told[1] - told[0] == pytest.approx(densities[1] - densities[0] + moved.sum())


def leanings(given, number, still):
    """Return how likely it is that trajectories lead no other way than back.

    No more than `still` unknowns stand still. From a truth, with counts that it made, a reversible
    step leads to another one that could as well have come first: differences are symmetric.
    """
    rng, kept = np.random.default_rng(1), np.zeros(0)
    for _ in range(10):
        _, kept = follow(field(given, rng)[0], kept, True, rng)

    def known(values, unknowns):
        found = [quantities(n, given.data, values[n], unknowns[n]).values() for n in given.laws]
        return np.concatenate([list(each) for each in found])

    differences = []
    for _ in range(number):
        posterior, values, unknowns = field(given, rng)
        end, same = follow(posterior, kept, False, rng)
        np.testing.assert_array_equal(same, kept)
        if end is not None:
            moved = {n: {**u, **end.unknowns[n]} for n, u in unknowns.items()}
            differences.append(known(end.values, moved) - known(values, unknowns))
    assert len(differences) > 0.3 * number
    moving = [each for each in np.transpose(differences) if np.any(each)]
    assert len(moving) >= np.shape(differences)[1] - still
    return min(stats.wilcoxon(each).pvalue for each in moving)


@pytest.mark.parametrize(("name", "still"), [("background", 5), ("joint", 5), ("diffuse", 2)])
def test_truths_stay_truths(name, still):
    """Origins stand still, strengths only where they are small."""
    assert leanings(PROBLEMS[name](), 120, still) > 1e-3


def test_a_wrong_density_is_noticed(monkeypatch):
    right = Shares.at

    def wrong(self, place):
        shared = right(self, place)
        shared.slopes[0] -= 15
        return shared._replace(density=shared.density - 15 * place[0])

    monkeypatch.setattr(Shares, "at", wrong)
    assert leanings(PROBLEMS["background"](), 120, 5) < 1e-6


def test_coordinates_are_tight_where_counts_tell_more_than_the_law(rng):
    given = setup(image(), hyper=Lira(1, 0.02, 1), total=(2e4, 0.2))
    posterior, _, unknowns = field(given, rng)
    own = given.laws["sky"].coordinates(unknowns["sky"])
    settled, masses = posterior.settled(posterior.told(rng))
    assert settled.place(rng).size == posterior.place(rng).size == own.size == masses.size
    nothing, _ = posterior.settled(np.zeros(posterior.looks))
    place = posterior.place(np.random.default_rng(1))
    np.testing.assert_array_equal(nothing.place(np.random.default_rng(1)), place)
    changed = settled.place(np.random.default_rng(1)) != place
    assert 4 <= np.count_nonzero(changed[1:85]) < 84


def test_masses_do_not_depend_on_the_place(rng):
    """Otherwise there would be no way back."""
    given = PROBLEMS["diffuse"]()
    posterior, values, unknowns = field(given, rng)
    told, settled = posterior.told(rng), []
    for alpha in (unknowns["sky"]["alpha"], 7 * unknowns["sky"]["alpha"]):
        moved = {**unknowns, "sky": {**unknowns["sky"], "alpha": alpha}}
        own = {name: law.coordinates(moved[name]) for name, law in given.laws.items()}
        settled.append(Field(given.data, values, own).settled(told)[1])
    np.testing.assert_array_equal(*settled)


def test_chains_take_over_all_that_moves(rng):
    given = replace(PROBLEMS["diffuse"](), follows=1)
    values, unknowns = given.truth(rng)
    chain = given.chain(given.observed(values, rng), values, unknowns, 1, 0)
    before = chain.unknowns["sky"]["alpha"]
    for seed in range(20):
        chain.follow(np.random.default_rng(seed))
    assert np.all(chain.unknowns["sky"]["alpha"] != before)
    for name, law in given.laws.items():
        density = law.log_density(chain.values[name], chain.unknowns[name])
        assert chain.densities[name] == pytest.approx(density)


def test_a_lost_trajectory_leads_nowhere(rng):
    posterior, *_ = field(PROBLEMS["diffuse"](), rng)
    _, kept = follow(posterior, np.zeros(0), True, rng)
    kept[1] = 9.0
    with np.errstate(all="raise", under="ignore"):
        end, same = follow(posterior, kept, False, rng)
    assert end is None
    np.testing.assert_array_equal(same, kept)


def test_factors_stay_within_their_bounds(rng):
    law = Scale(np.ones(2), GammaFactor.of(1, 0.3), (0.5, 1.5))
    within, beyond = (law.coordinates({}).at(np.log(v)).density for v in ([1, 1.4], [1, 1.6]))
    assert np.isfinite(within)
    assert beyond == -np.inf


def test_they_are_taken_where_a_value_lights_most_bins():
    wide = setup(sphere(2, nested=False))
    assert pays(wide.data.with_counts(np.ones(40)), wide.laws)
    narrow = setup(image(backgrounds={"background": 0.7}))
    data = narrow.data.with_counts(np.ones((8, 8)))
    assert pays(data, narrow.laws)
    assert not pays(data, {"sky": narrow.laws["sky"]})


def test_they_are_taken_where_skies_may_be_smooth():
    data = image().with_counts(np.ones((8, 8)))
    assert not pays(data, setup(image(), hyper=Lira()).laws)
    assert pays(data, setup(image(), hyper=Lira(1, 0.02, 1)).laws)
    assert pays(data, setup(image(), hyper=HalfCauchy()).laws)
    assert not pays(data, setup(image(), alpha=20.0, hyper=None).laws)


def sampler(rng, **options):
    """Return a sphere with counts, and a sampler of its sky."""
    given = setup(sphere(4, nested=False, number=60), total=(100.0, 0.005))
    data = given.observed(given.truth(rng)[0], rng)
    return data, Gibbs(laws=given.laws, chains=2, origins=1, **options)


def test_they_are_stored_and_go_on_bit_by_bit(tmp_path, rng):
    data, gibbs = sampler(rng, burn=40, draws=80)
    state = start = gibbs.start(data, Model.start(data))
    while state.sweeps < 40:
        state = gibbs.step(state, data)
    assert state.learnt[0][0] > 0
    checkpoint.save(tmp_path / "c.npz", state, [])
    again, _ = checkpoint.load(tmp_path / "c.npz", start)
    one, other = gibbs.step(state, data), gibbs.step(again, data)
    np.testing.assert_array_equal(one.table, other.table)
    np.testing.assert_array_equal(one.learnt[1], state.learnt[1])


def test_data_in_single_precision_are_followed(rng):
    counts = rng.poisson(5, (6, 6)).astype(float)
    flat = np.ones((6, 6), np.float32)
    parts = {"sky": Diagonal(flat), "background": flat}
    run = skyfold.run(
        skyfold.BinnedData(counts, parts, dtype=np.float32),
        "lira",
        chains=2,
        draws=20,
        burn=20,
        progress=False,
    )
    assert all(learnt.size for learnt in run.state.learnt)
    assert np.all(np.isfinite(run.model["sky"]))
