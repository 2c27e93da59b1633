"""What was measured of point sources: fluxes with errors, flags, places, and their files."""

from __future__ import annotations

import logging
from dataclasses import replace

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import skyfold
from skyfold import photometry, source_tables, star_errors, star_products
from skyfold.ascent import gradient
from skyfold.binned import BinnedData
from skyfold.compare import as_table, compare
from skyfold.config_help import explain, schema, template
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid, shifted
from skyfold.joint import JointData
from skyfold.model import Component
from skyfold.mosaic import together
from skyfold.origin import Origin
from skyfold.points import with_points
from skyfold.products import write_hdf5
from skyfold.report import write as write_report
from skyfold.report.stars import _listed, light_curves
from skyfold.runfolder import reopen
from skyfold.simulate import Demo
from skyfold.source_files import read_sources
from skyfold.sources import Sources
from skyfold.uncertainty import scatter
from skyfold.vector import Vector
from skyfold_responses import Psf

SIGMA = 1.5
KERNEL = np.outer(*[np.exp(-0.5 * (np.arange(-7, 8) / SIGMA) ** 2)] * 2)
KERNEL /= KERNEL.sum()
PLACES = np.array([[8.0, 9.0], [20.3, 22.6], [22.2, 22.9], [30.5, 12.0], [10.0, 25.0]])
FLUX = np.array([3000.0, 2000.0, 1500.0, 900.0, 0.0])
METHOD = {"method": "two-channel", "smooth": "6 pix", "strength": 0.1, "progress": False}
SHAPE = (32, 32)


def expected(places=PLACES, flux=FLUX, level=20.0):
    y, x = np.indices(SHAPE)
    mean = np.full(SHAPE, level)
    for (x0, y0), light in zip(places, flux, strict=True):
        star = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * SIGMA**2))
        mean += light * star / (2 * np.pi * SIGMA**2)
    return mean


def data(seed=1, **more):
    psf = Psf(KERNEL, SHAPE)
    counts = np.random.default_rng(seed).poisson(expected(**more))
    sky = Component(Grid(psf.model_shape, field=psf.field), "ct")
    return BinnedData(counts, {"sky": psf}, components={"sky": sky})


def sources(places=PLACES, **more):
    names = tuple("abcdefghi"[: len(places)])
    return Sources(names, np.asarray(places, float), **more)


def run(seed=1, stars=None, **more):
    return skyfold.run(data(seed), stars=sources() if stars is None else stars, **METHOD | more)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    stars = sources(origin=1, flux=np.array([2500, 2500, 1500, 1000, np.nan]), magzero=21.0)
    folder = tmp_path_factory.mktemp("run") / "out"
    return run(stars=stars, output=folder), folder


def alone():
    """Return the errors of stars whose background and neighbours are known."""
    mean = expected()
    errors = []
    for place in PLACES:
        star = expected([place], [1.0], 0.0)
        errors.append(np.sum(star**2 / mean) ** -0.5)
    return np.array(errors)


def test_fluxes_have_errors_somewhat_above_those_of_a_lone_star(result):
    stars = result[0].stars
    assert list(stars["name"]) == list("abcde")
    pull = (stars["flux"] - FLUX) / stars["flux_error"]
    assert np.max(np.abs(pull)) < 3.5
    least = alone()
    over = stars["flux_error"] / least
    assert np.all(over[[0, 3]] > 1.1)
    assert np.all(over[[0, 3]] < 1.6)
    assert np.all(over[[1, 2]] > 1.3)
    assert np.all(stars["flux_error_posterior"] >= stars["flux_error"])


