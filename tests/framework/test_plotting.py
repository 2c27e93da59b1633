from __future__ import annotations

from itertools import islice

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.dataspace import DataAxis, Projection
from skyfold.drawing import bins_of, draw_image
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.layers import (
    energy_labels,
    layers_of,
    observe,
    on_pixels,
    rows_go_up,
    same_field,
    sphere_layer,
)
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.origin import Origin
from skyfold.pixels import Diagonal
from skyfold.plotting import overview, projections, sky
from skyfold.residuals import block_residual
from skyfold.result import Result
from skyfold.shades import limits, ticks
from skyfold.simulate import Demo
from skyfold.skymap import layout, map_wcs, project, unproject
from skyfold.sphere import Sphere
from skyfold.trails import curves


def restore(data, iterations=3, **extra):
    algorithm = RichardsonLucy()
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    history = list(islice(states, iterations + 1))
    trace = [{"iteration": s.iteration, "log_likelihood": s.log_likelihood} for s in history]
    return Result(data, history[-1], trace, "enough", **extra)


def tan(nx=20, ny=16, x=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = nx / 2 + x, ny / 2
    wcs.wcs.crval = 266.4, -29.0
    wcs.wcs.cdelt = -0.01, 0.01
    return wcs


def observed(shape, rng, wcs=None, edges=None, name="data"):
    grid = Grid(shape, wcs, edges)
    return BinnedData(
        rng.poisson(4.0, shape),
        {"sky": Diagonal(np.ones(shape)), "background": np.full(shape, 0.5)},
        components={"sky": Component(grid, "ct")},
        origin=Origin(name, geometry=grid),
    )


def titles(figure):
    return [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]


def test_overview_of_an_image_has_world_coordinates_and_units(rng):
    figure = overview(restore(observed((16, 20), rng, tan())))
    assert [title for title in titles(figure) if title] == [
        "Counts", "Restored", "Residual of 8 × 8 pixels",
    ]  # fmt: skip
    assert [axes.coords[0].get_axislabel() for axes in figure.axes] == ["RA"] * 3
    bars = [axes.child_axes[0].get_ylabel() for axes in figure.axes]
    assert bars == ["ct", "ct", "sigma"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_figure_shows_itself_without_any_backend(rng):
    formatters = pytest.importorskip("IPython.core.formatters")
    figure = overview(restore(observed((9, 9), rng)))
    shown, _ = formatters.DisplayFormatter().format(figure)
    assert shown["image/png"].startswith(b"\x89PNG")


def test_overview_of_a_cube_shows_sum_and_energies(rng):
    edges = np.geomspace(10, 100, 4) * u.GeV
    result = restore(observed((3, 16, 20), rng, tan(), edges))
    shown = titles(overview(result))
    assert "Counts, 21.5\N{EN DASH}46.4 GeV" in shown
    assert "Restored, 46.4\N{EN DASH}100 GeV" in shown
    (sky,), (seen,) = layers_of(result)
    np.testing.assert_allclose(seen.counts.flat, result.data.full_counts.sum(axis=0))
    np.testing.assert_allclose(sky.flat, result.image.value.sum(axis=0))


def test_overview_of_a_line(rng):
    response = Matrix(np.eye(30))
    figure = overview(restore(BinnedData(rng.poisson(5, 30), {"sky": response})))
    assert titles(figure) == ["Counts and Expected counts", "Restored", "Residual"]


def test_overview_where_data_and_sky_differ_in_shape(rng):
    response = Matrix(rng.random((12, 20)), (4, 5))
    figure = overview(restore(BinnedData(rng.poisson(5, 12), {"sky": response})))
    assert "Restored" in titles(figure)


def test_several_observations_each_have_a_row(rng):
    data = JointData([observed((16, 20), rng, tan(), name=name) for name in ("one", "two")])
    shown = titles(overview(restore(data)))
    assert {"Counts, one", "Counts, two"} <= set(shown)


def test_light_from_beyond_the_data_is_not_shown(rng):
    wide = Grid((10, 20)).extend((0, 3))
    seen = np.arange(260).reshape(10, 26)[:, 3:23].ravel()
    kept = Matrix(np.eye(260)[seen], (10, 26), (10, 20))
    data = BinnedData(rng.poisson(5, (10, 20)), {"sky": kept}, components={"sky": Component(wide)})
    (sky,), _ = layers_of(restore(data))
    assert sky.flat.shape == (10, 20)


def test_truth_stands_beside_the_restored(rng):
    data = observed((16, 20), rng)
    demo = Demo("toy", "A toy.", data, {"sky": np.full((16, 20), 4.0)}, {}, 3)
    assert titles(overview(restore(data, demo=demo)))[:3] == ["Counts", "Restored", "Truth"]


def test_masked_bins_are_not_shown_and_not_summed():
    residual = np.zeros((2, 4, 4))
    residual[0, 0, 0] = residual[:, 1, 1] = np.nan
    seen = observe(np.ones((2, 4, 4)), np.ones((2, 4, 4)), residual)
    assert seen.counts.flat[0, 0] == 1
    assert seen.counts.flat[2, 2] == 2
    assert np.isnan(seen.residual.flat[1, 1])


def test_blocks_join_counts_before_they_are_judged():
    counts, expectation = np.full((8, 12), 2.0), np.ones((8, 12))
    sigma = on_pixels(block_residual(counts, expectation), counts.shape)
    expected = np.sqrt(2 * (128 * np.log(2) - 64))
    np.testing.assert_allclose(sigma[:, :8], expected)
    np.testing.assert_allclose(sigma[:, 8:], expected / np.sqrt(2))


@given(
    arrays(float, (6, 7), elements=st.floats(-1e3, 1e9)),
    st.sampled_from(["flux", "counts", "sigma"]),
)
def test_limits_are_finite_and_ordered(values, kind):
    low, high = limits(values, kind)
    assert np.isfinite([low, high]).all()
    assert low < high
    marks = ticks(values, kind)
    assert marks == sorted(marks)


def test_limits_survive_an_image_without_values():
    low, high = limits(np.full((3, 3), np.nan), "flux")
    assert low < high


def test_one_bright_pixel_does_not_darken_the_rest(rng):
    image = rng.poisson(50, (64, 64)).astype(float)
    image[3, 3] = 1e6
    assert limits(image, "counts")[1] < 200


def test_photographs_begin_at_the_top(rng):
    assert rows_go_up(tan(), [])
    assert rows_go_up(None, ["night/m31.FITS.gz"])
    assert not rows_go_up(None, ["lamp.tif"])
    axes = Figure().add_subplot()
    draw_image(axes, rng.random((4, 4)), upward=False)
    assert axes.images[0].origin == "upper"


@pytest.mark.parametrize(
    ("edges", "label"),
    [
        ([1e4, 5e5] * u.keV, "10\N{EN DASH}500 MeV"),
        ([500, 700] * u.nm, "500\N{EN DASH}700 nm"),
        (None, "plane 1"),
        ([1, 2, 3] * u.keV, "plane 1"),
    ],
)
def test_energies_are_told_in_units_people_use(edges, label):
    assert energy_labels(edges, 1) == (label,)


def test_images_are_laid_on_each_other_only_where_they_show_the_same(rng):
    def layer(wcs, shape=(16, 20)):
        data = observed(shape, rng, wcs)
        return layers_of(restore(data, 1))[1][0].counts

    assert same_field(layer(tan()), layer(tan()))
    assert not same_field(layer(tan()), layer(tan(x=3)))
    assert same_field(layer(None), layer(None, (32, 40)))
    assert not same_field(layer(None), layer(None, (20, 16)))


def test_curves_tell_rises_falls_and_notes():
    trace = [
        {"iteration": 0, "log_likelihood": 0.0, "background": 1.0},
        {"iteration": 1, "log_likelihood": 5.0, "background": 0.9, "acceleration": 2.0},
        {"iteration": 2, "log_likelihood": 4.0, "background": 0.8, "acceleration": 1.0},
    ]
    figure = curves(trace, ["background"])
    gain, factors, note = figure.axes
    assert gain.get_yscale() == "log"
    np.testing.assert_allclose(gain.lines[0].get_xydata(), [[1, 5]])
    np.testing.assert_allclose(gain.lines[1].get_xydata(), [[2, 1]])
    np.testing.assert_allclose(factors.lines[0].get_ydata(), [1, 0.9, 0.8])
    np.testing.assert_allclose(note.lines[0].get_xydata(), [[1, 2], [2, 1]])
    assert note.get_ylabel() == "acceleration"


def test_curves_of_a_run_that_did_not_move():
    figure = curves([{"iteration": 0, "log_likelihood": 1.0}])
    assert len(figure.axes) == 1


def test_overview_of_a_whole_sky_shows_map_and_projections(sky_result):
    pytest.importorskip("healpy")
    figure = overview(sky_result)
    shown = [title for title in titles(figure) if title]
    assert shown[:2] == ["Restored", "Truth"]
    assert "Truth, 200\N{EN DASH}500 keV" in shown
    assert shown[-1] == "Residual over PsiChi"
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert "Time [s]" in labels
    assert "Phi [deg]" in labels


@pytest.mark.parametrize("scale", ["linear", "log", "asinh"])
def test_a_sky_is_drawn_with_grid_marks_and_unit(sky_result, scale):
    pytest.importorskip("healpy")
    figure = sky(sky_result, scale=scale, marks=[(184.6, -5.8, "Crab")], energy=1, title="Now")
    figure.canvas.draw()
    (axes,) = figure.axes
    (bar,) = axes.child_axes
    words = [text.get_text() for text in axes.texts]
    assert {"Crab", "Galactic", "0\N{DEGREE SIGN}", "+30\N{DEGREE SIGN}"} <= set(words)
    assert axes.get_title() == "Now, 200\N{EN DASH}500 keV"
    assert "cm2" in bar.get_xlabel()
    shown = axes.images[0]
    assert shown.norm.vmax == pytest.approx(sky_result.image[:, 1].value.max())
    (ring,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert ring.get_xdata()[0] > 1.8  # l = 184.6 deg is at the right edge


def test_skies_stand_side_by_side_on_axes_that_are_given(sky_result):
    pytest.importorskip("healpy")
    figure = Figure()
    places = figure.subplots(1, 2)
    assert sky(sky_result, energy=0, axes=places[0]) is figure
    assert [len(axes.images) for axes in places] == [1, 0]


def test_a_sky_without_places_or_scale_is_refused(sky_result):
    with pytest.raises(DataError, match="Sphere"):
        sky(np.ones(12))
    with pytest.raises(ConfigError, match="asinh, linear and log"):
        sky(np.arange(12.0), Sphere(1), scale="sqrt")


def test_curves_of_a_result_leave_out_what_was_fixed(sky_result):
    labels = [axes.get_ylabel() for axes in curves(sky_result).axes]
    assert labels == ["gain of log-likelihood\nper iteration", "normalisation"]


def test_clocks_are_counted_from_their_first_edge():
    edges, label = bins_of(DataAxis("Time", np.array([1.8e9, 1.8e9 + 60]) * u.s))
    assert edges.tolist() == [0, 60]
    assert label == "Time since 1800000000 [s]"


@given(st.floats(-179.9, 179.9), st.floats(-90, 90))
def test_the_map_and_its_coordinates_agree(lon, lat):
    x, y = project(np.array(lon), np.array(lat))
    again = unproject(x, y)
    assert again[1] == pytest.approx(lat, abs=1e-5)
    if abs(lat) < 89:
        assert again[0] == pytest.approx(lon, abs=1e-5)
        wcs = map_wcs("galactic", 400)
        place = wcs.world_to_pixel_values(lon, lat)
        assert place == (pytest.approx(200 * x + 199.5), pytest.approx(100 * y + 99.5))


def test_pixels_keep_their_area_on_the_map():
    pytest.importorskip("healpy")
    drawn = layout(np.arange(12), 1)
    _, area = np.unique(drawn[np.isfinite(drawn)], return_counts=True)
    np.testing.assert_allclose(area, area.mean(), rtol=0.01)


def test_values_per_energy_are_shown_per_bin():
    pytest.importorskip("healpy")
    sphere = Sphere(1, [1, 2, 4] * u.MeV)
    layer = sphere_layer("x", np.ones((12, 2)), sphere, "1 / (cm2 s sr keV)")
    assert u.Unit(layer.unit) == u.Unit("cm-2 s-1 sr-1")
    assert np.nanmax(layer.total) == pytest.approx(3000)
    assert np.nanmax(layer.values[1]) == pytest.approx(2000)


def test_an_axis_of_one_bin_is_not_drawn():
    one = Projection(DataAxis("Em", [509, 513] * u.keV), np.array([5.0]), np.array([4.0]))
    two = Projection(DataAxis("Phi", [0, 1, 2] * u.deg), np.array([5.0, 3]), np.array([4.0, 4]))
    labels = [axes.get_xlabel() for axes in projections([one, two]).axes]
    assert labels == ["", "Phi [deg]"]


def test_columns_that_only_rise_a_little_have_panels_of_their_own():
    rise = np.arange(5.0)
    trace = [
        {"iteration": i, "log_likelihood": 4.5e9 + x, "other": 3e9 + x**2, "twice": 9e9 + 2 * x}
        for i, x in enumerate(rise)
    ]
    labels = [axes.get_ylabel() for axes in curves(trace).axes]
    assert "other" in labels
    assert "twice" not in labels
