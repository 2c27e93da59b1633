"""Libraries of responses: drawn along with the sky, so that intervals are as wide as they must."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy import stats

from skyfold import checkpoint
from skyfold.algorithms.gibbs import Gibbs
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError, NumericalError
from skyfold.geometry import Grid, Normalisations
from skyfold.joint import JointData
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.response import Response
from skyfold.sampling.chains.calibration import View
from skyfold.sampling.chains.library import CANDIDATES, Library
from skyfold.sampling.chains.principal import LIMIT, Components
from skyfold.sampling.chains.psf_library import calibration_of
from skyfold.sampling.laws.law import Law
from skyfold.sampling.laws.scale_law import GammaFactor, Scale
from skyfold.vector import Vector
from skyfold_responses.psf import Psf

SIZE = 12


class Even(Law):
    """A gamma law for each value by itself."""

    def __init__(self, sensitivity, shape=0.3, rate=0.02):
        self.sensitivity, self.shape, self.rate = np.asarray(sensitivity), shape, rate

    def start(self, values, group, rng):
        return values * rng.gamma(5, 0.2, values.shape), {}

    def draw(self, attributed, values, unknowns, rng):
        new = rng.gamma(attributed + self.shape, 1 / (self.sensitivity + self.rate))
        return np.maximum(new, 1e-300), unknowns, self.log_density(new, unknowns)

    def maximise(self, attributed, values, unknowns):
        raise NotImplementedError

    def simulate(self, rng):
        return rng.gamma(self.shape, 1 / self.rate, self.sensitivity.shape), {}

    def log_density(self, values, unknowns):
        return float(
            np.sum((self.shape - 1) * np.log(np.maximum(values, 1e-300)) - self.rate * values)
        )


class Gain(Response):
    """A matrix times one unknown factor for each bin."""

    def __init__(self, matrix, parameters):
        self.matrix, self.parameters = matrix, np.asarray(parameters, float)
        self.data_shape, self.model_shape = (len(matrix),), (matrix.shape[1],)

    def forward(self, values):
        return (self.matrix @ values) * self.parameters

    def adjoint(self, weights):
        return self.matrix.T @ (weights * self.parameters)

    def attribute(self, values, counts, others, rng):
        return Matrix(self.matrix * self.parameters[:, None]).attribute(values, counts, others, rng)

    def at(self, parameters):
        return Gain(self.matrix, parameters)


def gauss(sigma, size=7):
    y, x = np.mgrid[:size, :size] - size // 2
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return kernel / kernel.sum()


KERNELS = np.array([gauss(sigma) for sigma in (0.7, 1.1, 1.6, 2.2)])


HALOS = np.array([(1 - f) * gauss(0.8, 11) + f * gauss(3.0, 11) for f in (0.1, 0.25, 0.4, 0.55)])
STARS = np.full((SIZE, SIZE), 0.01)
STARS[4, 4] = STARS[8, 7] = 3.0


def image(counts, kernel, boundary="same", background=0.5):
    psf = Psf(kernel, (SIZE, SIZE), boundary)
    return BinnedData(
        counts,
        {"sky": psf, "background": np.full((SIZE, SIZE), background)},
        components={
            "sky": Component(Grid(psf.model_shape, field=psf.field)),
            "background": Component(Normalisations(), fixed=True),
        },
    )


def library(data, kernels=KERNELS, **options):
    return Library(tuple(data.parameters), np.asarray(kernels), **options)


def gibbs_of(data, calibration, law=None, **options):
    sensitivity = data.sensitivity if calibration is None else calibration.sensitivity(data)
    options = {"chains": 2, "origins": 1, "burn": 100, "draws": 400, **options}
    laws = {"sky": Even(sensitivity["sky"], **law or {})}
    return Gibbs(laws=laws, calibration=calibration, **options)


def run(data, gibbs, sweeps=None):
    state = gibbs.start(data, Model.start(data))
    while state.iteration < (sweeps or gibbs.burn + gibbs.draws):
        state = gibbs.step(state, data)
    return state


def scene(rng, kernel, amount=150.0, boundary="same"):
    """Counts of three stars through a kernel."""
    psf = Psf(kernel, (SIZE, SIZE), boundary)
    sky = np.zeros(psf.model_shape)
    for y, x in ((3, 3), (8, 4), (5, 9)):
        sky[y, x] = amount
    return rng.poisson(psf.forward(sky) + 0.5).astype(float)


# the conditional law, where it is known


def test_the_member_is_drawn_from_its_posterior():
    counts = scene(np.random.default_rng(1), KERNELS[1], 20.0)
    data, rng = image(counts, KERNELS[0]), np.random.default_rng(2)
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    calibration = library(data, weights=weights)
    values = {"sky": np.full((SIZE, SIZE), 0.7), "background": np.ones(1)}
    logs = [
        data.at({"sky": k}).log_likelihood(data.at({"sky": k}).forward(values)) for k in KERNELS
    ]
    expected = weights * np.exp(np.array(logs) - max(logs))
    expected /= expected.sum()
    setting, found = np.zeros(1), np.zeros(4)
    for _ in range(2000):
        setting = calibration.draw(data, values, setting, rng)
        found[int(setting[0])] += 1
    assert stats.chisquare(found, expected * 2000).pvalue > 1e-3
    assert calibration.log_density(np.array([2.0])) == pytest.approx(np.log(0.3))


def test_a_large_library_is_drawn_from_in_parts():
    """More members than are looked at; no counts, so that each keeps its weight."""
    rng = np.random.default_rng(3)
    number = CANDIDATES + 4
    gains = np.ones((number, 2))
    data = BinnedData(np.array([3.0, 0.0]), {"sky": Gain(np.ones((2, 1)), np.ones(2))})
    weights = rng.random(number) + 0.2
    calibration = library(data, gains, weights=weights)
    setting, found = np.zeros(1), np.zeros(number)
    for _ in range(600):
        for _ in range(3):  # a part of the members does not forget at once
            setting = calibration.draw(data, {"sky": np.ones(1)}, setting, rng)
        found[int(setting[0])] += 1
    assert stats.chisquare(found, weights / weights.sum() * 600).pvalue > 1e-3


@pytest.mark.slow
def test_components_are_drawn_from_their_posterior():
    """One bin whose gain is 1 + a/4: the posterior of a on a grid."""
    data = BinnedData(np.array([9.0]), {"sky": Gain(np.ones((1, 1)), np.ones(1))})
    calibration = Components(("sky",), np.ones(1), np.full((1, 1), 0.25))
    a = np.linspace(-3.99, LIMIT, 4001)
    density = np.exp(-(a**2) / 2 + 9 * np.log(1 + a / 4) - 5 * (1 + a / 4))
    cumulative = np.cumsum(density) / density.sum()
    rng, setting, drawn = np.random.default_rng(4), np.zeros(1), []
    for _ in range(2000):
        setting = calibration.draw(data, {"sky": np.full(1, 5.0)}, setting, rng)
        drawn.append(setting[0])
    thinned = np.array(drawn[::5])
    assert stats.kstest(thinned, lambda x: np.interp(x, a, cumulative)).pvalue > 1e-3


def test_principal_components_have_the_covariance_of_the_library():
    rng = np.random.default_rng(5)
    members = 1 + 0.1 * rng.random((6, 3, 4))
    weights = rng.random(6)
    found = Components.of(Library(("sky",), members, weights), 5)
    share = weights / weights.sum()
    rest = (members - found.mean).reshape(6, -1)
    covariance = (rest * share[:, None]).T @ rest
    axes = found.axes.reshape(5, -1)
    np.testing.assert_allclose(axes.T @ axes, covariance, atol=1e-12)
    with pytest.raises(ConfigError, match="1 to 5 principal components, not 6"):
        Components.of(Library(("sky",), members), 6)


def test_components_stay_above_zero_and_keep_their_sum():
    calibration = Components.of(Library(("sky",), KERNELS), 2)
    rng = np.random.default_rng(6)
    for _ in range(50):
        made = calibration.parameters(calibration.start(rng))
        assert made.min() >= 0
        assert made.sum() == pytest.approx(1)
    assert not calibration.allowed(np.array([0.0, LIMIT + 1]))
    hopeless = Components(("sky",), np.full(2, 1e-6), np.array([[1.0, -1.0]]))
    with pytest.raises(ConfigError, match="below zero"):
        hopeless.start(rng)


# the sensitivity changes with the setting


@pytest.mark.parametrize("kind", ["library", "components"])
def test_posterior_of_a_sky_whose_sensitivity_is_uncertain(kind):
    """One value, one bin, unknown efficiency: flux and efficiency by quadrature."""
    gains = np.array([[0.3], [0.6], [1.0]])
    data = BinnedData(np.array([6.0]), {"sky": Gain(np.ones((1, 1)), np.ones(1))})
    calibration = library(data, gains, every=1)
    a = np.arange(3)
    weight, gain = np.ones(3) / 3, gains[:, 0]
    if kind == "components":
        calibration = Components(("sky",), np.full(1, 0.6), np.full((1, 1), 0.15), every=1)
        a = np.linspace(-3.99, LIMIT, 801)
        weight, gain = np.exp(-(a**2) / 2), 0.6 + 0.15 * a
    law = Even(calibration.sensitivity(data)["sky"], 2.0, 0.2)
    gibbs = Gibbs(
        laws={"sky": law}, calibration=calibration, chains=2, origins=1, burn=50, draws=500
    )
    state = run(data, gibbs)
    names = gibbs.columns(state, data)
    drawn = state.table[:, 50::3, names.index("sky")].ravel()
    grid = np.linspace(0.01, 60, 6000)
    density = sum(
        w * grid ** (2 - 1 + 6) * g**6 * np.exp(-(0.2 + g) * grid)
        for w, g in zip(weight, gain, strict=True)
    )
    cumulative = np.cumsum(density) / density.sum()
    assert stats.kstest(drawn, lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-3
    assert {"library": "sky.response", "components": "sky.response[0]"}[kind] in names


def test_light_that_leaves_the_field_is_told_to_the_law():
    counts = scene(np.random.default_rng(7), KERNELS[1], boundary="extended")
    data = image(counts, KERNELS[0], "extended")
    calibration = library(data)
    most = calibration.sensitivity(data)["sky"]
    for k, kernel in enumerate(KERNELS):
        own = data.at({"sky": kernel}).sensitivity["sky"]
        assert np.all(own <= most + 1e-12)
        view = calibration.view(data, np.array([float(k)]))
        values = np.full(own.shape, 3.0)
        drawn = np.zeros(own.shape, np.int64)
        rng = np.random.default_rng(8)
        added = sum(view.completed("sky", drawn, values, rng) for _ in range(200))
        expected = 600 * (most - own)
        assert np.all(added[expected <= 1e-9] == 0)
        assert added.sum() == pytest.approx(expected.sum(), abs=5 * np.sqrt(expected.sum()))
    components = Components.of(calibration, 2)
    bound, rng = components.sensitivity(data), np.random.default_rng(9)
    for _ in range(20):
        View.of(components.at(data, components.start(rng)), bound)
    with pytest.raises(NumericalError, match="more sensitive"):
        View.of(data, Vector({"sky": 0.5 * data.sensitivity["sky"]}))


# the chains


def test_one_member_is_the_run_without_a_library():
    counts = scene(np.random.default_rng(10), KERNELS[1])
    data = image(counts, KERNELS[1])
    fixed = run(data, gibbs_of(data, None), 60)
    single = run(data, gibbs_of(data, library(data, KERNELS[1:2])), 60)
    np.testing.assert_array_equal(single.table[..., :-1], fixed.table)


def test_the_setting_is_part_of_the_state(tmp_path):
    """Going on from a checkpoint gives the numbers of a run that was never interrupted."""
    counts = scene(np.random.default_rng(11), KERNELS[2], 10.0)
    data = image(counts, KERNELS[1])
    gibbs = gibbs_of(data, library(data), burn=30, draws=60, thin=7)
    whole = run(data, gibbs, 90)
    state = gibbs.start(data, Model.start(data))
    while state.iteration < 90:
        checkpoint.save(tmp_path / "state", state, [])
        state, _ = checkpoint.load(tmp_path / "state", gibbs.start(data, Model.start(data)))
        state = gibbs.step(state, data)
    np.testing.assert_array_equal(state.table, whole.table)
    assert len(np.unique(whole.table[..., -1])) > 1
    assert set(np.unique(whole.table[..., -1])) <= set(range(4))


def test_a_row_tells_of_one_state():
    counts = scene(np.random.default_rng(12), KERNELS[2], 10.0)
    data = image(counts, KERNELS[1])
    calibration = library(data, every=2)
    gibbs = gibbs_of(data, calibration, chains=1)
    (chain,) = gibbs.chains_at(gibbs.start(data, Model.start(data)), data)
    for _ in range(6):
        values = {name: np.copy(v) for name, v in chain.values.items()}
        level = chain.sweep()
        assert level == pytest.approx(calibration.log_likelihood(data, values, chain.setting))


def test_the_right_member_is_found():
    sky = np.zeros((SIZE, SIZE))
    sky[4, 4] = sky[8, 7] = 300
    blurred = Psf(HALOS[3], (SIZE, SIZE), "same").forward(sky)
    counts = np.random.default_rng(13).poisson(blurred + 2.0).astype(float)
    data = image(counts, HALOS[0], background=2.0)
    law = {"shape": STARS, "rate": 0.01}
    state = run(data, gibbs_of(data, library(data, HALOS), law=law, draws=300))
    assert np.mean(state.table[:, 200:, -1] >= 2) > 0.8


def test_joint_data_share_one_setting():
    rng = np.random.default_rng(14)
    both = JointData([image(scene(rng, KERNELS[1]), KERNELS[0]) for _ in range(2)])
    calibration = library(both)
    assert calibration.names == ("sky[1]", "sky[2]")
    state = run(both, gibbs_of(both, calibration), 20)
    seen = calibration.view(both, np.array([3.0])).data
    for part in seen.parts:
        np.testing.assert_array_equal(part.parameters["sky"], KERNELS[3])
    assert state.table.shape[1] == state.sweeps >= 20


# files


def test_libraries_from_files(tmp_path):
    data = image(scene(np.random.default_rng(15), KERNELS[1]), KERNELS[0])
    cube, single, large = (tmp_path / f"{name}.fits" for name in ("cube", "single", "large"))
    weights = fits.BinTableHDU(Table({"WEIGHT": [1.0, 1.0, 2.0, 4.0]}), name="WEIGHTS")
    fits.HDUList([fits.PrimaryHDU(2 * KERNELS), weights]).writeto(cube)
    found = calibration_of(data, cube)
    np.testing.assert_allclose(found.members, KERNELS)
    np.testing.assert_allclose(found.chances, np.array([1, 1, 2, 4]) / 8)
    fits.PrimaryHDU(gauss(0.5, 5)).writeto(single)
    fits.PrimaryHDU(gauss(0.5, 9)).writeto(large)
    several = calibration_of(data, [single, large])
    assert several.members.shape == (2, 7, 7)
    assert [np.unravel_index(m.argmax(), m.shape) for m in several.members] == [(3, 3)] * 2
    assert isinstance(calibration_of(data, cube, components=2), Components)
    wide = tmp_path / "wide.fits"
    fits.PrimaryHDU(gauss(4.0, 25)).writeto(wide)
    with pytest.raises(DataError, match="outside of the frame"):
        calibration_of(data, wide)
    with pytest.raises(DataError, match="above zero"):
        calibration_of(data, -KERNELS)
    with pytest.raises(ConfigError, match="4 members needs as many weights"):
        calibration_of(data, KERNELS, weights=np.ones(5))
    plain = BinnedData(np.ones(3), {"sky": Matrix(np.eye(3))})
    with pytest.raises(ConfigError, match="have no PSF"):
        calibration_of(plain, KERNELS)


# what it is for


def coverage(seed, number, sweeps):
    """Return how often intervals hold the flux of a star whose PSF has a halo, known or not.

    Skies are drawn from the law and the PSF from the library, so that what is promised must be
    kept with the library; without, the PSF is taken for another member of it.

    Returns
    -------
    inside
        Numbers, shape (2, 2): with and without the library; 68 % and 95 %.
    """
    rng, inside = np.random.default_rng(seed), np.zeros((2, 2), int)
    region, law = np.s_[3:6, 3:6], {"shape": STARS, "rate": 0.01}
    for k in range(number):
        own = rng.integers(len(HALOS))
        sky = Even(np.ones((SIZE, SIZE)), **law).simulate(rng)[0]
        blurred = Psf(HALOS[own], (SIZE, SIZE), "same").forward(sky)
        data = image(rng.poisson(blurred + 2.0).astype(float), HALOS[own - 2], background=2.0)
        for i, calibration in enumerate((library(data, HALOS, every=2), None)):
            gibbs = gibbs_of(data, calibration, seed=k, chains=1, law=law)
            (chain,) = gibbs.chains_at(gibbs.start(data, Model.start(data)), data)
            drawn = []
            for _ in range(sweeps):
                chain.sweep()
                drawn.append(chain.values["sky"][region].sum())
            drawn = drawn[sweeps // 4 :]
            for j, tail in enumerate((0.16, 0.025)):
                low, high = np.quantile(drawn, [tail, 1 - tail])
                inside[i, j] += low <= sky[region].sum() <= high
    return inside


@pytest.mark.slow
def test_intervals_are_wide_enough_with_the_library_only():
    with_, without = coverage(16, 24, 160)
    assert stats.binom.ppf(0.01, 24, 0.68) <= with_[0] <= stats.binom.ppf(0.99, 24, 0.68)
    assert with_[1] >= stats.binom.ppf(0.01, 24, 0.95)
    assert np.all(without < stats.binom.ppf(0.001, 24, [0.68, 0.95]))


@pytest.mark.slow
def test_coverage_of_the_library():
    """Nominal with the library; without it, intervals are too narrow by far."""
    number = 200
    with_, without = coverage(17, number, 800)
    for j, level in enumerate((0.68, 0.95)):
        low, high = stats.binom.ppf([0.005, 0.995], number, level)
        assert low <= with_[j] <= high
        assert without[j] < low


# backgrounds that are known so and so well


def backgrounds(seed=18):
    """Two stars on an even background and on one that rises, both fitted."""
    slope = np.broadcast_to(np.linspace(0.0, 4.0, SIZE), (SIZE, SIZE)).copy()
    templates = {"even": np.full((SIZE, SIZE), 2.0), "rising": slope}
    psf = Psf(gauss(1.0), (SIZE, SIZE), "same")
    sky = np.zeros((SIZE, SIZE))
    sky[4, 4] = sky[8, 7] = 60.0
    expected = psf.forward(sky) + 1.1 * templates["even"] + 0.8 * templates["rising"]
    return BinnedData(
        np.random.default_rng(seed).poisson(expected).astype(float),
        {"sky": psf, **templates},
        components={
            "sky": Component(Grid(psf.model_shape)),
            **{name: Component(Normalisations()) for name in templates},
        },
    )


def sampled(data, error):
    """Return draws by column, the backgrounds known so well before."""
    laws = {
        name: Scale(data.sensitivity[name], GammaFactor.of(1.0, error))
        for name in ("even", "rising")
    }
    laws["sky"] = Even(data.sensitivity["sky"], STARS, 0.05)
    gibbs = Gibbs(laws=laws, chains=2, origins=1, burn=100, draws=900)
    state = run(data, gibbs)
    rows = state.table[:, 100:].reshape(-1, state.table.shape[-1])
    return dict(zip(gibbs.columns(state, data), rows.T, strict=True))


def test_several_backgrounds_are_told_apart_and_their_errors_count():
    data = backgrounds()
    loose, tight = sampled(data, 0.5), sampled(data, 0.01)
    for name, truth in (("even", 1.1), ("rising", 0.8)):
        assert abs(loose[name].mean() - truth) < 3 * loose[name].std()
        assert tight[name].std() < 0.012 < loose[name].std()
    assert np.corrcoef(loose["even"], loose["rising"])[0, 1] < 0  # they share the counts
    width = {key: np.ptp(np.quantile(each["sky.total"], [0.16, 0.84])) for key, each in (
        ("loose", loose), ("tight", tight))}  # fmt: skip
    assert width["loose"] > 1.2 * width["tight"]


def test_a_surer_background_has_the_posterior_of_the_textbook():
    """A background alone: Gamma(n + a, s + b) with the shape and rate that were stated."""
    data = BinnedData(np.array([30.0, 50.0]), {"background": np.array([20.0, 40.0])})
    for error in (0.02, 0.2, 1.0):
        law = Scale(data.sensitivity["background"], GammaFactor.of(1.0, error))
        gibbs = Gibbs(laws={"background": law}, chains=1, origins=1, burn=5, draws=1000)
        drawn = run(data, gibbs).table[0, 5:, 3]
        expected = stats.gamma(80 + error**-2, scale=1 / (60 + error**-2))
        assert stats.kstest(drawn, expected.cdf).pvalue > 1e-3
