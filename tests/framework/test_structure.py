"""The significance of structure: the bound holds, grows with the signal, and is no accident."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import skyfold
from skyfold.algorithms.gibbs import Gibbs
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid, Normalisations
from skyfold.joint import JointData
from skyfold.model import Component
from skyfold.pixels import Diagonal
from skyfold.region_files import find
from skyfold.runfolder import LATER
from skyfold.sampling.chains.diagnostics import of_folder
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.scale_law import GammaFactor, Scale
from skyfold.sampling.structure.nulls import Nulls, RegionLight
from skyfold.sampling.structure.structure import bound, holm, quoted, shares
from skyfold.sampling.structure.structure_run import DRAWS, PRODUCTS, structure
from skyfold_responses.psf import Psf

SIZE = 16
REGION = np.zeros((SIZE, SIZE))
REGION[5:11, 5:11] = 1
LEVELS = (0.01, 0.05, 0.1)


def gauss(sigma, size=7):
    y, x = np.mgrid[:size, :size] - size // 2
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return kernel / kernel.sum()


def observation(level=1.0, exposure=1.0, fit=False, boundary="same"):
    """An even background behind a blurred sky."""
    psf = Psf(gauss(1.2), (SIZE, SIZE), boundary)
    factor = np.full(psf.model_shape, exposure)
    grid = Grid(psf.model_shape, field=psf.field)
    return BinnedData(
        np.ones((SIZE, SIZE)),
        {"sky": psf @ Diagonal(factor), "background": np.full((SIZE, SIZE), level * exposure)},
        components={
            "sky": Component(grid),
            "background": Component(Normalisations(), fixed=not fit),
        },
    )


def sampler(data, **options):
    laws = {"sky": MultiScale(data.components["sky"], data.sensitivity["sky"])}
    if not data.components["background"].fixed:
        laws["background"] = Scale(data.sensitivity["background"], GammaFactor(4.0, 4.0))
    options = {"chains": 1, "origins": 1, "burn": 30, "draws": 100, "thin": 1, **options}
    return Gibbs(laws=laws, **options)


def nulls(data, seed=0, regions=(REGION,), **options):
    return Nulls(data, sampler(data, **options), "sky", RegionLight.of(data, "sky", regions), seed)


def counts(rng, injected=0.0, level=1.0):
    psf = Psf(gauss(1.2), (SIZE, SIZE), "same")
    sky = np.zeros((SIZE, SIZE))
    sky[7, 8] = injected
    return rng.poisson(psf.forward(sky) + level).astype(float)


# what the statistics say, on draws whose law is known


def test_the_bound_is_that_of_markov():
    """Tails of half of the simulations, above the quantile of the other half."""
    replicates = np.repeat(np.arange(20.0)[:, None], 50, axis=1) + np.linspace(0, 0.9, 50)
    observed = np.r_[np.full(30, 100.0), np.zeros(20)]
    found = bound(observed, replicates, gamma=0.1)
    assert found.c == np.quantile(replicates[::2], 0.9, method="higher")
    assert found.tail == pytest.approx(0.6)
    tails = np.mean(replicates[1::2] >= found.c, axis=1)
    assert found.gamma == pytest.approx(tails.mean())
    assert found.p_bound == pytest.approx(tails.mean() / 0.6)
    assert found.p_upper > found.p_bound
    assert found.p_empirical == pytest.approx((1 + np.sum(tails >= 0.6)) / 11)


def test_gamma_is_the_least_bound_and_one_the_largest():
    rng = np.random.default_rng(1)
    null = rng.beta(1, 50, (400, 200))
    assert bound(np.ones(10), null, 0.02).p_bound >= 0.02
    found = bound(np.zeros(10), null)
    assert found.tail == 0
    assert found.p_bound == found.p_upper == found.p_empirical == 1


def test_few_simulations_widen_the_bound():
    rng = np.random.default_rng(2)
    null = rng.beta(0.2, 5, (4000, 1)) * rng.random((4000, 50))
    few, many = (bound(np.ones(10), null[:n], 0.01) for n in (20, 4000))
    assert few.gamma_upper > 0.1  # ten simulations prove no more
    assert 1 < many.gamma_upper / many.gamma < 2
    assert few.p_bound < few.p_empirical == pytest.approx(1 / 11)


def test_copies_of_a_simulation_are_refused():
    """A list that holds the same simulation over and over has no spread to tell of."""
    null = np.random.default_rng(3).random((10, 50))
    bound(np.ones(5), null)
    with pytest.raises(DataError, match=r"9 of 10 simulations .* copies"):
        bound(np.ones(5), np.repeat(null[:1], 10, axis=0))
    with pytest.raises(ConfigError, match="3 simulations"):
        bound(np.ones(5), null[:3])
    with pytest.raises(ConfigError, match="gamma is a probability"):
        bound(np.ones(5), null, gamma=1.5)
    with pytest.raises(DataError, match="not finite"):
        bound(np.full(5, np.nan), null)


def test_shares():
    extra, known = np.array([0.0, 1.0, 3.0]), np.array([0.0, 1.0, 1.0])
    np.testing.assert_allclose(shares(extra, known), [0, 0.5, 0.75])
    np.testing.assert_array_equal(shares(extra, np.zeros(3)), extra)


def test_holm():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])


# light in one unit


@pytest.mark.parametrize("boundary", ["same", "extended"])
def test_an_even_background_counts_as_the_even_sky_that_makes_it(boundary):
    data = observation(level=3.0, exposure=4.0, boundary=boundary)
    field = data.components["sky"].geometry.field or (slice(None),) * 2
    region = np.zeros(data.components["sky"].geometry.shape)
    region[field] = REGION
    light = RegionLight.of(data, "sky", [region])
    values = {"sky": np.full(region.shape, 2.0), "background": np.array([1.0])}
    extra, known = light.of_values("sky", values)[:, 0]
    assert extra == pytest.approx(2 * REGION.sum())
    even = data.whole["sky"].forward(np.ones(region.shape)) / 4  # less than one at dark edges
    assert known == pytest.approx(3 * REGION.sum(), rel=1e-3 if even.min() < 0.99 else 1e-9)
    joint = JointData([data, observation(level=3.0, exposure=1.0, boundary=boundary)])
    assert RegionLight.of(joint, "sky", [region]).of_values("sky", values)[1, 0] == pytest.approx(
        known
    )


def test_the_exposure_does_not_matter():
    """The same counts with a hundred times the exposure and a hundredth of the sky."""
    seen, made = counts(np.random.default_rng(4), 60), []
    for exposure in (1.0, 100.0):
        data = observation(1 / exposure, exposure)
        test = nulls(data.with_counts(seen), draws=200)
        sky = {"sky": np.full((SIZE, SIZE), 2 / exposure), "background": np.ones(1)}
        assert shares(*test.light.of_values("sky", sky))[0] == pytest.approx(2 / 3, rel=1e-3)
        made.append(shares(*test.analysed(test.data, 5)[:, 0]))
    (low, high), middle = np.quantile(made[0], [0.3, 0.7]), np.median(made[1])
    assert low < middle < high


# simulations of the null model


def test_simulations_differ_and_do_not_depend_on_their_number_or_the_workers():
    test = nulls(observation(fit=True).with_counts(counts(np.random.default_rng(6))), seed=7)
    alone, many = dict(test.draws(3, workers=1)), dict(test.draws(5, workers=3))
    for k in range(4):
        np.testing.assert_array_equal(alone[k], many[k])
    assert len({many[k].tobytes() for k in range(6)}) == 6
    known = many[2][1, 0]
    assert np.ptp(known) > 0  # the background is drawn along
    again = dict(test.draws(5, known={k: many[k] for k in range(5)}))
    np.testing.assert_array_equal(again[5], many[5])


def test_uncertain_backgrounds_are_drawn_from_their_posterior():
    data = observation(fit=True).with_counts(counts(np.random.default_rng(8)))
    test = nulls(data, burn=5)
    drawn = np.array([truth["background"][0] for truth, _ in test.truths(150)])
    law = stats.gamma(data.counts.sum() + 4, scale=1 / (SIZE**2 + 4))
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-3
    assert not any(truth["sky"].any() for truth, _ in test.truths(4))


def test_draws_of_the_burn_in_are_left_out():
    """Published code took the first draws and left out as many of the last."""

    class Counting(Scale):
        def start(self, values, group, rng):
            return np.zeros_like(values), {"number": np.array(0.0)}

        def draw(self, attributed, values, unknowns, rng):
            number = unknowns["number"] + 1
            return np.full_like(values, number), {"number": number}, 0.0

        def log_density(self, values, unknowns):
            return 0.0

    data = observation().with_counts(counts(np.random.default_rng(9)))
    test = nulls(data, burn=40, draws=20, thin=5)
    test.gibbs.laws["sky"] = Counting(data.sensitivity["sky"], GammaFactor(1.0, 1.0))
    found = test.analysed(data, 1)[0, 0] / REGION.sum()
    np.testing.assert_allclose(found, [40, 45, 50, 55])


def test_what_cannot_be_tested_is_said():
    data = observation()
    dark = BinnedData(
        data.full_counts, {"sky": data.whole["sky"]}, components={"sky": data.components["sky"]}
    )
    law = MultiScale(dark.components["sky"], dark.sensitivity["sky"])
    gibbs = Gibbs(laws={"sky": law}, chains=1, origins=1)
    with pytest.raises(ConfigError, match="no counts are expected at all"):
        Nulls(dark, gibbs, "sky", RegionLight.of(dark, "sky", [REGION]))
    hole = np.ones((SIZE, SIZE))
    hole[3, 3] = 0
    data = BinnedData(
        data.full_counts,
        {"sky": data.whole["sky"], "background": hole},
        components={
            "sky": data.components["sky"],
            "background": Component(Normalisations(), fixed=False),
        },
    )
    with pytest.raises(DataError, match="without 'sky'"):
        nulls(data).truths(4)


# the promise


def compared(seed, number, **options):
    """Return a test, and the shares of its simulations."""
    test = nulls(observation(), seed=seed, **options)
    found = dict(test.draws(number))
    return test, np.array([shares(*found[k])[0] for k in range(1, number + 1)])


def judged(test, replicates, others, gamma=0.005, injected=0.0):
    """Return bounds of data sets, all against the same simulations."""
    rng, made = np.random.default_rng([test.seed, int(injected)]), []
    for k in range(others):
        data = observation().with_counts(counts(rng, injected))
        made.append(bound(shares(*test.analysed(data, 10_000 + k))[0], replicates, gamma))
    return made


def require_bounds(made):
    """Require that no more are below a level than chance lets be, with 99 % confidence."""
    for level in LEVELS:
        for name in ("p_bound", "p_upper", "p_empirical"):
            number = sum(getattr(one, name) <= level for one in made)
            assert number <= stats.binom.ppf(0.99, len(made), level), (name, level)


def test_the_bound_holds_of_null_data():
    require_bounds(judged(*compared(11, 40, draws=60), 40))


@pytest.mark.slow
def test_the_bound_holds_of_many_null_data():
    require_bounds(judged(*compared(12, 400, burn=100, draws=300), 500))


@pytest.mark.slow
def test_the_more_is_injected_the_smaller_the_bound():
    """The power at 5 % rises from less than that to certainty."""
    against = compared(13, 200, burn=100, draws=300)
    power = [
        np.mean([one.p_bound <= 0.05 for one in judged(*against, 40, injected=n)])
        for n in (0, 10, 20, 40, 80)
    ]
    assert power[0] <= 0.15
    assert np.all(np.diff(power) >= -0.1)
    assert power[-1] == 1


def test_a_bright_source_reaches_the_least_bound():
    (found,) = judged(*compared(14, 24, draws=60), 1, gamma=0.02, injected=150)
    assert found.tail > 0.99
    assert found.p_bound < 0.2
    assert found.p_empirical == pytest.approx(1 / 13)


# a run and its folder


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch, caplog):
    """Simulations are kept in a folder."""
    data = observation().with_counts(counts(np.random.default_rng(15), 80))
    options = {"chains": 1, "origins": 1, "burn": 10, "draws": 20}
    result = skyfold.run(data, "lira", progress=False, **options)
    regions = find(["core = circle(8, 7, 2.5)", "side = circle(2, 13, 2.5)"])
    first = structure(result, regions, simulations=4, folder=tmp_path)
    done = []
    monkeypatch.setattr(
        Nulls,
        "analysed",
        lambda self, *args, own=Nulls.analysed: done.append(1) or own(self, *args),
    )
    more = structure(result, regions, simulations=6, folder=tmp_path, workers=2)
    assert len(done) == 2
    np.testing.assert_allclose(more.light[:5], first.light, rtol=1e-6)
    found = more.table
    assert list(found["region"]) == ["core", "side"]
    assert found["low"][0] < found["extra"][0] < found["high"][0]
    np.testing.assert_allclose(found["p_holm"], holm(found["p_empirical"]))
    assert "Of 6 simulations, gamma 0.005: quote p_upper" in str(more)
    assert "p_empirical is at least 0.25" in str(more)
    assert "The null model: no sky, but background held fixed." in str(more)
    doubt = of_folder(result.posterior.doubts, tmp_path)[0]
    assert f"What speaks against the run: {doubt}" in str(more)
    assert {path.name for path in (*more.write(tmp_path), tmp_path / DRAWS)} == set(PRODUCTS)
    assert set(PRODUCTS) <= set(LATER)  # they go when the run goes on
    assert "worked on anew" not in caplog.text
    structure(result, regions, simulations=4, folder=tmp_path, seed=1)
    assert len(done) == 7
    assert "other regions or settings: all are worked on anew" in caplog.text


def test_only_a_sampler_is_asked():
    data = observation().with_counts(counts(np.random.default_rng(16), 80))
    result = skyfold.run(data, "rl", 3, progress=False)
    with pytest.raises(ConfigError, match="--method lira"):
        structure(result, find(["circle(8, 7, 2.5)"]))
    with pytest.raises(ConfigError, match="Give a region"):
        structure(result, [])
    early = skyfold.run(data, "lira", progress=False, stop=skyfold.MaxIterations(10), burn=10)
    with pytest.raises(ConfigError, match="no draws after its burn-in of 10 sweeps"):
        structure(early, find(["circle(8, 7, 2.5)"]))


def test_few_simulations_are_quoted_with_their_error():
    assert [quoted(number) for number in (4, 399, 400, 5000)] == ["p_upper"] * 2 + ["p_bound"] * 2
