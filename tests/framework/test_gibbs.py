from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from skyfold import checkpoint
from skyfold.algorithms.gibbs import Gibbs
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid, Normalisations
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.sampling.chains.chains import Moments, Numbers
from skyfold.sampling.chains.samples import Samples
from skyfold.sampling.chains.watch import Watch
from skyfold.sampling.laws.law import Law
from skyfold.sphere import Sphere
from skyfold_responses.psf import Psf


class Independent(Law):
    """A gamma law for each value by itself."""

    def __init__(self, sensitivity, shape=1.5, rate=0.1):
        self.sensitivity, self.shape, self.rate = sensitivity, shape, rate

    def start(self, values, group, rng):
        return values * rng.gamma(5, 0.2, values.shape), {"group": np.array(float(group))}

    def draw(self, attributed, values, unknowns, rng):
        new = rng.gamma(attributed + self.shape, 1 / (self.sensitivity + self.rate))
        return new, unknowns, self.log_density(new, unknowns)

    def maximise(self, attributed, values, unknowns):
        raise NotImplementedError

    def simulate(self, rng):
        return rng.gamma(self.shape, 1 / self.rate, self.sensitivity.shape), {}

    def log_density(self, values, unknowns):
        return float(np.sum(stats.gamma.logpdf(values, self.shape, scale=1 / self.rate)))


def problem(chains=2, **options):
    y, x = np.mgrid[-2:3, -2:3]
    kernel = np.exp(-(x**2 + y**2) / 2)
    psf = Psf(kernel / kernel.sum(), (9, 11))
    rng = np.random.default_rng(1)
    truth = np.full(psf.model_shape, 2.0)
    truth[6, 7] = 60
    template = np.full((9, 11), 3.0)
    counts = rng.poisson(psf.forward(truth) + template)
    known = Component(Normalisations(), fixed=True)
    data = BinnedData(
        counts,
        {"sky": psf, "background": template, "known": template / 30},
        components={
            "sky": Component(Grid(psf.model_shape, field=psf.field)),
            "known": known,
        },
    )
    laws = {name: Independent(data.sensitivity[name]) for name in ("sky", "background")}
    options = {"origins": 1, "burn": 20, "draws": 200, **options}
    return data, Gibbs(laws=laws, chains=chains, **options)


def run(data, gibbs, sweeps):
    state = gibbs.start(data, Model.start(data))
    while state.iteration < sweeps:
        state = gibbs.step(state, data)
    return state


def test_one_value_has_the_posterior_of_the_textbook():
    data = BinnedData(np.array([7.0]), {"sky": Matrix(np.array([[2.0]]))})
    gibbs = Gibbs(laws={"sky": Independent(np.array([2.0]))}, chains=2, origins=1, draws=2000)
    state = run(data, gibbs, 3000)
    values = state.table[:, 1000:, list(gibbs.columns(state, data)).index("sky")].ravel()
    assert stats.kstest(values, stats.gamma(8.5, scale=1 / 2.1).cdf).pvalue > 1e-3
    assert state.model["sky"][0] == pytest.approx(values.mean())


def test_mean_and_spread_are_those_of_the_rows():
    data, gibbs = problem()
    state = run(data, gibbs, 220)
    names = gibbs.columns(state, data)
    assert state.table.shape == (2, 220, len(names))
    at = names.index("background")
    kept = state.table[:, 20:, at]
    assert state.counted == 200
    np.testing.assert_allclose(state.mean["background"][:, 0], kept.mean(axis=1))
    np.testing.assert_allclose(state.spread["background"][:, 0] / 200, kept.var(axis=1))
    np.testing.assert_allclose(state.model["background"][0], kept.mean())
    field = data.components["sky"].geometry.field
    total = state.table[:, 20:, names.index("sky.total")].mean()
    assert state.model["sky"][field].sum() == pytest.approx(total)
    blocks = [i for i, name in enumerate(names) if name.startswith("sky.block")]
    np.testing.assert_allclose(
        state.table[..., blocks].sum(axis=-1), state.table[..., names.index("sky.total")]
    )
    bright = state.table[:, 20:, names.index("sky.pixel[4,5]")].mean()
    assert state.model["sky"][6, 7] == pytest.approx(bright)


def test_a_row_tells_of_one_state():
    """Likelihood and prior of a row belong to the values that stand in it."""
    data, gibbs = problem(chains=1, draws=30, thin=1)
    state = gibbs.start(data, Model.start(data))
    (chain,) = gibbs.chains_at(state, data)
    for _ in range(5):
        values = {name: np.copy(v) for name, v in chain.values.items()}
        densities = dict(chain.densities)
        likelihood = chain.sweep()
        assert likelihood == pytest.approx(data.log_likelihood(data.forward(values)), rel=1e-9)
        for name, law in gibbs.laws.items():
            assert densities[name] == pytest.approx(law.log_density(values[name], {}))


