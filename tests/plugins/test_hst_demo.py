"""The telescope, and the field of stars that it looks at."""

import numpy as np
import pytest

import skyfold
from skyfold.registry import default_registry
from skyfold.simulate import score
from skyfold_hst.telescope import stars, telescope_psf


@pytest.mark.parametrize("size", [16, 48])
def test_the_peak_is_where_the_programs_want_it(size):
    psf = telescope_psf(size)
    assert psf.sum() == pytest.approx(1, abs=1e-14)
    assert psf.min() >= 0
    assert np.unravel_index(psf.argmax(), psf.shape) == (size // 2 - 1, size // 2 - 1)


def test_the_psf_is_well_sampled_and_as_wide_as_told():
    for core in (2.3, 3.5):
        psf = telescope_psf(96, core)
        row = psf[47] / psf.max()
        half = np.interp(-0.5, -row[47:60], np.arange(13))
        assert 0.9 * core < 2 * half < 1.2 * core
        spectrum = np.abs(np.fft.fft2(psf))
        frequency = np.fft.fftfreq(96)
        beyond = np.hypot(frequency[:, None], frequency) > 1.05 / core
        assert spectrum[beyond].max() < 2e-3


def test_it_has_rings_and_spikes():
    psf = telescope_psf(64)
    along, across = psf[31, 41:61], np.diagonal(psf)[41:61]
    assert along.mean() > 3 * across.mean()
    assert psf[31, 31:36].argmin() < 4  # a dark ring within four pixels


def test_stars_keep_their_distance():
    places, fluxes = stars(2, 25, (96, 80))
    apart = np.hypot(*(places[:, None] - places).T) + 10 * np.eye(25)
    assert apart.min() > 3
    assert np.all((places >= 6) & (places <= (73, 89)))
    whole = np.all(places == np.rint(places), axis=1)
    assert whole.sum() == 13
    assert (fluxes.min(), fluxes.max()) == pytest.approx((600, 30_000))


@pytest.fixture(scope="module")
def demo():
    return default_registry().demos["hst-stars"](1)


def test_the_demo_is_a_function_of_its_seed(demo):
    again, other = (default_registry().demos["hst-stars"](seed) for seed in (1, 2))
    np.testing.assert_array_equal(demo.data.full_counts, again.data.full_counts)
    assert np.any(demo.data.full_counts != other.data.full_counts)
    assert not [check for check in demo.data.checks if check.level == "warning"]


def test_the_truth_explains_the_counts(demo):
    expected = demo.data.full_expectation(demo.truth)
    chi = np.mean((demo.data.full_counts - expected) ** 2 / expected)
    assert abs(chi - 1) < 5 * np.sqrt(2 / expected.size)


@pytest.mark.slow
def test_restoring_by_its_advice_measures_the_stars(demo):
    options = dict(demo.data.origin.advice["method"])
    assert options == demo.method
    name = options.pop("name")
    result = skyfold.run(demo.data, name, 30, progress=False, **options)
    found = score(demo, result)
    assert found["nrmse"] < 0.85 * found["nrmse_observed"]
    assert abs(found["stars_error_percent"]) < 1
    assert found["stars_median_error_percent"] < 5
