"""Pictures of what a sampler has drawn, and its section of the report."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import astropy.units as u
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image
from scipy.integrate import quad

import skyfold
from skyfold import report
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError, FileError, MissingExtraError
from skyfold.geometry import Grid
from skyfold.layers import Layer
from skyfold.model import Component, Model
from skyfold.origin import Origin
from skyfold.pixels import Diagonal
from skyfold.report.folder import RunFolder
from skyfold.report.posterior import posterior as report_section
from skyfold.sampling.chains.diagnostics import diagnose, judge
from skyfold.sampling.laws.strengths import HalfCauchy, Lira
from skyfold.sampling.posterior import netcdf
from skyfold.sampling.posterior.chain_drawing import POINTS, colour, extremes, headings, told
from skyfold.sampling.posterior.planes import plane_of
from skyfold.sampling.posterior.posterior import Posterior
from skyfold.sampling.posterior.prior_pictures import decomposition, density, hyper_priors
from skyfold.sampling.posterior.shown import telling
from skyfold.sampling.posterior.trace_pictures import (
    RANKS,
    distributions,
    intervals,
    mixing,
    ranks,
    traces,
    worst_first,
)
from skyfold.shades import BLUE, MASKED, RED
from skyfold.sphere import Sphere
from skyfold.vector import Vector

BURN, THIN, KEPT = 10, 2, 15
EDGES = [100, 200, 500] * u.keV
NAMES = ("log_likelihood", "log_prior", "sky.total", "sky.alpha[0]", "sky.alpha[1]", "background")
FIXED = ("sky.origin[0]", "sky.block[0,0]", "sky.pixel[4,5]")


def drawn(geometry, chains=4, unit="ct", counted=True):
    """Draws of a sky that no sampler has made, but that hang together like those of one."""
    rng, shape = np.random.default_rng(7), geometry.shape
    counts = rng.poisson(3.0, shape)
    place = geometry if counted else None
    data = BinnedData(
        counts,
        {"sky": Diagonal(np.ones(shape))},
        components={"sky": Component(geometry, unit)},
        origin=Origin("data", geometry=place),
    )
    sweeps = rng.gamma(counts + 1.0, size=(chains, THIN * KEPT, *shape))
    values = {name: rng.normal(10, 1, (chains, BURN + THIN * KEPT)) for name in NAMES + FIXED}
    values["sky.origin[0]"][:] = np.arange(chains)[:, None]
    if len(shape) == 2 and isinstance(geometry, Grid):
        values["sky.pixel[4,5]"][:, BURN:] = sweeps[:, :, 4, 5]
    means = sweeps.mean(axis=1)
    return Posterior(
        data=data,
        model=Model(data.components, Vector({"sky": means.mean(axis=0)})),
        columns=tuple(values),
        table=np.stack(list(values.values()), axis=-1),
        origins=np.arange(chains) // 2,
        burn=BURN,
        thin=THIN,
        kept={"sky": sweeps[:, ::THIN].astype(np.float32)},
        means=Vector({"sky": means}),
        spreads=Vector({"sky": sweeps.var(axis=1) * THIN * KEPT}),
        hyper={"sky": Lira()},
    )


@pytest.fixture(scope="module")
def image():
    return drawn(Grid((8, 10)))


@pytest.fixture(scope="module")
def cube():
    return drawn(Grid((2, 6, 6), energy_edges=EDGES))


@pytest.fixture(scope="module")
def sphere():
    sky = Sphere(2, EDGES, nested=True)
    return drawn(sky, chains=2, unit="ph cm-2 s-1 sr-1 keV-1", counted=False)


def titles(figure):
    found = [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]
    return [title for title in found if title]


def shown(figure, title):
    (axes,) = [axes for axes in figure.axes if axes.get_title() == title]
    return np.asarray(axes.images[0].get_array())


def drawn_in(axes, colour):
    return [line for line in axes.lines if to_hex(line.get_color()) == to_hex(colour)]


# --- maps


def test_overview_of_an_image_shows_counts_mean_and_scatter(image):
    figure = image.plot()
    assert titles(figure) == [
        "Counts", "Posterior mean", "Standard deviation",
        "Mean / standard deviation", "Lower end of the 68 % interval",
        "Width of the 68 % interval",
    ]  # fmt: skip
    low, high = image.interval(0.68)
    np.testing.assert_allclose(shown(figure, "Standard deviation"), image.std.value)
    np.testing.assert_allclose(shown(figure, "Width of the 68 % interval"), (high - low).value)
    np.testing.assert_array_equal(shown(figure, "Counts"), image.data.full_counts)


def test_where_no_pixel_is_surely_lit_the_upper_end_is_shown(image):
    faint = image.kept["sky"] * (np.arange(KEPT) % 4 == 0)[:, None, None]
    figure = replace(image, kept={"sky": faint}).plot()
    assert "Upper end of the 68 % interval" in titles(figure)


def test_overview_of_a_sphere_has_no_counts_but_maps(sphere):
    figure = sphere.plot(level=0.9)
    assert titles(figure) == [
        "Posterior mean, all energies", "Standard deviation",
        "Mean / standard deviation", "Width of the 90 % interval",
    ]  # fmt: skip


def test_overview_of_one_energy_shows_its_counts_and_names_it(cube):
    figure = cube.plot(energy=1)
    assert "Posterior mean, 200\N{EN DASH}500 keV" in titles(figure)
    np.testing.assert_array_equal(shown(figure, "Counts"), cube.data.full_counts[1])


def test_a_followed_pixel_of_a_sphere_is_known_by_its_number_and_its_energy(sphere):
    columns = [*sphere.columns[:-1], "sky.pixel[3 energy 1]"]
    own = replace(sphere, columns=tuple(columns))
    found = plane_of(own, energy=1).followed(3)
    np.testing.assert_allclose(found, own.table[:, :, -1] * 300)
    assert plane_of(own, energy=0).followed(3) is None
    assert plane_of(own).followed(3) is None


@pytest.mark.parametrize("energy", [2, -1])
def test_an_energy_that_is_not_there_is_refused(cube, energy):
    with pytest.raises(ConfigError, match=f"no energy {energy}: sky has 2, counted from 0"):
        cube.plot(energy=energy)


def test_before_any_image_was_kept_there_is_nothing_to_show(image):
    with pytest.raises(DataError, match="no draws of sky yet"):
        replace(image, kept={"sky": image.kept["sky"][:, :0]}).plot()


@pytest.mark.parametrize(
    "show",
    [
        lambda own: own.plot(),
        lambda own: own.plot_distributions(),
        lambda own: own.plot_ranks(),
        lambda own: own.plot_mixing(),
        lambda own: own.plot_intervals(["sky.pixel"]),
        lambda own: own.plot_pixel((5, 4)),
        lambda own: own.plot_region("circle(5, 4, 2)"),
        lambda own: own.animate(),
    ],
)
def test_a_run_that_ended_within_its_burn_in_says_so_in_every_picture(image, show):
    early = replace(image, table=image.table[:, :6], kept={"sky": image.kept["sky"][:, :0]})
    with pytest.raises(
        DataError, match="no draws of sky yet: the run was ended within its burn-in"
    ):
        show(early)
    assert "total flux" in titles(early.plot_traces())


@pytest.mark.parametrize("draws", [1, 5])
def test_few_draws_are_shown_but_not_judged(image, draws):
    few = replace(image, table=image.table[:, : BURN + draws])
    with pytest.raises(DataError, match="need at least 8 draws after burn-in"):
        few.plot_mixing()
    for figure in (few.plot_distributions(), few.plot_ranks(), few.plot_intervals(["sky.pixel"])):
        figure.draw_without_rendering()
    figures = diagnose(few.table[:, BURN:], few.origins)
    assert len(telling(few.columns, few.table, figures, most=2)) == 2


def test_scatter_of_a_sum_over_energies_is_that_of_the_sums(cube):
    plane = plane_of(cube)
    sums = cube.kept["sky"].sum(axis=2)
    std, low, _ = plane.scatter(0.68)
    np.testing.assert_allclose(std, sums.std(axis=(0, 1), ddof=1), rtol=1e-5)
    np.testing.assert_allclose(low, np.quantile(sums, 0.16, axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(plane.mean, cube.model["sky"].sum(axis=0))


def test_energies_of_a_sphere_are_weighted_by_their_widths(sphere):
    every, second = plane_of(sphere), plane_of(sphere, energy=1)
    widths = np.diff(EDGES.value)
    np.testing.assert_allclose(every.mean[:, 0], sphere.model["sky"] @ widths)
    np.testing.assert_allclose(second.mean[:, 0], sphere.model["sky"][:, 1] * widths[1])
    std, _, _ = second.scatter(0.68)
    np.testing.assert_allclose(std[:, 0], sphere.deviation("sky")[:, 1] * widths[1])
    assert "keV" not in every.component.unit


# --- pixels and regions


def test_a_followed_pixel_is_shown_with_its_burn_in_and_its_neighbours(image):
    figure = image.plot_pixel((5, 4), radius=1)
    first = next(axes for axes in figure.axes if "neighbours" in axes.get_title(loc="left"))
    pale, solid = drawn_in(first, BLUE)
    followed = image.parameter("sky.pixel[4,5]")[0]
    np.testing.assert_array_equal(pale.get_ydata(), followed[: BURN + 1])
    np.testing.assert_array_equal(solid.get_ydata(), followed[BURN:])
    assert pale.get_alpha() < solid.get_alpha()
    neighbours = {tuple(line.get_ydata()) for line in drawn_in(first, MASKED)}
    kept = image.kept["sky"][0]
    for y, x in ((3, 5), (5, 5), (4, 4), (4, 6)):
        assert tuple(kept[:, y, x].astype(float)) in neighbours


def test_another_pixel_is_shown_from_the_images_kept(image):
    figure = image.plot_pixel((0, 0), radius=2)
    first = next(axes for axes in figure.axes if "neighbours" in axes.get_title(loc="left"))
    line = max(drawn_in(first, BLUE), key=lambda line: line.get_xdata().size)
    np.testing.assert_array_equal(line.get_xdata(), image.kept_sweeps)
    np.testing.assert_array_equal(line.get_ydata(), image.kept["sky"][0, :, 0, 0])


def test_a_pixel_beside_the_image_is_refused(image):
    with pytest.raises(ConfigError, match=r"x 10, y 0 is not on the image: it has 10 x 8 pixels"):
        image.plot_pixel((10, 0), radius=3)


def test_coordinates_that_are_none_are_refused(image):
    with pytest.raises(ConfigError, match=r"center 5: give both coordinates"):
        image.plot_pixel(5, 4)
    with pytest.raises(ConfigError, match=r"\(5, 4\) is no region: give circle"):
        image.plot_region((5, 4), 2)


def test_on_a_sphere_the_nearest_pixel_is_followed(sphere):
    lon, lat = sphere.model.components["sky"].geometry.directions()
    figure = sphere.plot_pixel((lon[5] + 1, lat[5]), radius=40, energy=0)
    first = next(axes for axes in figure.axes if "neighbours" in axes.get_title(loc="left"))
    line = max(drawn_in(first, BLUE), key=lambda line: line.get_xdata().size)
    np.testing.assert_allclose(line.get_ydata(), sphere.kept["sky"][0, :, 5, 0] * 100, rtol=1e-6)


def test_region_traces_are_fluxes_of_the_region(image):
    figure = image.plot_region("corner = circle(0, 0, 1.2)")
    above = next(axes for axes in figure.axes if axes.get_legend())
    assert above.get_legend().get_title().get_text() == "flux of corner"
    names = [text.get_text() for text in above.get_legend().get_texts()]
    assert names == [f"chain {i + 1}, origin {i // 2 + 1}" for i in range(4)]
    line = max(drawn_in(above, colour(3)), key=lambda line: line.get_xdata().size)
    kept = image.kept["sky"][3]
    corner = kept[:, 0, 0] + kept[:, 0, 1] + kept[:, 1, 0]
    np.testing.assert_allclose(line.get_ydata(), corner, rtol=1e-5)


# --- parameters


def test_mean_and_band_of_traces_leave_the_burn_in_out():
    table = np.random.default_rng(1).normal(5, 2, (2, 60, 1))
    table[:, :20] += 1000
    (axes,) = traces(table, ["sky.total"], burn=20).axes
    mean, bounds = (lines.get_segments() for lines in axes.collections[-2:])
    assert mean[0][0] == pytest.approx([20, table[:, 20:].mean()])
    levels = [segment[0][1] for segment in bounds]
    assert np.diff(levels) == pytest.approx(2 * table[:, 20:].std())


def test_named_parameters_are_shown_alone_and_unknown_ones_refused(image):
    assert titles(image.plot_traces(["sky.alpha"])) == ["alpha 0", "alpha 1"]
    with pytest.raises(ConfigError, match=r"no parameter 'alpha'; there are log_likelihood"):
        image.plot_traces(["alpha"])


def test_blocks_pixels_and_what_never_moves_are_not_shown_unless_named(image):
    figures = diagnose(image.table[:, BURN:], image.origins)
    found = telling(image.columns, image.table, figures)
    assert found == ["log_likelihood", "sky.total", "sky.alpha[0]", "sky.alpha[1]", "background"]
    few = telling(image.columns, image.table, figures, most=2)
    worst = [image.columns[i] for i in worst_first(figures)]
    assert set(few) == set([name for name in worst if name in found][:2])


def test_strengths_are_shown_beside_what_was_known_of_them(image):
    figure = image.plot_distributions(["sky.alpha", "sky.total"])
    dashed = [[line for line in axes.lines if line.get_linestyle() == "--"] for axes in figure.axes]
    assert [len(lines) for lines in dashed] == [1, 1, 0]
    x, y = dashed[0][0].get_data()
    np.testing.assert_allclose(y, density(Lira())(x))


def test_distributions_tell_mean_and_interval():
    table = np.linspace(0, 1, 202).reshape(2, 101, 1)
    (axes,) = distributions(table, ["background"]).axes
    assert axes.get_xlabel() == "0.50 (0.16 to 0.84)"


def test_a_parameter_that_never_moves_can_be_drawn():
    figure = distributions(np.ones((2, 30, 1)), ["background"])
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlim() == (0.5, 1.5)


@pytest.mark.parametrize("origins", [1, 3])
def test_ranks_of_all_chains_of_an_origin_are_even(origins):
    table = np.random.default_rng(origins).normal(size=(2 * origins, 40, 1))
    groups = np.arange(2 * origins) // 2
    (axes,) = ranks(table, ["background"], origins=groups).axes
    steps = [patch.get_data().values for patch in axes.patches]
    for group in range(origins):
        together = np.mean(steps[2 * group : 2 * group + 2], axis=0)
        np.testing.assert_allclose(together, 1, atol=1e-9)
    assert all(len(values) == RANKS for values in steps)


def test_what_does_not_mix_is_on_top_and_red():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(4, 400, 3))
    table[:, :, 1] += np.arange(4)[:, None]
    names = ["background", "sky.total", "sky.alpha[0]"]
    figures = diagnose(table, np.zeros(4))
    assert worst_first(figures)[0] == 1
    left, right = mixing(figures, names).axes
    assert next(label.get_text() for label in left.get_yticklabels()) == "total flux"
    reds = [to_hex(c) == RED for c in left.collections[0].get_facecolors()]
    assert reds == [True, False, False]
    assert right.get_ylim() == left.get_ylim()


def test_one_chain_is_told_that_r_hat_needs_two():
    figures = diagnose(np.random.default_rng(3).normal(size=(1, 400, 1)), np.zeros(1))
    left, _ = mixing(figures, ["background"]).axes
    assert "needs at least" in left.texts[0].get_text()


def test_intervals_are_quantiles_of_the_draws_that_count():
    table = np.random.default_rng(3).normal(size=(2, 300, 2))
    table[:, :100] = 50
    (axes,) = intervals(table, ["sky.block[0,0]", "sky.block[0,1]"], burn=100).axes
    thick = axes.collections[0].get_segments()[1]
    low, high = np.quantile(table[:, 100:, 1], (0.16, 0.84))
    np.testing.assert_allclose(thick, [[low, 1], [high, 1]])


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3 * POINTS))
def test_a_thinned_line_keeps_its_extremes_and_its_ends(values):
    y = np.array(values)
    at, kept = extremes(np.arange(len(y)), y)
    assert (kept.min(), kept.max()) == (y.min(), y.max())
    assert (at[0], at[-1]) == (0, len(y) - 1)
    np.testing.assert_array_equal(kept, y[at])
    assert np.all(np.diff(at) > 0)
    assert len(at) <= max(2 * POINTS, POINTS + 2)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1043.21, 998.7, 1080.2), "1043 (999 to 1080)"),
        ((0.05123, 0.0151, 0.0871), "0.051 (0.015 to 0.087)"),
        ((-1.04, -1.1, -1.0), "\N{MINUS SIGN}1.04 (\N{MINUS SIGN}1.10 to \N{MINUS SIGN}1.00)"),
        ((6.2, 1e-168, 1e-12), "6.2 (0.0 to 0.0)"),
        ((3e-9, 2e-9, 4e-9), "3e-09 (2e-09 to 4e-09)".replace("-", "\N{MINUS SIGN}")),
        ((0.0, 0.0, 0.0), "0 (0 to 0)"),
    ],
)
def test_a_mean_has_the_digits_that_its_interval_justifies(values, text):
    assert told(*values) == text


def test_the_sky_is_named_only_where_there_are_several():
    assert headings(["sky.alpha[0]", "background"]) == ["alpha 0", "background"]
    assert headings(["sky.total[1]", "sky.alpha[1,0]"]) == [
        "total flux, energy 1",
        "alpha 0, energy 1",
    ]
    assert headings(["sky.total", "dust.total"]) == ["total flux of sky", "total flux of dust"]


# --- the prior


@pytest.mark.parametrize("prior", [Lira(), Lira(1, 0.02, 1), Lira(-0.5, 2, 1.5), HalfCauchy(0.3)])
def test_hyper_priors_are_densities(prior):
    of = density(prior)
    total = quad(of, 0, 1, limit=200)[0] + quad(lambda t: of(1 / t) / t**2, 0, 1, limit=200)[0]
    assert total == pytest.approx(1, abs=1e-4)


def test_mean_strength_of_liras_default():
    of = density(Lira())
    assert quad(lambda a: a * of(a), 0, 1)[0] == pytest.approx(0.0505, abs=1e-4)


def test_hyper_prior_curves_are_probabilities_per_factor():
    (axes,) = hyper_priors(HalfCauchy(2.0)).axes
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(y, x * 2 / (np.pi * 2 * (1 + (x / 2) ** 2)), rtol=1e-12)
    assert axes.get_legend().get_texts()[0].get_text() == "half-Cauchy of scale 2"


@settings(deadline=None, max_examples=6)
@given(st.integers(2, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_shares_of_a_block_make_up_the_whole(ny, nx, seed):
    values = np.random.default_rng(seed).gamma(1.0, size=(ny, nx))
    figure = decomposition(values)
    splits = (max(ny, nx) - 1).bit_length()
    top = np.asarray(figure.axes[2 * splits - 1].images[0].get_array())
    size = 2 ** (splits - 1)
    pixels = np.add.reduceat(np.ones((ny, nx)), range(0, ny, size), axis=0)
    pixels = np.add.reduceat(pixels, range(0, nx, size), axis=1)
    assert np.sum(top * pixels) == pytest.approx(ny * nx)
    assert len(titles(figure)) == splits


def test_sums_of_each_level_are_those_of_the_image():
    values = np.arange(16.0).reshape(4, 4)
    figure = decomposition(values * u.Unit("ct"))
    first, second = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[:2])
    np.testing.assert_array_equal(first, values)
    np.testing.assert_array_equal(second, [[10, 18], [42, 50]])
    assert titles(figure) == ["level 0: pixels", "level 1: 2 × 2 pixels"]


def test_levels_of_a_sphere_are_resolutions(sphere):
    assert titles(sphere.plot_scales()) == ["level 0: nside 2", "level 1: nside 1"]


@pytest.mark.parametrize("values", [np.zeros((4, 4)), -np.ones((4, 4)), np.ones((1, 1))])
def test_what_has_no_shares_is_refused(values):
    with pytest.raises(ConfigError):
        decomposition(values)


# --- films


def test_a_film_shows_the_images_of_a_chain_evenly(image, tmp_path):
    film = image.animate(chain=1, frames=3)
    film.save(tmp_path / "film.gif", writer="pillow")
    with Image.open(tmp_path / "film.gif") as saved:
        assert saved.n_frames == 3
    (axes,) = film._fig.axes
    assert axes.get_title() == f"chain 2, sweep {image.kept_sweeps[-1]}"
    np.testing.assert_array_equal(shown(film._fig, axes.get_title()), image.kept["sky"][1, -1])


def test_a_cumulative_film_ends_in_the_mean(sphere, tmp_path):
    film = sphere.animate(cumulative=True, frames=2, energy=1)
    film.save(tmp_path / "film.gif", writer="pillow")
    (axes,) = film._fig.axes
    assert axes.get_title().startswith(f"chain 1, mean of {KEPT} images, 200")
    highest = 300 * sphere.kept["sky"][0, :, :, 1].mean(axis=0).max()
    assert np.nanmax(shown(film._fig, axes.get_title())) == pytest.approx(highest, rel=1e-5)


def test_a_chain_that_is_not_there_is_refused(image):
    with pytest.raises(ConfigError, match="no chain 4: there are 4, counted from 0"):
        image.animate(chain=4)


def test_sliders_show_the_image_they_are_set_to(image):
    pytest.importorskip("ipywidgets")
    sliders = image.explore()
    chain, number, mean = sliders.children[:3]
    assert (chain.max, number.max, mean.value) == (4, KEPT, False)
    figure = sliders.f(chain=2, image=3, mean=False)
    np.testing.assert_array_equal(
        shown(figure, figure.axes[0].get_title()), image.kept["sky"][1, 2]
    )


def test_without_ipywidgets_it_says_how_to_get_them(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(MissingExtraError, match="ipywidgets, which is not installed"):
        image.explore()


def test_spikes_of_a_density_are_left_out_but_not_another_solution(rng):
    table = rng.normal(size=(2, 400, 1))
    table[0, ::37] += 1e7
    (spiky,) = traces(table, ["log_posterior"]).axes
    assert spiky.get_ylim()[1] < 10
    table[1, 100:120] = 1e3
    (two,) = traces(np.minimum(table, 1e3), ["sky.total"]).axes
    assert two.get_ylim()[1] > 1e3


# --- the report


def folder(posterior, path):
    """A run folder as far as the section needs it."""
    netcdf.write(posterior, path / netcdf.FILE)
    figures = diagnose(posterior.table[:, BURN:], posterior.origins)
    sweeps = posterior.table.shape[1]
    found = judge(posterior.columns, figures, posterior.origins, BURN, sweeps)
    return RunFolder(path, {"results": {"posterior": found}}, [])


def test_the_report_tells_how_was_drawn_and_what_misses(image, tmp_path):
    section = report_section(folder(image, tmp_path))
    assert "4 chains of 2 origins of the tree, 30 draws each after 10 of burn-in." in section
    assert "speaks against these draws stands at the top" in section
    assert section.count('<span class="level warning">') >= len(NAMES)
    assert section.count("<img") == 3  # traces, pixels, blocks
    assert "strength of the splits at level 1 (alpha 1)" in section
    assert "4 x 4 equal parts of the image" in section
    assert "sphere" not in section
    assert len(section) < 400_000


def test_parameters_that_find_no_place_are_named(image, tmp_path, monkeypatch):
    monkeypatch.setattr(report.posterior, "PARAMETERS", 4)
    section = report_section(folder(image, tmp_path))
    shown = telling(image.columns, image.table, diagnose(image.table[:, BURN:], image.origins), 4)
    (left,) = {name for name in NAMES if name != "log_prior"} - set(shown)
    assert f"Not shown, as they mix better: {headings([left])[0]}." in section


def test_of_several_skies_it_says_why_there_are_no_maps(image, tmp_path):
    skies = [Layer(f"Posterior mean: {name}", "flux", np.ones((4, 4))) for name in ("a", "b")]
    section = report_section(replace(folder(image, tmp_path), skies=skies))
    assert "drawn here of one sky only" in section


def test_chains_that_agree_are_said_to_agree(image, tmp_path):
    rng = np.random.default_rng(11)
    table, columns = rng.normal(size=(4, 1500, 2)), ("sky.total", "background")
    section = report_section(folder(replace(image, table=table, columns=columns), tmp_path))
    assert "The chains agree: R-hat is at most 1.00" in section
    assert "level warning" not in section


def test_a_run_that_drew_nothing_has_no_section(tmp_path):
    assert report_section(RunFolder(tmp_path, {"results": {}}, [])) == ""


def test_a_damaged_file_of_draws_is_named(image, tmp_path):
    run = folder(image, tmp_path)
    with h5py.File(tmp_path / netcdf.FILE, "a") as file:
        del file[netcdf.SWEEPS]
    with pytest.raises(FileError, match=r"posterior\.nc is damaged"):
        report_section(run)


def test_the_sweeps_in_the_file_are_all_sweeps(image, tmp_path):
    folder(image, tmp_path)
    with h5py.File(tmp_path / netcdf.FILE) as file:
        sweeps = file[netcdf.SWEEPS]
        np.testing.assert_array_equal(sweeps["values"][()], image.table)
        assert tuple(sweeps["parameter"].asstr()[()]) == image.columns


def test_the_report_of_a_run_shows_how_well_each_pixel_is_known(sky_demo, tmp_path):
    run = tmp_path / "run"
    options = {"draws": 12, "burn": 3, "chains": 2, "output": run, "progress": False}
    result = skyfold.run(sky_demo.data, "lira", **options)
    page = (run / "report.html").read_text("utf-8")
    for title in ("Standard deviation", "Lower end of the interval", "Mean / standard deviation"):
        assert f"<figcaption>{title} <span>" in page
    fluxes = ("Posterior mean", "Lower end of the interval", "Upper end of the interval")
    section = page[page.index("<h2>Posterior</h2>") :]
    spans = [section.split(f"<figcaption>{title} <span>")[1].split("<")[0] for title in fluxes]
    assert len(set(spans)) == 1
    assert "the base pixels of the sphere" in section
    assert "4 x 4" not in section
    assert "Restored" not in page
    assert "products with the response" in page
    for wrong in ("compare runs of different length", "the run was too short", "follows part of"):
        assert wrong not in page
    assert page.count("more): skyfold resume run --iterations") == 1
    assert "Shown is the brightest energy, 100\N{EN DASH}200 keV." in page
    assert "2 chains, 12 draws each after 3 of burn-in." in page
    notes = json.loads((run / "manifest.json").read_text("utf-8"))
    mean = notes["results"]["normalisations"]["background"]
    error = notes["results"]["normalisation_errors"]["background"]
    assert error == pytest.approx(result.posterior.parameter("background")[:, 3:].std())
    assert f"<td>{mean:.5g} \N{PLUS-MINUS SIGN} {error:.2g}</td>" in page
    assert "<h2>The way there</h2>" not in page


def test_other_runs_have_no_such_section(sky_demo, tmp_path):
    run = tmp_path / "run"
    skyfold.run(sky_demo.data, "rl", iterations=2, output=run, progress=False)
    page = (run / "report.html").read_text("utf-8")
    assert "<h2>Posterior</h2>" not in page
    assert "<h2>The way there</h2>" in page
