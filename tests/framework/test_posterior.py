"""What a sampler leaves behind: intervals, fluxes, files."""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape

import astropy.units as u
import h5netcdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import skyfold
from skyfold.algorithms.gibbs import Gibbs
from skyfold.binned import BinnedData
from skyfold.config import RunConfig
from skyfold.errors import ConfigError, DataError, FileError
from skyfold.geometry import Grid
from skyfold.model import Component, Model
from skyfold.pixels import Diagonal
from skyfold.runfolder import run_in_memory
from skyfold.runner import Problem
from skyfold.sampling.chains.diagnostics import of_folder
from skyfold.sampling.chains.mixing import Mixed
from skyfold.sampling.laws.law import Law
from skyfold.sampling.posterior import images as blocks
from skyfold.sampling.posterior import netcdf
from skyfold.sampling.posterior.hdus import _scale, trace_table
from skyfold.sphere import Sphere
from skyfold.stopping import MaxIterations
from skyfold.vector import Vector
from skyfold_responses.psf import Psf

FIELD = (9, 11)


class Gammas(Law):
    """A gamma law for each value by itself, and an unknown that walks about."""

    def __init__(self, sensitivity, energies=1):
        self.sensitivity, self.energies = sensitivity, energies

    def start(self, values, group, rng):
        alpha = np.full((self.energies, 3), 0.5)
        return values * rng.gamma(5, 0.2, values.shape), {"alpha": alpha}

    def draw(self, attributed, values, unknowns, rng):
        new = rng.gamma(attributed + 1.5, 1 / (self.sensitivity + 0.1))
        unknowns = {"alpha": rng.gamma(2, 1, (self.energies, 3))}
        return new, unknowns, self.log_density(new, unknowns)

    def maximise(self, attributed, values, unknowns):
        raise NotImplementedError

    def simulate(self, rng):
        raise NotImplementedError

    def log_density(self, values, unknowns):
        return float(np.sum(0.5 * np.log(values) - values / 10))


def image_data():
    """An image whose model reaches beyond it, with coordinates and a background."""
    y, x = np.mgrid[-2:3, -2:3]
    kernel = np.exp(-(x**2 + y**2) / 2)
    psf = Psf(kernel / kernel.sum(), FIELD)
    rng = np.random.default_rng(1)
    truth = np.full(psf.model_shape, 2.0)
    truth[6, 7] = 60
    template = np.full(FIELD, 3.0)
    counts = rng.poisson(psf.forward(truth) + template)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [83.6, 22.0], [8, 7], [-0.01, 0.01]
    grid = Grid(psf.model_shape, wcs, field=psf.field)
    return BinnedData(
        counts,
        {"sky": psf, "background": template},
        components={"sky": Component(grid, "ct")},
    )


def problem(data, stop=None, **options):
    laws = {name: Gammas(data.sensitivity[name]) for name in data.components}
    options = {"chains": 4, "origins": 2, "burn": 20, "draws": 200, "thin": 3, **options}
    gibbs = Gibbs(laws=laws, **options)
    start = gibbs.start(data, Model.start(data))
    config = RunConfig.of(data=[], method={"name": "rl"})
    stop = stop or MaxIterations(gibbs.burn + gibbs.draws)
    return Problem(config, data, gibbs, start, stop)


@pytest.fixture(scope="module")
def data():
    return image_data()


@pytest.fixture(scope="module")
def result(data):
    return run_in_memory(problem(data), (), False)


@pytest.fixture(scope="module")
def sphere(sky_demo):
    few = problem(sky_demo.data, chains=2, origins=1, burn=2, draws=24)
    return run_in_memory(few, (), False)


def test_what_it_says_of_itself(result):
    posterior = result.posterior
    assert (posterior.chains, posterior.draws, posterior.burn, posterior.thin) == (4, 200, 20, 3)
    np.testing.assert_array_equal(posterior.origins, [0, 0, 1, 1])
    assert "4 chains, 2 origins" in repr(posterior)
    assert posterior.samples().shape == (4, 67, *FIELD)
    assert posterior.samples().dtype == np.float32


def test_images_belong_to_the_sweeps_that_are_named(result):
    posterior = result.posterior
    total = posterior.parameter("sky.total")[:, posterior.kept_sweeps]
    np.testing.assert_allclose(posterior.samples().sum(axis=(2, 3)), total, rtol=1e-5)
    bright = posterior.parameter("sky.pixel[4,5]")[:, posterior.kept_sweeps]
    np.testing.assert_allclose(posterior.samples()[:, :, 4, 5], bright, rtol=1e-6)


