"""Deconvolution with Pylira's classes: its example, its options, its data, its law."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy import stats

from skyfold.errors import ConfigError, DataError
from skyfold_image.pylira import LIRADeconvolver, LIRADeconvolverResult
from skyfold_image.pylira.data import disk_source_gauss_psf, point_source_gauss_psf

EXAMPLE = """
import numpy as np
from skyfold_image.pylira import LIRADeconvolver
from skyfold_image.pylira.data import point_source_gauss_psf

# create example dataset
data = point_source_gauss_psf()

# define initial flux image
data["flux_init"] = data["flux"]

deconvolve = LIRADeconvolver(
    n_iter_max=3_000,
    n_burn_in=500,
    alpha_init=np.ones(5)
)

result = deconvolve.run(data=data)

# plot pixel traces, result shown in Figure 3
result.plot_pixel_traces_region(
    center_pix=(16, 16), radius_pix=3
)

# plot pixel traces, result shown in Figure 4
result.plot_parameter_traces()

# finally serialise the result
result.write("result.fits")
"""


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def small(seed=3, size=8):
    """A few counts around one pixel, a PSF of 3 x 3 pixels."""
    rng = np.random.default_rng(seed)
    kernel = np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    expected = np.full((size, size), 0.5)
    expected[2:5, 3:6] += 3 * kernel
    return {"counts": rng.poisson(expected), "psf": kernel}


def drawn(data, iterations=200, burn_in=50, seed=1, **options):
    levels = len(data["counts"]).bit_length() - 1
    options = {"alpha_init": [0.1] * levels, **options}
    deconvolver = LIRADeconvolver(
        n_iter_max=iterations,
        n_burn_in=burn_in,
        random_state=np.random.RandomState(seed),
        **options,
    )
    return deconvolver.run(data)


def test_a_chain_that_is_too_short_says_so(caplog):
    result = drawn(small(), iterations=120, burn_in=20)
    (doubt,) = result.doubts
    assert doubt in caplog.text
    assert doubt.startswith("ESS ")
    assert "(n_iter_max " in doubt
    assert doubt.partition(":")[0] in str(result)
    assert "draws                : 100 after 20 of burn-in" in str(result)
    assert f"total flux {result.posterior_mean.sum():.6g}" in str(result)


def test_the_classes_are_where_pylira_has_them():
    from skyfold_image.pylira import core

    assert core.LIRADeconvolver is LIRADeconvolver
    assert core.LIRADeconvolverResult is LIRADeconvolverResult


def test_the_example_of_the_paper_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(EXAMPLE.replace("3_000", "600").replace("500", "100"), names)
    assert [len(figure.axes) > 1 for figure in map(plt.figure, plt.get_fignums())] == [True, True]
    again = LIRADeconvolverResult.read("result.fits")
    assert again.image_trace.shape == (600, 32, 32)
    np.testing.assert_allclose(again.posterior_mean, names["result"].posterior_mean)
    # the source has 1000 counts; it may lie in a pixel beside the true one
    assert again.posterior_mean[14:19, 14:19].sum() == pytest.approx(1000, rel=0.15)


def test_exposure_background_and_start_may_be_left_out():
    data = small()
    plain = drawn(data)
    told = drawn({**data, "exposure": np.ones((8, 8))})
    np.testing.assert_array_equal(plain.image_trace, told.image_trace)
    assert plain.image_trace.shape == (200, 8, 8)
    assert np.all(np.isfinite(plain.image_trace))
    assert plain.wcs is None
    dark = drawn({**data, "background": np.zeros((8, 8)), "flux_init": np.ones((8, 8))})
    assert dark.posterior_mean.sum() == pytest.approx(plain.posterior_mean.sum(), rel=0.1)


@pytest.mark.parametrize("burn_in", [0, 30])
def test_moments_are_those_of_the_images_after_burn_in(burn_in):
    result = drawn(small(), 100, burn_in)
    assert len(result.image_trace) == len(result.parameter_trace) == 100
    for found, expected in (
        (result.posterior_mean, result.posterior_mean_from_trace),
        (result.posterior_std, result.posterior_std_from_trace),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-12)


def test_images_do_not_depend_on_what_else_is_asked_of_the_seed():
    data = small()
    first, again, other = drawn(data), drawn(data), drawn(data, seed=2)
    np.testing.assert_array_equal(first.image_trace, again.image_trace)
    assert first.config["random_seed"] == again.config["random_seed"]
    assert np.any(first.image_trace != other.image_trace)


def test_fluxes_are_per_unit_of_exposure():
    """Another unit of the exposure is another unit of flux, and nothing else."""
    data = {**small(), "exposure": np.linspace(0.5, 1.5, 64).reshape(8, 8)}
    data["background"] = np.full((8, 8), 0.3)
    other = {**data, "exposure": 1024 * data["exposure"], "background": data["background"] / 1024}
    here, there = (drawn(each, iterations=6, burn_in=0) for each in (data, other))
    np.testing.assert_allclose(here.image_trace, 1024 * there.image_trace, rtol=1e-4, atol=1e-30)
    for name in ("expectedMSCounts", "smoothingParam0"):
        np.testing.assert_allclose(here.parameter_trace[name], there.parameter_trace[name])
    seen = here.image_trace[-1].sum(dtype=float) * data["exposure"].max()
    assert here.parameter_trace["expectedMSCounts"][-1] == pytest.approx(seen, rel=1e-6)


@pytest.mark.parametrize(("compat", "rate"), [(False, 1e-3), (True, 0.05)])
def test_total_without_background_is_gamma(compat, rate):
    counts = small()["counts"]
    result = drawn({"counts": counts, "psf": np.ones((1, 1))}, 800, 0, compat=compat)
    law = stats.gamma(counts.sum() + 1, scale=1 / (1 + rate))
    assert stats.kstest(result.parameter_trace["expectedMSCounts"][1:], law.cdf).pvalue > 1e-3
    assert result.config["ms_ttlcnt_exp"] == rate


@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (3, 4)])
def test_the_centre_of_a_psf_is_half_its_shape(shape):
    psf, counts = np.zeros(shape), np.zeros((8, 8))
    psf[shape[0] // 2, shape[1] // 2], counts[2, 5] = 5.0, 50
    mean = drawn({"counts": counts, "psf": psf}).posterior_mean
    assert np.unravel_index(mean.argmax(), mean.shape) == (2, 5)
    assert mean[2, 5] == pytest.approx(50, rel=0.2)


def test_light_that_leaves_at_an_edge_comes_back_at_the_other():
    psf, counts = np.zeros((3, 3)), np.zeros((8, 8))
    psf[1, 2], counts[4, 0] = 1, 50  # everything is seen one pixel to the right
    mean = drawn({"counts": counts, "psf": psf}).posterior_mean
    assert np.unravel_index(mean.argmax(), mean.shape) == (4, 7)


def test_the_scale_of_the_background_is_drawn():
    data = point_source_gauss_psf(random_state=np.random.RandomState(836))
    trace = drawn(data, 600, 200, fit_background_scale=True).parameter_trace
    scale = trace["bkgScale"][200:]
    assert 0.93 < np.mean(scale) < 0.98
    assert 0.01 < np.std(scale) < 0.06
    assert np.mean(trace["expectedMSCounts"][200:]) > 980


def test_parameters_have_the_names_of_pylira():
    data = disk_source_gauss_psf(random_state=np.random.RandomState(836))
    result = drawn(data, 10, 2, compat=True)
    table = result.parameter_trace
    assert table.colnames == [
        *("iteration", "logPost", "stepSize", "cycleSpinRow", "cycleSpinCol"),
        *(f"smoothingParam{level}" for level in range(5)),
        *("expectedMSCounts", "logLikelihood"),
    ]
    assert table["iteration"].tolist() == list(range(1, 11))
    np.testing.assert_allclose(np.diff(table["logPost"]), table["stepSize"][1:])
    assert len(np.unique(table["cycleSpinRow"])) > 2
    assert result.config["compat"]


def test_coordinates_are_kept(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["GLON-CAR", "GLAT-CAR"], [0, 0], [-0.1, 0.1]
    result = drawn({**small(), "wcs": wcs}, 20, 5)
    assert result.wcs is wcs
    result.write(tmp_path / "r.fits")
    assert fits.getheader(tmp_path / "r.fits")["CTYPE1"] == "GLON-CAR"


def test_options_are_told():
    deconvolver = LIRADeconvolver(alpha_init=np.ones(3), ms_al_kap1=1, compat=True)
    options = deconvolver.to_dict()
    assert options["alpha_init"] == [1.0, 1.0, 1.0]
    assert (options["n_iter_max"], options["n_burn_in"]) == (3000, 1000)
    assert options["ms_ttlcnt_exp"] == 0.05
    for name, value in options.items():
        assert f"{name:21}: {value}" in str(deconvolver)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"psf": None}, "no 'psf'"),
        ({"counts": np.ones((8, 6))}, r"shape \(8, 6\), but must be square"),
        ({"counts": np.ones((12, 12))}, "2\\^L pixels wide"),
        ({"counts": np.full((8, 8), np.nan)}, "counts must be an image"),
        ({"psf": np.full((3, 3), -1.0)}, "psf must be an image"),
        ({"psf": np.zeros((3, 3))}, "zero everywhere"),
        ({"exposure": np.ones((8, 9))}, r"exposure has shape \(8, 9\)"),
        ({"background": np.ones((4, 4))}, r"background has shape \(4, 4\)"),
        ({"flux_init": np.ones(8)}, "flux_init must be an image"),
        ({"exposure": np.zeros((8, 8))}, "neither response nor background"),
        ({"counts": np.zeros((8, 8))}, "nothing to restore"),
    ],
)
def test_wrong_data_are_refused_by_name(change, says):
    with pytest.raises(DataError, match=says):
        drawn({**small(), **change}, alpha_init=[0.1] * 3)


def test_wrong_options_are_refused():
    with pytest.raises(
        ConfigError, match="alpha_init has 2 values; an image 8 pixels wide has 3 levels"
    ):
        drawn(small(), alpha_init=[1, 1])
    with pytest.raises(ConfigError, match="asks for a background"):
        drawn(small(), fit_background_scale=True)
    with pytest.raises(ConfigError, match="n_burn_in 10 is not below"):
        LIRADeconvolver([0.1], n_iter_max=10, n_burn_in=10)


def test_files_that_are_not_written_are_told(caplog):
    LIRADeconvolver([0.1], filename_out="out.txt")
    assert "filename_out and filename_out_par have no effect" in caplog.text