def test_the_table_tells_what_to_beware_of_and_where_it_is_from(result):
    stars = result[0].stars
    flags = dict(zip(stars["name"], stars["flags"], strict=True))
    assert "edge" in flags["d"].split()
    assert "blended" in flags["b"].split()
    assert "blended" in flags["c"].split()
    assert flags["a"] == ""
    assert {"faint", "zero"} & set(flags["e"].split())
    assert stars["neighbour"][1] == "c"
    assert stars["correlation"][1] < photometry.BLENDED
    np.testing.assert_array_equal(stars["first_flux"][:2], [2500, 2500])
    np.testing.assert_allclose(stars["mag"][0], 21 - 2.5 * np.log10(stars["flux"][0]))
    assert stars.meta["listed_from"] == 1
    assert stars.meta["method"] == "two-channel"
    assert "errors" not in stars.meta
    assert np.all(np.abs(stars["residual"]) < 5)


def test_stars_are_no_normalisations(result):
    found = result[0]
    assert found.normalisations == {}
    assert not [name for row in found.trace for name in row if name.startswith("stars")]
    assert found.manifest["results"]["normalisations"] == {}


def test_a_star_that_vanished_keeps_the_error_of_a_lone_one():
    stars = run(seed=100).stars
    assert stars["flux"][4] < 0.05
    assert stars["flux_error"][4] > 0.9 * alone()[4]


def test_the_scatter_does_not_move_along_the_flux_that_is_kept(result):
    found = result[0]
    assert found.problem is not None
    algorithm = found.problem.algorithm
    assert algorithm.keeps_flux
    slope = gradient(found.state, found.data, algorithm.priors, keep_flux=True)
    assert abs(slope.dot(found.model)) < 1e-9 * found.data.counts.sum()
    bright = [Vector({"stars": np.eye(5)[0]})]
    free, kept = (
        scatter(found.state, found.data, algorithm.priors, bright, keep_flux=keep).remaining[0]
        for keep in (False, True)
    )
    assert abs(kept) < 0.3 * abs(free)
    assert found.manifest["results"].get("balance", 1.0) == 1.0


def test_errors_are_left_out_where_they_mean_nothing(caplog):
    early = run(iterations=3)
    with caplog.at_level(logging.WARNING):
        stars = early.stars
    assert np.all(np.isnan(stars["flux_error"]))
    assert "ended before its maximum" in stars.meta["errors"]
    assert len([r for r in caplog.records if "no errors" in r.message]) == 1
    assert star_products.told(stars)[-1].startswith("no errors: ")
    unasked = photometry.photometry(early, errors=False)
    assert unasked.meta["errors"] == "not asked for"


def test_many_stars_are_not_worked_on_unasked(result, monkeypatch):
    monkeypatch.setattr(star_errors, "WORK", 10)
    assert "--stars.errors true" in photometry.photometry(result[0]).meta["errors"]
    assert "errors" not in photometry.photometry(result[0], errors=True).meta