def test_mean_and_deviation_are_those_of_all_draws(data):
    """With every draw kept they are those of the images."""
    posterior = run_in_memory(problem(data, thin=1), (), False).posterior
    images = posterior.samples().reshape(-1, *FIELD)
    np.testing.assert_allclose(posterior.mean.value, images.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(posterior.std.value, images.std(axis=0, ddof=1), rtol=1e-4)
    assert posterior.std.unit == u.ct


def test_an_interval_is_that_of_the_images_whatever_the_memory(result, monkeypatch):
    low, high = result.posterior.interval(0.9)
    images = result.posterior.samples().reshape(-1, *FIELD)
    expected = np.quantile(images, [0.05, 0.95], axis=0)
    np.testing.assert_allclose([low.value, high.value], expected, rtol=1e-6)
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    again = result.posterior.interval(0.9)
    np.testing.assert_array_equal([low.value, high.value], [v.value for v in again])


def test_a_region_has_the_draws_of_its_flux(result, monkeypatch):
    shape = "circle(5, 4, 2)"
    flux, low, high, trace = result.posterior.region(shape, 0.5)
    y, x = np.mgrid[:9, :11]
    inside = (x - 5) ** 2 + (y - 4) ** 2 <= 4
    drawn = result.posterior.samples()[:, :, inside].sum(axis=2)
    np.testing.assert_allclose(trace.value, drawn, rtol=1e-5)
    np.testing.assert_allclose([low.value, high.value], np.quantile(drawn, [0.25, 0.75]), rtol=1e-5)
    assert flux.value == pytest.approx(result.flux(shape).value)
    assert trace.unit == u.ct
    monkeypatch.setattr(blocks, "BLOCK", 100)
    np.testing.assert_allclose(result.posterior.region(shape).trace.value, trace.value)


def test_the_flux_of_a_region_is_told_in_a_line(result, sphere):
    region = result.posterior.region("circle(3, 3, 2)")
    kept = result.posterior.samples().shape[1]
    assert f"4 x {kept} draws>" in repr(region)
    assert f"<Credible: {region.flux.value:.5f}"[:-2] in repr(region)
    several = repr(sphere.posterior.region("circle(0d, 0d, 30 deg)"))
    assert len(several) < 200
    assert several.count("[") == 3


def test_errors_of_regions_are_those_of_the_draws(result):
    shape, other = "core = circle(5, 4, 2)", "all = box(5, 4, 11, 9)"
    table = result.errors(shape, other, level=0.9).table
    assert table.colnames[2:] == ["flux", "error_posterior", "low", "high", "r_hat", "ess"]
    for row, region in zip(table, (shape, other), strict=True):
        found = result.posterior.region(region, 0.9)
        assert (row["low"], row["high"]) == pytest.approx((found.low.value, found.high.value))
        assert row["error_posterior"] == pytest.approx(found.trace.value.std(ddof=1))
        assert 0.99 < row["r_hat"] < 1.1
        assert 100 < row["ess"] < 500
    assert table.meta["level"] == 0.9
    assert (table["flux"].unit, table["r_hat"].unit) == ("ct", None)
    drawn = [result.posterior.region(r).trace.value.ravel() for r in (shape, other)]
    np.testing.assert_allclose(table.meta["correlation"], np.corrcoef(drawn), rtol=1e-6)


def test_a_sphere_has_fluxes_for_each_energy(sphere):
    posterior = sphere.posterior
    assert posterior.samples().shape == (2, 8, 192, 2)
    assert posterior.interval()[0].shape == (192, 2)
    found = posterior.region("circle(0d, 0d, 30 deg)")
    assert found.trace.shape == (2, 8, 2)
    table = sphere.errors("circle(0d, 0d, 30 deg)").table
    assert list(table["energy"])[-1] == "total"
    np.testing.assert_allclose(table["low"][:2], found.low.value)
    both = found.trace.value.sum(axis=2)
    assert table["error_posterior"][2] == pytest.approx(both.std(ddof=1))


def test_diagnostics_have_a_row_for_each_parameter(result):
    table = result.posterior.diagnostics()
    assert list(table["name"]) == list(result.posterior.columns)
    row = dict(table[list(table["name"]).index("sky.total")])
    assert row["mean"] == pytest.approx(result.posterior.parameter("sky.total")[:, 20:].mean())


def test_doubts_reach_manifest_and_result(data):
    found = run_in_memory(problem(data, draws=30), (), False)
    said = found.posterior.doubts
    assert any("draw at least" in doubt for doubt in said)
    assert [doubt for doubt in found.doubts if doubt in said] == said
    figures = found.manifest["results"]["posterior"]
    assert (figures["chains"], figures["origins"], figures["draws"]) == (4, 2, 30)
    json.dumps(figures, allow_nan=False)
    alone = run_in_memory(problem(data, draws=30, chains=1, origins=1), (), False)
    assert any(doubt.startswith("R-hat needs at least 2 chains") for doubt in alone.doubts)


def test_what_cannot_be_asked_is_said(result, sky_result, data):
    with pytest.raises(ConfigError, match=r"no parameter 'total'; there are .*sky\.total"):
        result.posterior.parameter("total")
    with pytest.raises(ConfigError, match="no images of 'moon'"):
        result.posterior.samples("moon")
    for level in (0, 1, 68, np.nan):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            result.posterior.interval(level)
        with pytest.raises(ConfigError, match="between 0 and 1"):
            result.errors("circle(5, 4, 2)", level=level)
    with pytest.raises(ConfigError, match="sandwich judges a maximum"):
        result.errors("circle(5, 4, 2)", method="sandwich")
    with pytest.raises(ConfigError, match="the method lira does"):
        _ = sky_result.posterior
    with pytest.raises(ConfigError, match="the method lira does"):
        sky_result.errors("circle(0d, 0d, 30 deg)", method="posterior")


def test_a_run_ended_in_its_burn_in_says_so(data, tmp_path):
    early = run_in_memory(problem(data, MaxIterations(6), thin=1, burn=6), (), False)
    assert early.posterior.draws == 0
    with pytest.raises(DataError, match="burn-in"):
        early.posterior.interval()
    assert any("too few" in doubt for doubt in early.posterior.doubts)
    early.write(tmp_path)
    assert not (tmp_path / netcdf.FILE).exists()
    with fits.open(tmp_path / "result.fits") as hdus:
        assert "PARAMETER_TRACE" in hdus
        assert "POSTERIOR_STD" not in hdus
    started = run_in_memory(problem(data, MaxIterations(0)), (), False)
    assert started.posterior.table.shape[:2] == (4, 0)


def test_chains_that_origins_cannot_share_are_refused(data):
    with pytest.raises(ConfigError, match="4 chains cannot be shared out among 3 origins"):
        problem(data, origins=3)


def test_fits_holds_what_was_drawn(result, tmp_path):
    result.write(tmp_path)
    with fits.open(tmp_path / "result.fits") as hdus:
        np.testing.assert_allclose(hdus[0].data, result.posterior.mean.value)
        np.testing.assert_allclose(hdus["POSTERIOR_STD"].data, result.posterior.std.value)
        low, high = result.posterior.interval()
        np.testing.assert_allclose(hdus["INTERVAL_LOW"].data, low.value)
        np.testing.assert_allclose(hdus["INTERVAL_HIGH"].data, high.value)
        assert hdus["INTERVAL_HIGH"].header["LEVEL"] == 0.68
        assert hdus["POSTERIOR_STD"].header["CRVAL1"] == 83.6
        assert hdus["POSTERIOR_STD"].header["BUNIT"] == "ct"
        trace = hdus["PARAMETER_TRACE"]
        assert trace.header["BURN"] == 20
        assert len(trace.data) == 4 * 220
        second = trace.data[trace.data["chain"] == 1]
        np.testing.assert_array_equal(second["iteration"], np.arange(220))
        for ours, theirs in {
            "log_posterior": "logPost",
            "sky.alpha[2]": "smoothingParam2",
            "background": "bkgScale",
            "sky.total": "expectedMSCounts",
        }.items():
            np.testing.assert_allclose(second[theirs], result.posterior.parameter(ours)[1])


def test_the_counts_of_pylira_are_fluxes_times_the_exposure(result):
    table = trace_table(result.posterior, {"sky": 5.0})
    np.testing.assert_allclose(table["expectedMSCounts"], 5 * table["sky.total"])


def test_the_counts_of_pylira_on_a_sphere_count_each_pixel_with_its_solid_angle():
    place = Sphere(1)
    data = BinnedData(
        np.full((12, 1), 50),
        {"sky": Diagonal(np.full(place.shape, 30.0))},
        components={"sky": Component(place, "1 / sr")},
    )
    few = run_in_memory(problem(data, burn=2, draws=8, thin=2), (), False)
    table = trace_table(few.posterior, _scale(few))
    total = 30 * few.posterior.parameter("sky.total") / place.pixel_area
    np.testing.assert_allclose(table["expectedMSCounts"], total.ravel())
    assert 300 < np.mean(table["expectedMSCounts"]) < 900


def test_several_energies_have_no_counts_of_pylira(sphere):
    table = trace_table(sphere.posterior, _scale(sphere))
    assert "expectedMSCounts" not in table.colnames
    assert "sky.total[1]" in table.colnames


def test_fits_of_a_sphere_are_healpix_tables(sphere, tmp_path):
    from skyfold.healpix_table import from_table

    sphere.write(tmp_path)
    with fits.open(tmp_path / "result.fits") as hdus:
        values, place, unit = from_table(hdus["POSTERIOR_STD"])
        np.testing.assert_allclose(values, sphere.posterior.std.value)
        assert (place.nside, unit) == (4, "1 / (cm2 s sr)")
        assert {"INTERVAL_LOW", "INTERVAL_HIGH", "PARAMETER_TRACE"} <= {h.name for h in hdus}


def test_netcdf_of_an_image(result, tmp_path):
    netcdf.write(result.posterior, tmp_path / "posterior.nc")
    posterior = result.posterior
    with h5netcdf.File(tmp_path / "posterior.nc") as file:
        draws, stats_ = file["posterior"], file["sample_stats"]
        assert draws["sky"].dimensions == ("chain", "draw", "y", "x")
        assert draws["sky"].dtype == np.float32
        np.testing.assert_array_equal(draws["sky"][...], posterior.samples())
        assert draws["sky"].attrs["units"] == "ct"
        assert draws["sky"].attrs["coordinates"] == "lon lat"
        np.testing.assert_array_equal(draws["draw"][...], 20 + 3 * np.arange(67))
        np.testing.assert_array_equal(stats_["origin_of_chain"][...], [0, 0, 1, 1])
        assert draws["sky_alpha"].dimensions[:2] == ("chain", "draw")
        assert draws["sky_alpha"].shape == (4, 67, 3)
        assert draws["background"].dimensions == ("chain", "draw")
        total = posterior.parameter("sky.total")[:, posterior.kept_sweeps]
        np.testing.assert_array_equal(draws["sky_total"][...], total)
        log_posterior = posterior.parameter("log_posterior")[:, posterior.kept_sweeps]
        np.testing.assert_array_equal(stats_["lp"][...], log_posterior)
        assert stats_["log_likelihood"].dimensions == ("chain", "draw")
        grid = result.model.components["sky"].geometry.crop()
        corner = grid.wcs.pixel_to_world(10, 8)
        assert draws["lon"][8, 10] == pytest.approx(corner.ra.deg)
        assert draws["lat"][8, 10] == pytest.approx(corner.dec.deg)
        assert (file.attrs["burn"], file.attrs["thin"]) == (20, 3)


def test_netcdf_of_a_sphere(sphere, tmp_path, monkeypatch):
    monkeypatch.setattr(netcdf, "CHUNK", 5000)
    netcdf.write(sphere.posterior, tmp_path / "posterior.nc")
    with h5netcdf.File(tmp_path / "posterior.nc") as file:
        draws = file["posterior"]
        assert draws["sky"].dimensions == ("chain", "draw", "pixel", "energy")
        assert draws["sky"].chunks == (1, 3, 192, 2)
        np.testing.assert_array_equal(draws["sky"][...], sphere.posterior.samples())
        assert draws["sky_total"].shape == (2, 8, 2)
        np.testing.assert_array_equal(draws["energy_high"][...], [200, 500])
        assert (draws["sky"].attrs["nside"], draws["sky"].attrs["frame"]) == (4, "galactic")
        assert draws["lon"].dimensions == ("pixel",)


def test_netcdf_is_whole_or_absent(result, tmp_path):
    with pytest.raises(FileError):
        netcdf.write(result.posterior, tmp_path / "nowhere" / "posterior.nc")
    (tmp_path / "posterior.nc").write_text("before")
    broken = skyfold.Result(result.data, result.state, result.trace, result.reason)
    with pytest.raises(ConfigError):
        netcdf.write(broken.posterior, tmp_path / "posterior.nc")
    assert (tmp_path / "posterior.nc").read_text() == "before"


def test_chains_that_have_mixed_end_the_run(data):
    rule = Mixed(r_hat=1.3, ess=50.0)
    found = run_in_memory(problem(data, rule | MaxIterations(1000), draws=1000), (), False)
    assert found.reason.startswith("the chains have mixed: R-hat 1.")
    table = found.posterior.diagnostics()
    assert np.nanmax(table["r_hat"]) < 1.3
    assert min(np.nanmin(table["ess_bulk"]), np.nanmin(table["ess_tail"])) >= 50
    assert found.state.sweeps < 1000
    assert found.trace_table()["r_hat"][-1] == pytest.approx(np.nanmax(table["r_hat"]))


def test_chains_are_looked_at_now_and_then(result, rng):
    """Every lap adds an image; the looks get rarer as the draws grow."""
    gibbs, rule, looks = result.problem.algorithm, Mixed(), []
    columns = len(gibbs.columns(result.state, result.data))
    series = (rng.normal(size=(4, 20 + 300, columns)),)
    for images in range(1, 100):
        counted = images * gibbs.thin
        state = replace(
            result.state,
            counted=counted,
            series=tuple(part[:, : 20 + counted] for part in series),
            kept=Vector({"sky": np.zeros((4, 1, *FIELD), np.float32)}),
        )
        if rule.columns(state, result.data, gibbs):
            looks.append(images)
    assert 8 < len(looks) < 16
    assert np.all(np.diff(np.log(looks))[3:] > 0.15)


def test_the_rule_needs_chains_to_compare(data, sky_demo):
    with pytest.raises(ConfigError, match="at least 4 chains"):
        run_in_memory(problem(data, Mixed(), chains=2), (), False)
    with pytest.raises(ConfigError, match="--method lira"):
        skyfold.run(sky_demo.data, stop={"mixed": {"r_hat": 1.05, "ess": 100}}, progress=False)


def small_run(folder, **options):
    """The posterior of a small image, under the law that is offered for it."""
    rng = np.random.default_rng(3)
    counts, kernel = folder / "counts.fits", folder / "psf.fits"
    y, x = np.mgrid[-2:3, -2:3]
    fits.writeto(counts, rng.poisson(2.0, (8, 8)).astype(np.int32), overwrite=True)
    fits.writeto(kernel, np.exp(-(x**2 + y**2) / 2.0), overwrite=True)
    options = {"chains": 2, "draws": 40, "burn": 10, **options}
    return skyfold.run(str(counts), "lira", psf=str(kernel), progress=False, **options)


def test_a_run_folder_opens_again_with_its_posterior(tmp_path, capsys):
    from skyfold.cli import main

    in_memory = small_run(tmp_path, thin=4).posterior
    done = small_run(tmp_path, output=tmp_path / "run", thin=4).posterior
    left = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = skyfold.open(tmp_path / "run").posterior
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == left
    assert isinstance(again.samples().base, np.memmap)
    for other in (done, again):
        np.testing.assert_array_equal(other.samples(), in_memory.samples())
        np.testing.assert_array_equal(other.table, in_memory.table)
    assert (tmp_path / "run" / netcdf.FILE).exists()
    assert main(["errors", str(tmp_path / "run"), "--region", "circle(3, 3, 2)", "-q"]) == 0
    assert "posterior" in capsys.readouterr().out
    table = Table.read(tmp_path / "run" / "errors.ecsv")
    found = again.region("circle(3, 3, 2)")
    assert table["low"][0] == pytest.approx(found.low.value)
    report = (tmp_path / "run" / "report.html").read_text()
    assert any("draw at least" in doubt for doubt in done.doubts)
    assert all(escape(doubt) in report for doubt in of_folder(done.doubts, "run"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 0}, "chains: expected a whole number of at least 1, got 0"),
        ({"draws": 0}, "draws: expected a whole number of at least 1, got 0"),
        ({"burn": -1}, "burn: expected a whole number of at least 0, got -1"),
        ({"thin": 0}, "thin: expected a whole number of at least 1"),
        ({"thin": 50}, "thin 50 keeps no image of 40 draws"),
        ({"chains": 3, "origins": 2}, "3 chains cannot be shared out among 2 origins"),
        ({"iterations": 10}, "10 iterations end within the burn-in of 10 sweeps"),
        ({"stop": {"mixed": 0.9}}, r"mixed\.r_hat: expected a number greater than 1"),
        ({"stop": {"mixed": {"ess": -1}}}, r"mixed\.ess: expected a number greater than 0"),
        ({"stop": {"mixed": {}}, "chains": 1}, "at least 2 chains"),
    ],
)
def test_bad_numbers_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        small_run(tmp_path, **options)


def test_a_rule_for_chains_has_all_the_draws_of_the_method():
    asked = RunConfig.of(data=[], method={"name": "lira", "draws": 5000}, stop={"mixed": 1.02})
    rule = asked.build_stop(asked.build_method().until)
    assert (rule.first, rule.second) == (Mixed(1.02), MaxIterations(6000))