def test_stored_and_loaded_it_goes_on_bit_by_bit(tmp_path):
    data, gibbs = problem()
    gibbs = replace(gibbs, thin=3)
    start = gibbs.start(data, Model.start(data))
    state = gibbs.step(gibbs.step(start, data), data)
    checkpoint.save(tmp_path / "c.npz", state, [])
    again, _ = checkpoint.load(tmp_path / "c.npz", start)
    one, two = (gibbs.step(s, data) for s in (state, again))
    np.testing.assert_array_equal(one.table, two.table)
    np.testing.assert_array_equal(one.draws["sky"], two.draws["sky"])
    np.testing.assert_array_equal(one.kept["sky"], two.kept["sky"])
    assert one.log_likelihood == two.log_likelihood


def test_chains_do_not_know_of_each_other():
    data, several = problem(chains=4)
    _, alone = problem(chains=1)
    many, one = run(data, several, 60), run(data, alone, 60)
    np.testing.assert_array_equal(many.table[0, :60], one.table[0, :60])
    assert not np.array_equal(many.table[0], many.table[1])


def test_seeds_differ_and_repeat():
    data, gibbs = problem()
    first, second = run(data, gibbs, 20), run(data, gibbs, 20)
    np.testing.assert_array_equal(first.table, second.table)
    other = run(data, replace(gibbs, seed=5), 20)
    assert not np.array_equal(first.table, other.table)


def test_groups_share_an_origin():
    data, gibbs = problem(chains=6, origins=3)
    state = gibbs.start(data, Model.start(data))
    np.testing.assert_array_equal(gibbs.groups, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(state.unknowns["sky"]["group"], gibbs.groups)
    with pytest.raises(ConfigError, match="5 chains cannot be shared out among 2 origins"):
        Gibbs(chains=5, origins=2)


def test_numbers_of_a_sweep_do_not_depend_on_what_was_drawn_before():
    first, second = Numbers(3, 1), Numbers(3, 1)
    first.at(6).normal(size=5)
    first.at(7).integers(3)
    np.testing.assert_array_equal(first.at(8).random(9), second.at(8).random(9))
    assert not np.array_equal(first.at(8).random(9), Numbers(3, 2).at(8).random(9))


def test_moments_of_pieces_are_those_of_all():
    rng = np.random.default_rng(0)
    values = rng.random((50, 3)) + 1e6
    moments = Moments(0, {"a": np.zeros(3)}, {"a": np.zeros(3)})
    for piece in np.split(values, [0, 1, 20]):
        moments.add({"a": piece})
    np.testing.assert_allclose(moments.mean["a"], values.mean(axis=0))
    np.testing.assert_allclose(moments.spread["a"] / 50, values.var(axis=0), rtol=1e-6)


@pytest.mark.parametrize("in_folder", [True, False])
def test_kept_images_are_those_of_the_sweeps(tmp_path, in_folder):
    data, gibbs = problem()
    gibbs = replace(gibbs, thin=7, draws=100)
    state = gibbs.start(data, Model.start(data))
    keeper = Samples(gibbs, state, tmp_path if in_folder else None)
    keeper.on_start(state)
    while state.iteration < 120:
        state = gibbs.step(state, data)
        keeper.on_iteration(state, [])
    keeper.on_finish(state, [], "")
    images = keeper.arrays(state)["sky"]
    assert images.shape == (2, 15, 9, 11)
    totals = state.table[:, 20::7, gibbs.columns(state, data).index("sky.total")]
    np.testing.assert_allclose(images.sum(axis=(2, 3)), totals, rtol=1e-5)


def test_counts_that_are_no_whole_numbers_are_refused():
    data = BinnedData(np.array([1.5, 2]), {"sky": Matrix(np.ones((2, 1)))})
    gibbs = Gibbs(laws={"sky": Independent(np.array([2.0]))}, chains=1, origins=1)
    with pytest.raises(DataError, match="not whole numbers"):
        gibbs.step(gibbs.start(data, Model.start(data)), data)


def test_a_sphere_is_watched_by_base_pixels():
    pytest.importorskip("healpy")
    for nested in (False, True):
        sphere = Sphere(4, nested=nested)
        component = Component(sphere)
        values = np.random.default_rng(0).random(sphere.shape)
        watch = Watch("sky", component, values)
        assert len(watch.columns) == 1 + 12 + 16
        found = watch(values[None])[0]
        assert found[0] == pytest.approx(values.sum() * sphere.pixel_area)
        assert found[1:13].sum() == pytest.approx(found[0])
        np.testing.assert_allclose(np.sort(found[13:])[-1], values.max())


def test_energies_have_totals_of_their_own():
    component = Component(Grid((3, 8, 8)))
    values = np.random.default_rng(0).random((2, 3, 8, 8))
    watch = Watch("sky", component, values[0])
    assert watch.columns[:4] == ("sky.total[0]", "sky.total[1]", "sky.total[2]", "sky.block[0,0]")
    np.testing.assert_allclose(watch(values)[:, :3], values.sum(axis=(2, 3)))
    np.testing.assert_allclose(watch(values)[:, 3], values[:, :, :2, :2].sum(axis=(1, 2, 3)))