def test_whoever_does_not_want_to_wait_gets_the_rest(result, monkeypatch):
    def interrupted(things, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(star_errors, "watched", interrupted)
    stars = photometry.photometry(result[0])
    assert stars.meta["errors"].startswith("interrupted")
    np.testing.assert_array_equal(stars["flux"], result[0].stars["flux"])


def test_without_stars_there_is_no_photometry(tmp_path):
    found = skyfold.run(data(), "rl", 2, progress=False, output=tmp_path / "out")
    with pytest.raises(ConfigError, match="no point sources"):
        photometry.photometry(found)
    assert not list((tmp_path / "out").glob("stars*"))
    assert "TOTAL" not in [hdu.name for hdu in found.to_fits()]


def test_a_star_left_out_of_the_list_is_noticed():
    found = run(stars=sources(PLACES[1:], origin=1))
    ((x, y, sigma),) = photometry.figures(found)["unlisted"]
    np.testing.assert_allclose([x, y], PLACES[0] + 1, atol=0.5)
    assert sigma > photometry.PEAK
    assert any("left in the background (x 9, y 10)" in doubt for doubt in found.doubts)
    assert photometry.figures(run())["unlisted"] == []


def test_a_wrong_place_shows_in_the_residual():
    moved = PLACES.copy()
    moved[0] += 0.8, 0.0
    found = run(stars=sources(moved))
    told = photometry.figures(found)
    assert [name for name, _ in told["off"]] == ["a"]
    assert any("Beside 1 of 5 stars a pixel is far off (a," in doubt for doubt in found.doubts)


def test_blends_are_doubted_once(result):
    (doubt,) = [d for d in result[0].doubts if "cannot be told apart" in d]
    assert "(b and c)" in doubt


def test_total_is_sky_and_stars(result):
    found, folder = result
    light = found.total.value - found.image.value
    assert light.sum() == pytest.approx(found.model["stars"].sum())
    assert light[9, 8] == pytest.approx(found.stars["flux"][0])
    x, y = (
        float((light[20:26, 18:25] * axis).sum()) for axis in np.indices(SHAPE)[::-1, 20:26, 18:25]
    )
    both = found.stars["flux"][[1, 2]]
    np.testing.assert_allclose([x, y], both @ PLACES[1:3], rtol=1e-9)
    with fits.open(folder / "result.fits") as hdus:
        np.testing.assert_array_equal(hdus["TOTAL"].data, found.total.value)
        np.testing.assert_array_equal(hdus[0].data, found.image.value)
        assert u.Unit(hdus["STARS"].columns["flux"].unit) == u.ct
        assert list(hdus["STARS"].data["neighbour"][1:3]) == ["c", "b"]


@pytest.mark.parametrize("file", ["stars.ecsv", "result.fits[STARS]", "stars.reg"])
def test_what_is_written_is_a_list_of_stars(result, file):
    if file.endswith("reg"):
        pytest.importorskip("regions")
    listed = read_sources(f"{result[1]}/{file}")
    assert listed.names == tuple("abcde")
    np.testing.assert_allclose(listed.places, PLACES, atol=1e-6)
    if not file.endswith("reg"):
        np.testing.assert_array_equal(listed.flux, result[0].stars["flux"])


def test_a_run_folder_gives_the_same_table(result):
    folder = result[1]
    again, stored = reopen(folder, data()), Table.read(folder / "stars.ecsv")
    np.testing.assert_array_equal(again.stars["flux"], result[0].stars["flux"])
    np.testing.assert_allclose(again.stars["flux_error"], stored["flux_error"], rtol=1e-6)


def test_stars_that_the_data_had_are_asked_for_again(tmp_path):
    frames = JointData([data(1), data(2)])
    each = with_points(frames, sources(), each=True)
    first = skyfold.run(each, "rl", 2, output=tmp_path, progress=False)
    for other in (frames, with_points(frames, sources())):
        with pytest.raises(DataError, match=r"begun with the components sky, stars 1, stars 2"):
            skyfold.resume(tmp_path, 3, data=other, progress=False)
    again = reopen(tmp_path, each)
    np.testing.assert_array_equal(again.model["stars 2"], first.model["stars 2"])


def test_hdf5_tells_the_names_of_stars(result, tmp_path):
    write_hdf5(result[0], tmp_path / "result.h5")
    with h5py.File(tmp_path / "result.h5") as file:
        assert list(file["NAMES/stars"].asstr()) == list("abcde")
        assert list(file["NAMES"]) == ["stars"]


def test_the_terminal_shows_the_brightest(result, monkeypatch):
    monkeypatch.setattr(star_products, "SHOWN", 2)
    heading, titles, *rows, rest = star_products.told(result[0].stars)
    assert heading == "5, the brightest, x and y counted from 1; fluxes in ct"
    assert titles.split() == ["name", "x", "y", "flux", "+-", "mag"]
    assert [row.split()[0] for row in rows] == ["a", "b"]
    assert rows[0].split()[1:3] == ["9.000", "10.000"]
    assert rest == "and 3 more in stars.ecsv"


def test_the_report_has_a_section(result):
    text = write_report(result[1]).read_text()
    section = text[text.index("<h2>Stars</h2>") :]
    section = section[: section.index("</section>")]
    assert section.count("<figure>") == 4  # total, background, stars alone, residual
    assert section.count('<b class="mark') == 4 * 5
    assert 'left:26.56%;top:29.69%"><span>a</span>' in section  # (8.5, 9.5) of 32 pixels
    assert "blended with c (" in section
    assert "fluxes against their first estimates" in section
    assert "x, y from 1" in section


def test_a_picture_shows_sky_and_stars(result):
    titles = [axes.get_title() for axes in result[0].plot().axes]
    assert titles[:3] == ["Counts", "With stars", "Restored"]


def test_of_a_demo_the_truth_stands_beside(result):
    truth = {"sky": np.full(result[0].model["sky"].shape, 20.0), "stars": FLUX}
    demo = Demo("made", "made", data(), truth, {}, 1)
    stars = replace(result[0], demo=demo).stars
    np.testing.assert_array_equal(stars["truth"], FLUX)
    pull = (stars["flux"][0] - FLUX[0]) / stars["flux_error"][0]
    assert f"<td>3000</td><td>{pull:+.1f}</td>" in _listed(stars, [0])


def test_light_curves():
    frames = [data(seed, flux=FLUX * (k, 1, 1, 1, 1)) for seed, k in ((1, 1.0), (2, 0.6))]
    each = with_points(JointData(frames), sources(), each=True)
    found = skyfold.run(each, **METHOD)
    stars = found.stars
    assert list(dict.fromkeys(stars["component"])) == ["stars 1", "stars 2"]
    rows = star_products.by_name(stars)
    flux, error = source_tables.summed(stars)
    chi = {n: star_products.constancy(flux[own], error[own])[2] for n, own in rows.items()}
    assert chi["a"] > 50
    assert max(chi[name] for name in "bcde") < 12
    told = photometry.figures(found)
    assert told["number"] == 5
    both = [found.model[f"stars {i}"].sum() for i in (1, 2)]
    assert told["flux"] == pytest.approx(np.mean(both))
    assert (found.total - found.image).value.sum() == pytest.approx(np.mean(both))
    line = star_products.told(stars)[2]
    assert f"chi2 {chi['a']:.1f} of 1" in line
    panels = light_curves(stars).axes
    assert len(panels) == 5
    assert panels[0].get_title("left").startswith("a, ")


def test_of_a_star_that_one_observation_does_not_see_only_the_others_tell():
    x, y = np.indices(SHAPE)[::-1] - PLACES[0].reshape(2, 1, 1)
    blind = data(2)
    weight = (np.hypot(x, y) > 11).astype(float)
    blind = BinnedData(blind.full_counts, blind.whole, weight, components=blind.components)
    each = with_points(JointData([data(1), blind]), sources(PLACES[[0, 3]]), each=True)
    found = skyfold.run(each, **METHOD)
    stars = found.stars
    assert [str(flags) for flags in stars["flags"]][:3:2] == ["", "unseen"]
    values = np.array([list(stars[c]) for c in ("flux", "flux_error", "flux_error_posterior")])
    assert np.array_equal(np.isnan(values[0]), [False, False, True, False])
    assert np.array_equal(np.isnan(values[1]), np.isnan(values[0]))
    assert np.array_equal(np.isnan(values[2]), np.isnan(values[0]))
    assert found.model["stars 2"][0] == 0
    mean = stars["flux"][0] + np.mean(stars["flux"][[1, 3]])
    assert photometry.figures(found)["flux"] == pytest.approx(mean)
    assert (found.total - found.image).value.sum() == pytest.approx(mean)
    bright, other = star_products.told(stars)[2:]
    assert bright.startswith("a ")
    assert "chi2" not in bright
    assert "chi2" in other
    assert len(light_curves(stars).axes) == 2
    assert "<td>unseen</td>" in _listed(stars, [2])


def shifted_frames(moves, places=PLACES[:2]):
    """Return images in which the stars of the first lie that much further."""
    first, frames = coordinates(), []
    for seed, move in enumerate(moves):
        seen, x, y = data(seed, places=places + move, flux=FLUX[:2]), *move
        grid = Grid(SHAPE, shifted(first, x, y))
        margin = seen.whole["sky"].field[-1].start
        sky = Grid(
            seen.whole["sky"].model_shape,
            shifted(grid.wcs, -margin, -margin),
            field=seen.whole["sky"].field,
        )
        frames.append(
            BinnedData(
                seen.full_counts,
                seen.whole,
                components={"sky": Component(sky, "ct")},
                origin=Origin(f"{x}, {y}", geometry=grid),
            )
        )
    return together(frames)


def coordinates():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (40, 10), (10, 12), (-1 / 3600, 1 / 3600)
    wcs.wcs.set()
    return wcs


def test_places_in_shifted_frames_are_those_of_the_first():
    frames = shifted_frames([(0, 0), (-7.3, 4.6)])
    found = skyfold.run(with_points(frames, sources(PLACES[:2]), each=True), **METHOD)
    stars = found.stars
    np.testing.assert_allclose(stars["x"], np.tile(PLACES[:2, 0], 2))
    where = coordinates().pixel_to_world(*PLACES[:2].T)
    np.testing.assert_allclose(stars["ra"], np.tile(where.ra.deg, 2))
    np.testing.assert_allclose(stars["dec"], np.tile(where.dec.deg, 2))
    assert [str(flags) for flags in stars["flags"]] == ["", "", "edge", ""]
    assert np.all(np.abs(stars["residual"]) < 5)
    light = (found.total - found.image).value
    columns = np.indices(light.shape)[1]
    assert (light * columns).sum() / light.sum() == pytest.approx(
        np.average(np.tile(PLACES[:2, 0], 2), weights=stars["flux"])
    )
    assert photometry.figures(found)["unlisted"] == []


def test_places_fitted_in_several_frames_move_the_table_and_the_total(tmp_path):
    listed = PLACES[:2] + np.array([0.3, -0.2])
    file = tmp_path / "a.stars"
    file.write_text("".join(f"{x} {y} {m}\n" for m, (x, y) in enumerate(listed + 1)))
    frames = shifted_frames([(0, 0), (2.4, -1.7)])
    found = skyfold.run(frames, stars={"list": str(file), "free": True}, **METHOD)
    stars = found.stars
    moved = np.stack([stars["x"], stars["y"]], axis=1)
    error = np.stack([stars["dx_error"], stars["dy_error"]], axis=1)
    assert np.all(np.abs(moved - PLACES[:2]) < 4 * error)
    assert np.all(np.abs(stars["residual"]) < 5)
    light = (found.total - found.image).value
    for place, axis in zip(moved.T, np.indices(light.shape)[::-1], strict=True):
        assert (light * axis).sum() / light.sum() == pytest.approx(
            np.average(place, weights=stars["flux"])
        )


def test_twice_as_many_frames_do_not_make_a_peak_of_the_first_one_surer():
    one, two = (
        skyfold.run(
            with_points(JointData([data(1)] * number), sources(PLACES[1:])),
            **METHOD,
        )
        for number in (1, 2)
    )
    (alone,), (both,) = (photometry.figures(found)["unlisted"] for found in (one, two))
    assert both[2] == pytest.approx(alone[2], rel=0.15)


def test_errors_of_sums_over_energies_heed_their_covariance(monkeypatch):
    psf = Psf(KERNEL, (2, *SHAPE))
    counts = np.random.default_rng(1).poisson([expected(), expected()])
    sky = Component(Grid(psf.model_shape, field=psf.field), "ct")
    cube = BinnedData(counts, {"sky": psf}, components={"sky": sky})
    found = skyfold.run(cube, "rl", 3, stars=sources(PLACES[:2]), progress=False)
    covariance = np.zeros((4, 4))
    covariance[:2, :2], covariance[2:, 2:] = [[4, -3], [-3, 9]], [[1, 1], [1, 1]]
    monkeypatch.setattr(
        photometry, "star_errors", lambda *more: star_errors.Errors(covariance, np.ones(4))
    )
    stars = photometry.photometry(found)
    np.testing.assert_allclose(stars["flux_error"], [[2, 3], [1, 1]])
    flux, error = source_tables.summed(stars)
    np.testing.assert_allclose(flux, found.model["stars"].sum(axis=1))
    np.testing.assert_allclose(error, np.sqrt([7, 4]))


def test_places_that_were_fitted_too(tmp_path):
    listed = PLACES[:4] + np.array([0.3, -0.2])
    file = tmp_path / "a.stars"
    file.write_text(
        "".join(f"{x} {y} {m}\n" for (x, y), m in zip(listed + 1, range(4), strict=True))
    )
    stars = run(stars={"list": str(file), "free": True}).stars
    moved = np.stack([stars["x"], stars["y"]], axis=1)
    error = np.stack([stars["dx_error"], stars["dy_error"]], axis=1)
    assert np.all(error > 0.01)
    assert np.all(np.abs(moved - PLACES[:4]) < 4 * error)
    np.testing.assert_allclose(np.stack([stars["dx"], stars["dy"]], axis=1), moved - listed)


@pytest.mark.parametrize("how", [METHOD, {"method": "two-channel", "resolution": "4 pix"}])
def test_places_that_were_fitted_are_told_without_errors_too(how, tmp_path):
    off = sources(PLACES[:1] + np.array([0.6, -0.5]))
    free = {"list": off, "free": True, "errors": False}
    how = how | {"progress": False, "output": tmp_path / "out"}
    stars = skyfold.run(data(), iterations=10, stars=free, **how).stars
    assert stars.meta["errors"] == "not asked for"
    places = np.stack([stars["x"], stars["y"]], axis=1)
    np.testing.assert_allclose(places, PLACES[:1], atol=0.3)
    np.testing.assert_array_equal(stars["dx"], stars["x"] - off.places[:, 0])
    assert np.all(np.abs(stars["residual"]) < 5)
    for file in ("stars.ecsv", "stars.reg"):
        np.testing.assert_allclose(read_sources(tmp_path / "out" / file).places, places, atol=1e-6)


def test_runs_with_stars_are_compared(result):
    (figures,) = compare([result[1]])
    assert figures["stars"]["number"] == 5
    assert "their flux" in as_table([figures])


def test_the_configuration_tells_of_stars(result):
    assert "stars.magzero" in explain("stars")
    assert "#   magzero: 20.0" in template("image")
    assert "list" in schema()["properties"]["stars"]["anyOf"][1]["properties"]


def test_after_a_sampler_errors_are_those_of_the_draws(monkeypatch):
    monkeypatch.setattr(star_errors, "ENOUGH", 0)
    found = skyfold.run(
        data(), "lira", stars=sources(), chains=2, draws=30, burn=10, progress=False
    )
    stars = found.stars
    draws = np.stack([found.posterior.parameter(f"stars[{i}]")[:, 10:] for i in range(5)], axis=-1)
    draws = draws.reshape(-1, 5)
    np.testing.assert_allclose(stars["flux_error"], draws.std(axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(stars["flux"], draws.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(stars["correlation"][1], np.corrcoef(draws.T)[1].min())
    assert "flux_error_posterior" not in stars.colnames
    monkeypatch.setattr(star_errors, "ENOUGH", 1e9)
    assert np.all(photometry.photometry(found)["correlation"] == 0)


@pytest.mark.slow
def test_pulls_have_unit_scatter():
    pulls = []
    for seed in range(40):
        stars = run(seed=200 + seed).stars
        pulls.append(((stars["flux"] - FLUX) / stars["flux_error"])[:4])
    spread = np.std(np.array(pulls), axis=0)
    assert np.all((spread > 0.75) & (spread < 1.3))
    assert 0.88 < np.sqrt(np.mean(spread**2)) < 1.12
