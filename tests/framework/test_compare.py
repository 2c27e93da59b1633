import json
from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS

import skyfold
from skyfold.cli import main
from skyfold.compare import as_table, compare
from skyfold.errors import DataError
from skyfold.healpix_table import to_table
from skyfold.sphere import Sphere

healpy = pytest.importorskip("healpy")
UNIT = "1 / (cm2 s sr)"


@pytest.fixture(scope="module")
def run(sky_result, tmp_path_factory):
    """The folder of a whole-sky run that knows its truth."""
    folder = tmp_path_factory.mktemp("first")
    notes = {"results": {"log_likelihood": -12.5, "iterations": 20}, "timings": {"iterating": 1.5}}
    replace(sky_result, manifest=notes).write(folder)
    return folder


def written(path, values, sphere, unit=UNIT):
    to_table(values, sphere, unit, "SKY").writeto(path)
    return path


def test_a_run_is_compared_with_what_it_was_simulated_from(run, sky_result):
    (found,) = compare([run])
    truth, image = sky_result.demo.truth["sky"], sky_result.image.value
    lon, lat = healpy.pix2ang(4, 100, lonlat=True)
    assert found["brightest"] == {"l": pytest.approx(lon), "b": pytest.approx(lat)}
    assert found["offset"] == 0
    assert found["flux"] == pytest.approx(image.sum() * 4 * np.pi / 192)
    assert u.Unit(found["flux_unit"]) == u.Unit("cm-2 s-1")
    assert found["flux_error_percent"] == pytest.approx(100 * (image.sum() / truth.sum() - 1))
    assert found["nrmse"] == pytest.approx(np.linalg.norm(image - truth) / np.linalg.norm(truth))
    assert 0.9 < found["correlation"] < 1
    assert (found["log_likelihood"], found["iterations"], found["seconds"]) == (-12.5, 20, 1.5)


def test_a_finer_nested_truth_in_another_unit_is_brought_to_the_run(run, sky_result, tmp_path):
    fine = healpy.ud_grade(sky_result.demo.truth["sky"].T, 8, order_in="RING", order_out="NESTED")
    sphere = Sphere(8, sky_result.sphere.energy_edges, nested=True)
    truth = written(tmp_path / "t.fits", 1e4 * np.stack(fine, axis=1), sphere, "1 / (m2 s sr)")
    (own,), (found,) = compare([run]), compare([run], truth)
    for key in ("nrmse", "correlation", "flux_error_percent"):
        assert found[key] == pytest.approx(own[key], rel=1e-6)
    assert found["offset"] < 12  # half a pixel of the coarser one


def test_a_truth_per_energy_is_integrated_first(run, sky_result, tmp_path):
    widths = np.diff(sky_result.sphere.energy_edges.value)
    per_kev = sky_result.demo.truth["sky"] / widths
    unit = "1 / (cm2 s sr keV)"
    truth = written(tmp_path / "t.fits", per_kev, Sphere(4), unit)
    with pytest.raises(DataError, match="unit"):
        compare([run], truth)
    from astropy.io import fits
    from astropy.table import Table

    edges = sky_result.sphere.energy_edges
    bounds = fits.BinTableHDU(Table({"E_MIN": edges[:-1], "E_MAX": edges[1:]}), name="EBOUNDS")
    table = to_table(per_kev, sky_result.sphere, unit, "SKY")
    fits.HDUList([fits.PrimaryHDU(), table, bounds]).writeto(truth, overwrite=True)
    (own,), (found,) = compare([run]), compare([run], truth)
    assert found["nrmse"] == pytest.approx(own["nrmse"])


@pytest.mark.parametrize(
    ("sphere", "complaint"),
    [(Sphere(4, frame="icrs"), "frame"), (Sphere(4, [1, 2, 3, 4] * u.keV), "3 energies against 2")],
)
def test_a_truth_of_another_sky_is_refused(run, tmp_path, sphere, complaint):
    truth = written(tmp_path / "t.fits", np.ones(sphere.shape), sphere)
    with pytest.raises(DataError, match=complaint):
        compare([run], truth)


def test_a_truth_with_pixels_off_the_sphere_is_named(run, tmp_path):
    from astropy.io import fits

    columns = [fits.Column("PIXEL", "K", array=[3, 12]), fits.Column("I", "D", array=[1.0, 2.0])]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({"PIXTYPE": "HEALPIX", "NSIDE": 1, "INDXSCHM": "EXPLICIT"})
    table.writeto(tmp_path / "t.fits")
    with pytest.raises(DataError, match="PIXEL goes from 3 to 12"):
        compare([run], tmp_path / "t.fits")


def test_images_are_compared_on_their_pixels(rng, tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [83.6, 22.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [3, 3], [-0.5, 0.5]
    for name, bright in (("a", (2, 2)), ("b", (2, 4))):
        counts = np.ones((5, 6))
        counts[bright] = 50
        data = skyfold.BinnedData(
            counts,
            {"sky": skyfold.Matrix(np.eye(30), (5, 6), (5, 6))},
            components={"sky": skyfold.Component(skyfold.Grid((5, 6), wcs))},
            origin=skyfold.Origin(geometry=skyfold.Grid((5, 6), wcs)),
        )
        skyfold.run(data, iterations=5, output=tmp_path / name, progress=False)
    first, second = compare([tmp_path / "a", tmp_path / "b"], tmp_path / "a" / "result.fits")
    assert first["nrmse"] == first["offset"] == 0
    assert first["brightest"]["RA"] == pytest.approx(83.6)
    assert second["offset"] == pytest.approx(1.0, rel=1e-3)
    assert second["correlation"] < 0.1
    text = as_table([first, second])
    assert text.splitlines()[0].split() == ["a", "b"]
    assert "offset from truth" in text


def test_the_command_prints_a_table_or_json(run, capsys, tmp_path):
    assert main(["compare", str(run), str(run)]) == 0
    assert "NRMSE" in capsys.readouterr().out
    assert main(["compare", str(run), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["iterations"] == 20
    assert main(["compare", str(tmp_path)]) == 2
    assert main(["compare", str(run), "--truth", str(tmp_path / "no.fits")]) == 7
