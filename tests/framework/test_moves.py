"""Transfers of light leave the posterior as it is, and change how fast it is walked through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.calibration.setups import image, joint, setup, sphere

from skyfold.algorithms.gibbs import Gibbs
from skyfold.binned import BinnedData
from skyfold.geometry import Grid, Normalisations
from skyfold.model import Component, Model
from skyfold.sampling.chains.moves import Light, transferred
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.nodes import Nodes
from skyfold_responses.psf import Psf

STRONG = {"alpha": [0.4, 0.7, 1.5], "hyper": None, "total": (20.0, 0.2)}
PROBLEMS = {
    "uneven": (lambda: image(exposure=True, backgrounds={"known": 0.7}), {"origins": [(3, 5)]}),
    "template": (
        lambda: image(exposure=True),
        {"template": np.outer(np.arange(1.0, 9), np.ones(8)) * (np.arange(8) != 3)},
    ),
    "border": (lambda: image((5, 6), "extended"), {}),
    "sphere": (lambda: sphere(4, nested=False), {}),
    "joint": (joint, {"alpha": [0.05, 0.1, 0.1]}),
}


def problem(name):
    """Return data and the law of their sky."""
    make, options = PROBLEMS[name]
    given = setup(make(), **{**STRONG, **options})
    return given, given.laws["sky"]


def tree(law):
    origin = law.simulate(np.random.default_rng(0))[1].get("origin", np.zeros(0, int))
    return Nodes(law.hierarchy, 0, tuple(origin.tolist()))


def functions(nodes, values):
    """Return what is compared: shares of nodes high and low, and how even all pixels are."""
    sums = nodes.sums(values)
    parents = sums[nodes.links[0]]
    chosen = np.unique(np.linspace(0, len(sums) - 2, 12).astype(int))
    shares = sums[: len(nodes.leaves)] / sums[-1]
    return np.array([*(sums[chosen] / parents[chosen]), np.sqrt(shares).sum(), (shares**2).sum()])


def drawn(law, number):
    """Return functions of values drawn from the prior."""
    rng, nodes = np.random.default_rng(99), tree(law)
    return [functions(nodes, law.simulate(rng)[0]) for _ in range(number)]


def after(given, law, fresh, level, shift, number, wrong=1.0):
    """Return p-values of values drawn from the prior, then moved at the counts that they make."""
    rng, nodes = np.random.default_rng([level, shift]), tree(law)
    tiling = nodes.tiling(level, shift)
    before, moved = [], []
    for _ in range(number):
        values, unknowns = given.truth(rng)
        data = given.observed(values, rng)
        before.append(functions(nodes, values["sky"]))
        light, expectation = Light(data, "sky"), data.forward(values).observed
        alpha, sky = wrong * unknowns["sky"]["alpha"][0], values["sky"]
        for _ in range(3):
            tried, accepted = transferred(nodes, alpha, sky, tiling, 12, light, expectation, rng)
            assert 0.2 * tried < accepted
        now = data.forward(values).observed
        np.testing.assert_allclose(expectation[data.counts > 0], now[data.counts > 0], rtol=1e-9)
        moved.append(functions(nodes, values["sky"]))
    assert np.all(np.mean(np.not_equal(before, moved), axis=0).max() > 0.1)
    pairs = zip(np.transpose(moved), np.transpose(fresh), strict=True)
    return [stats.ks_2samp(*pair).pvalue for pair in pairs]


@pytest.mark.parametrize("name", PROBLEMS)
def test_truths_stay_truths(name):
    """Values and counts drawn together are so still after moves at fixed counts."""
    given, law = problem(name)
    p, fresh = [], drawn(law, 600)
    for level in range(min(2, law.hierarchy.levels)):
        for shift in (0, tree(law).shifts - 1):
            p += after(given, law, fresh, level, shift, 60)
    assert min(p) > 1e-4, min(p)
    assert np.mean(np.array(p) < 0.05) < 0.15


def test_a_wrong_prior_shows():
    given, law = problem("uneven")
    assert np.min(after(given, law, drawn(law, 600), 0, 0, 150, wrong=0.3)) < 1e-6


def test_what_is_kept_of_a_response_changes_nothing(monkeypatch):
    given, law = problem("uneven")
    values, unknowns = given.truth(np.random.default_rng(3))
    data, nodes = given.observed(values, np.random.default_rng(4)), tree(law)
    tiling, one = nodes.tiling(0, 1), Light(data, "sky")
    ends, kept = [], []
    for again in (False, True):  # all columns are made at once only if much of them was asked for
        rng, sky = np.random.default_rng(5), values["sky"].copy()
        seen = data.forward(values).observed
        for _ in range(30):
            light = one if again else Light(data, "sky")
            transferred(nodes, unknowns["sky"]["alpha"][0], sky, tiling, 9, light, seen, rng)
            kept.append(len(light.of(nodes, tiling, np.arange(1))[1].start) > sky.size)
        ends.append(sky)
    assert not any(kept[:30])
    assert kept[-1]
    np.testing.assert_array_equal(*ends)
    every = np.arange(values["sky"].size)
    whole = one.columns(every)
    monkeypatch.setattr("skyfold.sampling.chains.moves.CHUNK", 5)
    for few, all_ in zip(one.columns(every), whole, strict=True):
        np.testing.assert_array_equal(few, all_)


def test_light_stays_in_its_tile():
    given, law = problem("uneven")
    rng, nodes = np.random.default_rng(1), tree(law)
    values, unknowns = given.truth(rng)
    data, before = given.observed(values, rng), values["sky"].copy()
    tiling = nodes.tiling(0, 3)
    transferred(nodes, unknowns["sky"]["alpha"][0], values["sky"], tiling, 1, Light(data, "sky"),
                data.forward(values).observed, rng)  # fmt: skip
    changed = set(np.flatnonzero(values["sky"] != before))
    tiles = np.split(nodes.places[tiling.nodes], tiling.start[1:-1])
    assert changed
    assert sum(bool(changed & set(tile)) for tile in tiles) == 1
    assert values["sky"].sum() == pytest.approx(before.sum(), rel=1e-12)


@pytest.mark.parametrize("name", ["border", "sphere"])
def test_tiles_are_disjoint_and_of_neighbours(name):
    _, law = problem(name)
    nodes = tree(law)
    for level in range(law.hierarchy.levels):
        for shift in range(nodes.shifts):
            start, members = nodes.tiling(level, shift)
            assert len(np.unique(members)) == len(members)
            assert np.all(np.diff(start) >= 2)
            if shift == 0:
                tiles = np.split(nodes.links[0][members], start[1:-1])
                assert all(len(set(tile)) == 1 for tile in tiles)
    start, members = nodes.tiling(0, nodes.shifts - 1)
    crossing = [len(set(nodes.links[0][tile])) for tile in np.split(members, start[1:-1])]
    assert max(crossing) == 4


def test_sums_and_strengths_of_nodes():
    _, law = problem("template")
    nodes = tree(law)
    values = np.random.default_rng(2).random(law.shape)
    sums, (parent, child, leaf, end) = nodes.sums(values), nodes.links
    alpha = np.array([0.4, 0.7, 1.5])
    own, power = nodes.strengths(alpha)
    for node in range(len(sums)):
        below = nodes.places[leaf[node] : end[node]]
        assert sums[node] == pytest.approx(values.ravel()[below].sum())
        children = np.flatnonzero(parent[:-1] == node)
        np.testing.assert_array_equal(children, np.arange(child[node], child[node + 1]))
        assert power[node] == pytest.approx(own[node] - own[children].sum())


def sky(data, chains=2, **options):
    law = MultiScale(data.components["sky"], data.sensitivity["sky"], origins=[(0, 0), (3, 5)])
    gibbs = Gibbs(laws={"sky": law}, chains=chains, origins=1, burn=20, draws=40, seed=3, **options)
    return gibbs, Model.start(data)


def test_results_depend_on_the_seed_alone():
    data = image(exposure=True, backgrounds={"known": 0.7})
    data = data.with_counts(np.random.default_rng(4).poisson(3.0, data.shape))
    ends = []
    for moves in (True, True, False):
        gibbs, model = sky(data, moves=moves)
        state = gibbs.start(data, model)
        while state.sweeps < 60:
            state = gibbs.step(state, data)
        ends.append(state)
    np.testing.assert_array_equal(ends[0].table, ends[1].table)
    assert np.any(ends[0].table != ends[2].table)
    rows = ends[0].table[:, :, 2] - ends[0].table[:, :, :2].sum(axis=2)
    np.testing.assert_allclose(rows, 0, atol=1e-9)


def test_densities_are_those_of_the_values():
    data = image(exposure=True)
    data = data.with_counts(np.random.default_rng(5).poisson(3.0, data.shape))
    gibbs, model = sky(data)
    state = gibbs.start(data, model)
    while state.sweeps < 40:
        state = gibbs.step(state, data)
    law = gibbs.laws["sky"]
    for chain in range(2):
        unknowns = {key: value[chain] for key, value in state.unknowns["sky"].items()}
        density = law.log_density(state.draws["sky"][chain], unknowns)
        assert state.densities["sky"][chain] == pytest.approx(density)


def test_how_much_is_done_is_a_matter_of_sizes():
    small, large = image(), image((24, 24))
    lights = [Light(data.with_counts(np.ones(data.shape)), "sky") for data in (small, large)]
    assert [light.every >= 1 for light in lights] == [True, True]
    assert lights[0].groups(4) >= 1
    assert lights[0].groups(4) > lights[0].groups(64)
    again = Light(small.with_counts(np.ones(small.shape)), "sky")
    assert (again.every, again.groups(4)) == (lights[0].every, lights[0].groups(4))


def test_random_origins_make_no_moves():
    data = image()
    law = MultiScale(data.components["sky"], data.sensitivity["sky"], origin="random")
    rng = np.random.default_rng(6)
    values, unknowns = law.simulate(rng)
    assert law.move("sky", data, {"sky": values}, unknowns, -1, rng) is None


def test_chains_with_and_without_moves_agree():
    """Means of two posteriors, each of 2400 sweeps, by errors of means of batches."""
    data = image((8, 8), exposure=True, backgrounds={"known": 0.7})
    data = data.with_counts(np.random.default_rng(7).poisson(2.0, data.shape))
    found = []
    for moves in (False, True):
        gibbs, model = sky(data, chains=4, moves=moves)
        gibbs = replace(gibbs, burn=200, draws=600)
        state = gibbs.start(data, model)
        while state.sweeps < 800:
            state = gibbs.step(state, data)
        table = state.table[:, 200:].reshape(40, 60, -1).mean(axis=1)
        found.append((table.mean(axis=0), table.var(axis=0, ddof=1) / 40))
    (a, u), (b, v) = found
    varied = u > 0
    z = (a - b)[varied] / np.sqrt(u + v)[varied]
    assert np.max(np.abs(z)) < 4.5, z


def point_source():
    """Return 1000 counts of one pixel, seen with a wide PSF on a flat background."""
    along = np.exp(-(np.arange(-8, 9) ** 2) / 18)
    psf = Psf(np.outer(along, along) / along.sum() ** 2, (32, 32), "same")
    truth = np.zeros((32, 32))
    truth[16, 16] = 1000
    counts = np.random.default_rng(836).poisson(psf.forward(truth) + 2)
    sky, known = Component(Grid((32, 32))), Component(Normalisations(), fixed=True)
    return BinnedData(
        counts,
        {"sky": psf, "known": np.full((32, 32), 2.0)},
        components={"sky": sky, "known": known},
    )


@pytest.mark.slow
def test_the_neighbours_of_a_point_source_mix_faster():
    """The pixels next to it are the slowest of all: much light goes there, seldom and at once."""
    from arviz_stats.base import array_stats

    data, found = point_source(), []
    for moves in (False, True):
        gibbs, model = sky(data, chains=4, moves=moves)
        gibbs = replace(gibbs, burn=500, draws=4000)
        state, near = gibbs.start(data, model), []
        while state.sweeps < 4500:
            state = gibbs.step(state, data)
            near.append(state.kept["sky"][:, :, 14:20, 14:20].reshape(4, -1, 36))
        pixels = np.moveaxis(np.concatenate(near, axis=1), 2, 0).astype(float)
        bright = np.argsort(-pixels.mean(axis=(1, 2)))[:8]
        sums = np.stack([pixels.sum(axis=0), state.table[:, 500:, 0]])
        figures = [np.asarray(array_stats.ess(each, method="bulk")) for each in (pixels, sums)]
        found.append(
            (figures[0][bright].min(), sums.mean(axis=(1, 2)), sums.var(axis=(1, 2)) / figures[1])
        )
    (before, a, u), (after, b, v) = found
    assert np.all(np.abs(a - b) < 4 * np.sqrt(u + v)), (a, b)
    assert after > 1.5 * before, (before, after)
