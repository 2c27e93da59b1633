"""The result of a deconvolution: moments, files, plots."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from skyfold.errors import ConfigError, DataError, FileError
from skyfold_image.pylira import LIRADeconvolverResult
from skyfold_image.pylira.utils import (
    f_hyperprior_esch,
    f_hyperprior_lira,
    plot_example_dataset,
    plot_hyperpriors_lira,
    read_image_trace_file,
    read_parameter_trace_file,
)

ITERATIONS, BURN_IN = 30, 10


@pytest.fixture
def result(rng):
    images = rng.gamma(2, size=(ITERATIONS, 8, 8)).astype(np.float32)
    images[:, 3, 5] += 50
    parameters = {
        "iteration": np.arange(1, ITERATIONS + 1),
        "logPost": np.where(np.arange(ITERATIONS) == 20, -np.inf, rng.normal(size=ITERATIONS)),
        "smoothingParam0": rng.gamma(2, size=ITERATIONS),
        "smoothingParam1": rng.gamma(2, size=ITERATIONS),
        "expectedMSCounts": images.sum(axis=(1, 2), dtype=float),
    }
    config = {
        "alpha_init": [0.1, 0.2],
        "n_iter_max": ITERATIONS,
        "n_burn_in": BURN_IN,
        "fit_background_scale": False,
        "ms_ttlcnt_exp": 0.05,
        "random_seed": 7,
    }
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [266, -29], [-0.1, 0.1]
    return LIRADeconvolverResult(
        config,
        images[BURN_IN:].mean(axis=0),
        images[BURN_IN:].std(axis=0),
        Table(parameters),
        images,
        wcs,
    )


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_moments_leave_out_the_burn_in(result):
    after = np.asarray(result.image_trace[BURN_IN:], dtype=float)
    np.testing.assert_allclose(result.posterior_mean_from_trace, after.mean(axis=0))
    np.testing.assert_allclose(result.posterior_std_from_trace, after.std(axis=0))
    assert (result.n_iter_max, result.n_burn_in) == (ITERATIONS, BURN_IN)


def test_independent_draws_have_no_doubts(rng):
    images = rng.gamma(2, size=(1000, 4, 4))
    trace = Table({"iteration": np.arange(1000), "smoothingParam0": rng.gamma(2, size=1000)})
    config = {"n_iter_max": 1000, "n_burn_in": 100}
    result = LIRADeconvolverResult(config, parameter_trace=trace, image_trace=images)
    assert result.doubts == []
    assert "mixing               : ESS " in str(result)
    moments = LIRADeconvolverResult(config, images.mean(axis=0), images.std(axis=0))
    assert moments.doubts == []
    assert "mixing               : not known" in str(moments)


def test_fits_has_the_units_of_pylira_and_is_read_back(result, tmp_path):
    result.write(tmp_path / "r.fits")
    with fits.open(tmp_path / "r.fits") as opened:
        names = [unit.name for unit in opened]
        shape = opened["IMAGE_TRACE"].shape
    assert names == ["PRIMARY", "POSTERIOR_STD", "PARAMETER_TRACE", "IMAGE_TRACE", "CONFIG"]
    assert shape == (ITERATIONS, 8, 8)
    again = LIRADeconvolverResult.read(tmp_path / "r.fits")
    assert again.config == result.config
    np.testing.assert_array_equal(again.image_trace, result.image_trace)
    np.testing.assert_allclose(again.posterior_mean, result.posterior_mean)
    np.testing.assert_allclose(again.posterior_std, result.posterior_std)
    assert again.parameter_trace.colnames == result.parameter_trace.colnames
    np.testing.assert_array_equal(
        again.parameter_trace["logPost"], result.parameter_trace["logPost"]
    )
    np.testing.assert_allclose(
        again.wcs.pixel_to_world_values(3, 4), result.wcs.pixel_to_world_values(3, 4)
    )


def test_a_reduced_result_is_written_and_read_without_its_images(result, tmp_path):
    result.reduce_to_mean_std().write(tmp_path / "r.fits")
    again = LIRADeconvolverResult.read(tmp_path / "r.fits")
    np.testing.assert_allclose(again.posterior_mean, result.posterior_mean)
    assert len(again.parameter_trace) == ITERATIONS
    with pytest.raises(DataError, match="reduced"):
        _ = again.image_trace
    again.reduce_to_mean_std().write(tmp_path / "again.fits")


def test_files_are_not_overwritten_nor_guessed(result, tmp_path):
    result.write(tmp_path / "r.fits")
    with pytest.raises(FileError, match="overwrite=True"):
        result.write(tmp_path / "r.fits")
    result.write(tmp_path / "r.fits", overwrite=True)
    with pytest.raises(ConfigError, match="hdf5"):
        result.write(tmp_path / "r.h5", format="hdf5")
    fits.writeto(tmp_path / "other.fits", np.ones((2, 2)))
    for name in ("other.fits", "missing.fits"):
        with pytest.raises(FileError, match=name):
            LIRADeconvolverResult.read(tmp_path / name)


def test_plots_show_what_they_say(result):
    figure = result.plot_pixel_traces_region(center_pix=(5, 3), radius_pix=2)
    traces = figure.axes[-1]
    last = traces.lines[-2].get_ydata()  # after burn-in; the mean is the last line
    np.testing.assert_array_equal(last, result.image_trace[BURN_IN:, 3, 5])
    neighbours = len(traces.lines) - 3
    assert neighbours == 12  # pixels within 2 pixels of one
    assert result.plot_pixel_trace().get_title() == "pixel x 5, y 3"
    assert len(result.plot_parameter_traces().axes) == 4
    distributions = result.plot_parameter_distributions().axes
    drawn = sum(patch.get_height() for patch in distributions[0].patches[:4])
    assert drawn == ITERATIONS - BURN_IN - 1  # the infinite one is left out; bins = sqrt
    for from_trace in (False, True):
        assert len(result.plot_posterior_mean(from_image_trace=from_trace).axes) == 4
    with pytest.raises(DataError, match="x 8, y 0 lies outside"):
        result.plot_pixel_trace((8, 0))


@pytest.mark.parametrize("cumulative", [False, True])
def test_animation_shows_images_or_their_running_mean(result, cumulative):
    film = result.plot_image_trace_animation(
        ax=plt.figure().add_subplot(), n_frames=3, cumulative=cumulative
    )
    film._init_draw()
    for frame in range(3):
        (shown, _) = film._func(frame)
    expected = result.image_trace[:3].mean(axis=0) if cumulative else result.image_trace[2]
    np.testing.assert_allclose(shown.get_array(), expected, rtol=1e-6)


def test_slider_shows_the_image_chosen(result):
    pytest.importorskip("ipywidgets")
    widget = result.plot_image_trace_interactive()
    assert widget.children[0].max == ITERATIONS - 1


def test_hyperpriors():
    alpha = np.array([0.05, 0.5, 2.0])
    np.testing.assert_allclose(f_hyperprior_lira(alpha), np.exp(-1000 * alpha**3))
    np.testing.assert_allclose(
        f_hyperprior_lira(alpha, 1, 0.02, 1), 0.02 * alpha * np.exp(-0.02 * alpha)
    )
    np.testing.assert_allclose(f_hyperprior_esch(alpha, 3, 3, 1), alpha * np.exp(-(alpha**3)))
    figure = plot_hyperpriors_lira(ms_al_kap1=[0, 1], ms_al_kap2=[1000, 0.02], ms_al_kap3=[3, 1])
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]


def test_data_sets_are_drawn():
    figure = plot_example_dataset({"counts": np.ones((4, 4)), "psf": np.ones((3, 3)), "wcs": None})
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["counts", "psf"]


def test_text_traces_of_lira_are_read(tmp_path):
    (tmp_path / "par.txt").write_text("#\n# said\n#\niteration logPost \n1    nan \n2   -3.5 \n")
    assert read_parameter_trace_file(tmp_path / "par.txt")["logPost"][1] == -3.5
    (tmp_path / "out.txt").write_text("0.5  1.0  \n2.0  3.0  \n" * 3)
    images = read_image_trace_file(tmp_path / "out.txt")
    assert images.shape == (3, 2, 2)
    assert images[2, 1, 0] == 2.0
    (tmp_path / "out.txt").write_text("0.5  1.0  \n" * 3)
    with pytest.raises(DataError, match="3 rows of 2"):
        read_image_trace_file(tmp_path / "out.txt")
    with pytest.raises(FileError, match="no image trace"):
        read_image_trace_file(tmp_path / "none.txt")
