"""The multi-scale law against theory: scipy's densities, sums over all counts, Geweke's test."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln

from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.model import Component
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.strengths import HalfCauchy, Lira
from skyfold.sphere import Sphere


def law_on(where, sensitivity=None, mask=None, **options):
    seen = np.ones(where.shape) if sensitivity is None else sensitivity
    return MultiScale(Component(where, mask=mask), seen, **options)


def numbers(seed=1):
    return np.random.Generator(np.random.Philox(seed))


def shares(law, values, origin):
    """For each split of one energy: shares of the children, their parent, their weights."""
    trees = law.hierarchy.trees(origin)
    nodes = np.ravel(values)[trees.leaves(0)]
    for first, own, _ in trees.splits(0):
        above = np.add.reduceat(nodes, first[:-1])
        parent = np.repeat(np.arange(len(above)), np.diff(first))
        yield nodes / above[parent], parent, own
        nodes = above


def direct(law, values, unknowns, total=(1.0, 1e-3)):
    """The log-density of the law, by scipy."""
    origin = tuple(unknowns.get("origin", np.zeros(0, int)).tolist())
    log = stats.gamma(total[0], scale=1 / total[1]).logpdf(np.sum(values))
    for alpha, (share, parent, own) in zip(
        unknowns["alpha"][0], shares(law, values, origin), strict=True
    ):
        for p in range(parent.max() + 1):
            if np.sum(parent == p) > 1:
                mine = share[parent == p]
                log += stats.dirichlet(alpha * own[parent == p]).logpdf(mine / mine.sum())
    return log


@pytest.mark.parametrize(
    ("where", "options"),
    [
        (Grid((4, 4)), {}),
        (Grid((3, 5)), {"origins": [(5, 2)]}),
        (Grid((7,)), {"factors": [1, 2, 3]}),
        (Grid((4, 4)), {"template": np.arange(16.0).reshape(4, 4), "strength": 2.0}),
        (Sphere(2), {}),
        (Grid((1, 1)), {}),
    ],
)
def test_the_density_is_that_of_scipy(where, options):
    law = law_on(where, alpha=0.7, hyper=None, **options)
    values, unknowns = law.simulate(numbers())
    assert law.log_density(values, unknowns) == pytest.approx(direct(law, values, unknowns))


@pytest.mark.parametrize(
    ("hyper", "density"),
    [
        (Lira(2, 7, 1), stats.gamma(3, scale=1 / 7).logpdf),
        (HalfCauchy(0.4), stats.halfcauchy(scale=0.4).logpdf),
    ],
)
def test_the_density_of_strengths_is_part_of_it(hyper, density):
    where = Grid((2, 4, 4))
    law, kept = law_on(where, hyper=hyper), law_on(where, hyper=None)
    values, unknowns = law.simulate(numbers(5))
    more = law.log_density(values, unknowns) - kept.log_density(values, unknowns)
    assert more == pytest.approx(np.sum(density(unknowns["alpha"])))


@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 9)),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7)),
    ),
    log_alpha=st.floats(-12, 6),
    template=st.sampled_from(["flat", "few", "many"]),
    masked=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_any_size_and_strength_gives_finite_draws(shape, log_alpha, template, masked, seed):
    rng = np.random.default_rng(seed)
    where, mask = Grid(shape), None
    if masked:
        mask = rng.uniform(size=shape) < 0.6
        mask[..., 0] = True
    measure = {"flat": None, "few": rng.choice([0.5, 1], shape), "many": rng.gamma(1, size=shape)}
    law = law_on(
        where,
        rng.uniform(0, 2, shape),
        mask,
        alpha=np.exp(log_alpha),
        hyper=None,
        template=measure[template],
    )
    values, unknowns = law.start(np.ones(shape), 0, rng)
    counts = rng.poisson(0.5, shape)
    if masked:
        counts[~mask] = 0
    values, unknowns, density = law.draw(counts, values, unknowns, numbers(seed))
    assert np.all(np.isfinite(values))
    assert np.all(values >= 0)
    assert np.isfinite(density)
    assert np.isfinite(law.log_density(values, unknowns))
    if masked:
        assert not values[~mask].any()
    if np.min(values[mask] if masked else values) > 1e-290:
        assert law.log_density(values, unknowns) == pytest.approx(density, rel=1e-9, abs=1e-6)
    best, unknowns, density = law.maximise(counts * 0.5, values, unknowns)
    assert np.all(np.isfinite(best))
    assert np.isfinite(density)


@pytest.mark.parametrize("template", [None, np.linspace(0.1, 3, 64).reshape(8, 8)])
def test_draws_given_counts_follow_theory(template):
    where, alpha = Grid((8, 8)), np.array([0.05, 0.6, 3.0])
    law = law_on(where, alpha=alpha, hyper=None, template=template)
    rng = numbers(2)
    counts = rng.poisson(rng.gamma(0.2, 5, where.shape))
    values, unknowns = law.simulate(rng)
    drawn = np.array([law.draw(counts, values, unknowns, rng)[0] for _ in range(3000)])
    total = stats.gamma(counts.sum() + 1, scale=1 / 1.001)
    assert stats.kstest(drawn.sum(axis=(1, 2)), total.cdf).pvalue > 1e-3
    found = [shares(law, values, (0, 0)) for values in drawn]
    deviations = []
    for level, (n, *levels) in enumerate(zip(node_counts(law, counts), *found, strict=True)):
        _, parent, own = levels[0]
        a = n + alpha[level] * own
        rest = np.bincount(parent, a)[parent] - a
        share = np.array([each[0] for each in levels])
        brightest = np.argmax(np.where(rest > 0, n, -1))
        beta = stats.beta(a[brightest], rest[brightest])
        assert stats.kstest(share[:, brightest], beta.cdf).pvalue > 1e-3
        mean, spread = a / (a + rest), np.sqrt(a * rest / (a + rest + 1)) / (a + rest)
        deviations.append((share.mean(axis=0) - mean) / spread * np.sqrt(len(drawn)))
    assert np.max(np.abs(np.concatenate(deviations))) < 4.5


def node_counts(law, counts):
    """Counts of the children of each split."""
    trees = law.hierarchy.trees((0,) * len(law.hierarchy.frame))
    nodes = np.ravel(counts)[trees.leaves(0)]
    for first, *_ in trees.splits(0):
        yield nodes
        nodes = np.add.reduceat(nodes, first[:-1])


@pytest.mark.parametrize("alpha", [1e-5, 3e-3])
def test_proportions_that_underflow_follow_theory_too(alpha):
    law = law_on(Grid((2, 2)), alpha=alpha, hyper=None)
    values, unknowns = law.simulate(numbers())
    rng, none = numbers(3), np.zeros((2, 2), int)
    drawn = [law.draw(none, values, unknowns, rng) for _ in range(4000)]
    largest = np.array([np.argmax(values) for values, *_ in drawn])
    assert stats.chisquare(np.bincount(largest)).pvalue > 1e-3
    # of the logarithm of the ratio of two Gamma variables exp(-E/a) only the exponentials are left
    assert np.all(np.isfinite([density for *_, density in drawn]))


@pytest.mark.parametrize("where", [Grid((2, 2)), Grid((1, 3))])
def test_the_marginal_is_a_probability(where):
    mask = np.ones(where.shape, bool)
    mask.ravel()[-1] = where.shape != (2, 2)
    law = law_on(where, mask=mask, alpha=0.4, hyper=None, total=(2.5, 0.7), template=1.0 + mask)
    _, unknowns = law.simulate(numbers())
    total = stats.nbinom(2.5, 0.7 / 1.7)
    for number in range(5):
        probability = 0.0
        for some in product(range(number + 1), repeat=3):
            if sum(some) == number:
                counts = np.zeros(where.shape, np.int64)
                counts.ravel()[:3] = some
                probability += np.exp(law.log_marginal(counts, unknowns))
        assert probability == pytest.approx(total.pmf(number))


def test_the_marginal_is_the_mean_of_the_likelihood():
    counts = np.array([[3, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 2]])
    law = law_on(Grid((4, 4)), alpha=0.5, hyper=None, total=(5.0, 0.7))
    rng = numbers(3)
    _, unknowns = law.simulate(rng)
    values = np.array([law.simulate(rng)[0] for _ in range(20_000)]) + 1e-300
    logs = np.sum(counts * np.log(values) - values - gammaln(counts + 1), axis=(1, 2))
    likelihood = np.exp(logs)
    error = np.std(likelihood) / np.sqrt(len(likelihood))
    assert np.exp(law.log_marginal(counts, unknowns)) == pytest.approx(
        np.mean(likelihood), abs=4 * error
    )


@pytest.mark.parametrize("shape", [(16, 16), (3, 5), (13,), (2, 4, 4)])
def test_an_origin_follows_the_probability_of_the_counts_and_the_draw_follows_the_origin(shape):
    law, rng, where = law_on(Grid(shape)), numbers(5), []
    counts, (_, unknowns) = rng.poisson(2.0, shape), law.simulate(rng)
    frame, alpha = law.hierarchy.frame, np.exp(rng.normal(size=unknowns["alpha"].shape))
    given = alpha, law.hyper.terms, (1.0, 1e-3), np.ones(len(alpha))

    def probability(origin):
        return law.hierarchy.trees(origin).log_marginal(counts, alpha, (1.0, 1e-3))

    for _ in range(50):
        origin = first = tuple(rng.integers(frame).tolist())
        steps = [(float(np.log(rng.random())), rng.integers(-1, frame).tolist()) for _ in range(2)]
        for odds, by in steps:
            there = tuple(((np.array(origin) + by) % frame).tolist())
            if odds < probability(there) - probability(origin):
                origin = there
        key = rng.bit_generator.random_raw(2)
        *drawn, found, density = law.hierarchy.forest.draw(
            first, steps, counts, 1.0 * counts, None, *given, key
        )
        *expected, log_density = law.hierarchy.trees(origin).draw(counts, *given, True, key)
        assert (tuple(found), density) == (origin, log_density)
        for one, other in zip(drawn, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        where.append(origin == first)
    assert 0 < np.mean(where) < 1


def test_an_origin_and_a_step_must_fit_the_frame():
    law, counts = law_on(Grid((4, 4))), np.zeros((4, 4), np.int64)
    given = counts, 1.0 * counts, None, np.ones((1, 2)), None, (1.0, 1e-3), np.ones(1), (1, 2)
    with pytest.raises(ValueError, match="one number of the origin for each axis"):
        law.hierarchy.forest.draw((0,), [], *given)
    with pytest.raises(ValueError, match="a step must have one number for each axis"):
        law.hierarchy.forest.draw((0, 0), [(-1.0, (1,))], *given)


def batch_z(chain, independent):
    """The z-score of the means of a chain and of independent draws, by batch means."""
    batches = np.array_split(chain, 50)
    mine = np.array([np.mean(batch, axis=0) for batch in batches])
    error = np.var(mine, axis=0, ddof=1) / 50 + np.var(independent, axis=0) / len(independent)
    free = error > 0  # an origin may be kept
    return (chain.mean(axis=0) - independent.mean(axis=0))[free] / np.sqrt(error[free])


def geweke(law, other, seen, sweeps, seed):
    """Joint-distribution test (Geweke 2004): draws of all before counts, and a chain of both."""
    rng = numbers(seed)

    def summary(values, unknowns):
        alpha, origin = unknowns["alpha"].ravel(), unknowns.get("origin", [])
        top = np.max(values) / np.sum(values)
        return [*np.log(alpha), *np.sqrt(alpha), *origin, np.sum(values), np.ravel(values)[1], top]

    before = np.array([summary(*law.simulate(rng)) for _ in range(sweeps)])
    values, unknowns = law.simulate(rng)
    chain = np.empty_like(before)
    for row in chain:
        values, unknowns, _ = other.draw(rng.poisson(seen * values), values, unknowns, rng)
        row[:] = summary(values, unknowns)
    return batch_z(chain, before)


GRADIENT = np.linspace(0.1, 1, 15).reshape(3, 5)


@pytest.mark.parametrize(
    ("where", "seen", "options"),
    [
        (Grid((4, 4)), np.ones((4, 4)), {}),
        (Grid((3, 5)), GRADIENT, {"origins": [(2, 7)], "hyper": Lira(1, 2, 1)}),
        (Grid((3, 5)), GRADIENT, {"origin": "sampled"}),
        (Grid((3, 5)), GRADIENT * 0 + 2, {"hyper": Lira(3, 2, 1), "template": GRADIENT}),
        (Grid((4, 4)), np.ones((4, 4)), {"published": True}),
        (Sphere(2), np.linspace(0, 2, 48)[:, None], {"hyper": Lira(2, 1, 0.5)}),
    ],
    ids=["plain", "gradient", "sampled", "template", "published", "sphere"],
)
def test_counts_and_draws_in_turn_keep_the_law(where, seen, options):
    law = law_on(where, seen, total=(4.0, 0.2), **options)
    assert np.max(np.abs(geweke(law, law, seen, 5000, 11))) < 4


def test_the_published_strengths_do_not_keep_the_law():
    where, seen = Grid((4, 4)), np.ones((4, 4))
    law = law_on(where, total=(4.0, 0.2))
    published = law_on(where, total=(4.0, 0.2), published=True)
    assert np.max(np.abs(geweke(law, published, seen, 5000, 11))) > 8


@pytest.mark.parametrize(("published", "mean"), [(False, 0.0505), (True, 0.0738)])
def test_strengths_of_the_hyper_prior_alone(published, mean):
    law = law_on(Grid((8, 8)), published=published)
    counts = np.zeros((8, 8), np.int64)
    counts[3, 5] = 1  # one count says nothing of strengths, but they are proposed and judged
    rng = numbers(4)
    values, unknowns = law.simulate(rng)
    chain = []
    for _ in range(4000):
        values, unknowns, _ = law.draw(counts, values, unknowns, rng)
        chain.append(unknowns["alpha"][0])
    batches = np.mean(np.reshape(chain, (50, -1)), axis=1)
    assert np.mean(chain) == pytest.approx(mean, abs=4 * np.std(batches) / np.sqrt(50) + 5e-5)


@pytest.mark.parametrize("hyper", [Lira(1, 0.5, 1), HalfCauchy(2.0)])
@pytest.mark.parametrize("counts", [[[9, 2], [0, 1]], [[300, 310], [290, 1200]]])
def test_strengths_given_counts_follow_their_density(hyper, counts):
    law, counts = law_on(Grid((2, 2)), hyper=hyper), np.array(counts)
    rng = numbers(6)
    values, unknowns = law.simulate(rng)
    chain = []
    for _ in range(6000):
        values, unknowns, _ = law.draw(counts, values, unknowns, rng)
        chain.append(unknowns["alpha"][0, 0])
    a = np.exp(np.linspace(-12, 12, 4000))
    log = gammaln(4 * a) - gammaln(4 * a + counts.sum()) + np.log(a)
    log += np.sum(gammaln(counts.ravel() + a[:, None]) - gammaln(a)[:, None], axis=1)
    k1, k2, k3, scale, _ = hyper.terms
    log += k1 * np.log(a) - k2 * a**k3 - np.log1p((a / scale) ** 2)
    cdf = np.cumsum(np.exp(log - log.max()))
    ranks = np.interp(np.log(chain), np.log(a), cdf / cdf[-1])[::3]
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3


def test_large_strengths_follow_the_measure():
    template = np.random.default_rng(1).uniform(0.5, 2, (6, 6))
    law = law_on(Grid((6, 6)), alpha=1e7, hyper=None, template=template)
    values, _ = law.simulate(numbers())
    np.testing.assert_allclose(values / values.sum(), template / template.sum(), rtol=0.01)


def test_a_flat_template_is_the_default():
    counts = np.random.default_rng(3).poisson(0.5, (8, 8))
    found = [
        law_on(Grid((8, 8)), origins=[(1, 2)], template=template).draw(
            counts,
            np.ones((8, 8)),
            {"alpha": np.full((1, 3), 0.1), "origin": np.array([1, 2])},
            numbers(9),
        )
        for template in (None, np.full((8, 8), 3.0))
    ]
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-9)
    np.testing.assert_allclose(found[0][1]["alpha"], found[1][1]["alpha"])
    assert found[0][2] == pytest.approx(found[1][2])


def test_draws_are_functions_of_the_numbers_alone():
    law = law_on(Grid((2, 16, 16)), np.linspace(0.5, 1, 512).reshape(2, 16, 16), origin="sampled")
    counts = np.random.default_rng(3).poisson(0.5, (2, 16, 16))
    start, unknowns = law.start(np.ones((2, 16, 16)), 0, numbers())

    def walk(seed):
        values, now, rng = start, unknowns, numbers(seed)
        for _ in range(30):
            values, now, density = law.draw(counts, values, now, rng)
        return values, now, density

    alone = [walk(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(walk, range(4)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1]["alpha"], other[1]["alpha"])
        assert one[2] == other[2]
    assert not np.array_equal(alone[0][0], alone[1][0])
    np.testing.assert_array_equal(walk(2)[0], alone[2][0])


def test_energies_have_trees_of_their_own():
    where = Sphere(2, [1, 2, 3, 4] * u.MeV)
    law = law_on(where, np.ones(where.shape) * [1, 2, 4])
    counts = np.zeros(where.shape, np.int64)
    counts[7, 1] = 10**6
    values, unknowns = law.start(np.ones(where.shape), 0, numbers())
    values, unknowns, _ = law.draw(counts, values, unknowns, numbers())
    assert unknowns["alpha"].shape == (3, 2)
    assert "origin" not in unknowns
    assert values[7, 1] == pytest.approx(10**6 / 2, rel=0.02)
    assert np.all(values[:, [0, 2]].sum(axis=0) < 1e5)


def test_no_step_of_expectation_maximisation_goes_down():
    rng = np.random.default_rng(8)
    seen = rng.uniform(0.2, 1, (8, 8))
    counts = rng.poisson(seen * rng.gamma(0.3, 10, (8, 8)))
    law = law_on(Grid((8, 8)), seen, alpha=0.3, hyper=None)
    values, unknowns = law.start(np.ones((8, 8)), 0, rng)
    course = []
    for _ in range(60):
        values, unknowns, density = law.maximise(counts, values, unknowns)
        course.append(np.sum(counts * np.log(values) - seen * values) + density)
    assert np.all(np.diff(course) > -1e-9)
    assert np.abs(np.diff(course)[-1]) < 1e-3


def test_without_a_law_expectation_maximisation_keeps_the_counts():
    counts = np.random.default_rng(8).uniform(0, 3, (4, 4))
    law = law_on(Grid((4, 4)), np.full((4, 4), 2.0), alpha=1e-12, hyper=None, total=(1.0, 1e-12))
    values, _, _ = law.maximise(counts, counts, law.start(counts, 0, numbers())[1])
    np.testing.assert_allclose(values, counts / 2)


def test_strengths_of_expectation_maximisation_are_at_their_mode():
    counts = np.array([[9, 2], [0, 1]])
    law = law_on(Grid((2, 2)), hyper=Lira(1, 0.5, 1))
    _, unknowns, _ = law.maximise(
        counts, np.ones((2, 2)), law.start(np.ones((2, 2)), 0, numbers())[1]
    )
    a = np.exp(np.linspace(-4, 4, 20_001))
    log = gammaln(4 * a) - gammaln(4 * a + 12) + 2 * np.log(a) - 0.5 * a
    log += np.sum(gammaln(counts.ravel() + a[:, None]) - gammaln(a)[:, None], axis=1)
    assert unknowns["alpha"][0, 0] == pytest.approx(a[np.argmax(log)], rel=1e-3)


def test_origins_of_groups():
    law = law_on(Grid((8, 8)), origins=[(1, 2), (7, 3)])
    found = [law.start(np.ones((8, 8)), g, numbers(g))[1]["origin"].tolist() for g in range(3)]
    assert found == [[1, 2], [7, 3], [1, 2]]
    drawn = law_on(Grid((5, 7)), origin="random")
    values, unknowns = drawn.start(np.ones((5, 7)), 0, numbers())
    origins = []
    for seed in range(400):
        values, unknowns, _ = drawn.draw(np.ones((5, 7), int), values, unknowns, numbers(seed))
        origins.append(unknowns["origin"])
    for column in np.transpose(origins):
        assert stats.chisquare(np.bincount(column, minlength=8)).pvalue > 1e-3


def test_the_published_law_is_of_lira_only():
    with pytest.raises(ConfigError, match="published"):
        law_on(Grid((4, 4)), hyper=HalfCauchy(), published=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": np.ones((5, 4))}, "template: shape"),
        ({"template": -np.ones((4, 4))}, "template: 16 of 16"),
        ({"alpha": [1.0, 2.0, 3.0]}, "alpha: 3 values, but there are 2 levels"),
        ({"alpha": np.ones((2, 2))}, "alpha: shape"),
        ({"alpha": 0.0}, "above zero"),
        ({"total": (1.0, 0.0)}, "above zero"),
        ({"factors": [1.0]}, "2 levels"),
        ({"strength": np.zeros((4, 4))}, "strength"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        law_on(Grid((4, 4)), **options)
