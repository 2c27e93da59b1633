from dataclasses import replace

import astropy.units as u
import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import skyfold
import skyfold.errors
from skyfold import residuals
from skyfold.residuals import deviance_residual
from skyfold.result import summary
from skyfold.sphere import Sphere


@pytest.fixture
def wcs():
    w = WCS(naxis=2)
    w.wcs.ctype, w.wcs.crpix, w.wcs.crval = ["RA---TAN", "DEC--TAN"], [4, 3], [266.4, -29.0]
    w.wcs.cdelt = [-0.01, 0.01]
    w.wcs.set()
    return w


def restore(rng, shape, grid, header=None):
    bins, pixels = int(np.prod(shape)), int(np.prod(grid.shape))
    matrix = rng.random((bins, pixels)) ** 4
    counts = rng.poisson(matrix @ rng.gamma(1, 3, pixels)).reshape(shape)
    inner = grid.crop()
    origin = skyfold.Origin("obs 1", geometry=skyfold.Grid(shape, inner.wcs), header=header)
    sky = skyfold.Component(grid, unit="ph cm-2 s-1")
    response = skyfold.Matrix(matrix, grid.shape, shape)
    data = skyfold.BinnedData(counts, {"sky": response}, components={"sky": sky}, origin=origin)
    return skyfold.run(data, iterations=20, progress=False)


def test_fits_keeps_coordinates_units_and_cards(rng, wcs, tmp_path):
    cards = wcs.to_header()
    cards["TELESCOP"], cards["BUNIT"] = "CHANDRA", "count"
    result = restore(rng, (6, 7), skyfold.Grid((6, 7), wcs).extend((2, 2)), cards)
    result.write(tmp_path)
    with fits.open(tmp_path / "result.fits") as hdus:
        primary = hdus[0]
        assert primary.data.shape == (6, 7)
        assert primary.header["TELESCOP"] == "CHANDRA"
        assert u.Unit(primary.header["BUNIT"]) == u.Unit("ph cm-2 s-1")
        np.testing.assert_array_equal(primary.data, result.image.value)
        wide = hdus["EXTENDED"]
        assert wide.data.shape == (10, 11)
        here = WCS(primary.header).pixel_to_world(0, 0)
        there = WCS(wide.header).pixel_to_world(2, 2)
        assert here.separation(there) < 1e-6 * u.arcsec
        assert hdus["RESIDUAL"].header["BUNIT"] == "sigma"
        assert hdus["COUNTS"].header["DATASET"] == "obs 1"


def test_cubes_tell_their_energies(rng, wcs):
    grid = skyfold.Grid((2, 4, 5), wcs, [1, 2, 4] * u.GeV)
    hdus = restore(rng, (2, 4, 5), grid).to_fits()
    assert list(hdus["EBOUNDS"].data["E_MAX"]) == [2, 4]
    assert hdus["EBOUNDS"].columns["E_MIN"].unit == "GeV"


def test_models_that_are_not_one_image_go_to_hdf5(rng, tmp_path):
    matrix = rng.random((30, 6))
    counts = rng.poisson(matrix.sum(axis=1))
    responses = {"sky": skyfold.Matrix(matrix), "dust": skyfold.Matrix(matrix[:, :3])}
    result = skyfold.run(skyfold.BinnedData(counts, responses), iterations=3, progress=False)
    assert result.write(tmp_path).name == "result.h5"
    with h5py.File(tmp_path / "result.h5") as file:
        np.testing.assert_array_equal(file["MODEL/dust"][()], result.model["dust"])
        assert file["DATA/1/EXPECTATION"][()].sum() == pytest.approx(counts.sum())
        assert len(file["TRACE/log_likelihood"]) == 4
    with pytest.raises(skyfold.errors.DataError, match="2 skies"):
        _ = result.image


def test_residuals_are_close_to_normal(rng):
    e = np.full(200_000, 30.0)
    residual = deviance_residual(rng.poisson(e), e, np.ones(e.size))
    assert abs(residual.mean()) < 0.1
    assert residual.std() == pytest.approx(1, abs=0.02)


def test_residuals_of_empty_and_masked_bins():
    residual = deviance_residual(
        np.array([0.0, 5.0, 2.0]), np.array([2.0, 5.0, 1.0]), np.array([1, 1, 0])
    )
    assert residual[0] == pytest.approx(-2)
    assert residual[1] == 0
    assert np.isnan(residual[2])


def test_summary_finds_a_block_that_is_off(rng):
    result = restore(rng, (16, 16), skyfold.Grid((4, 4)))
    assert summary(result)["ratio"] == pytest.approx(1)
    counts = result.data.full_counts.copy()
    counts[8:, :8] += 5
    off = skyfold.Result(result.data.with_counts(counts), result.state, result.trace, "")
    assert summary(off)["largest_block"] > 4 > summary(result)["largest_block"]


def test_a_whole_sky_is_read_by_healpy(sky_result, tmp_path):
    healpy = pytest.importorskip("healpy")
    path = sky_result.write(tmp_path)
    assert path.name == "result.fits"
    for i in range(2):
        found, cards = healpy.read_map(path, field=i, hdu="SKY", h=True)
        np.testing.assert_array_equal(found, sky_result.image[:, i].value)
    cards = dict(cards)
    assert (cards["COORDSYS"], cards["ORDERING"], cards["NSIDE"]) == ("G", "RING", 4)
    assert u.Unit(cards["TUNIT2"]) == u.Unit("cm-2 s-1 sr-1")
    truth = healpy.read_map(path, field=1, hdu="TRUTH")
    np.testing.assert_array_equal(truth, sky_result.demo.truth["sky"][:, 1])
    with fits.open(path) as hdus:
        assert hdus[0].data is None
        assert hdus["COUNTS"].shape == (2, 6, 48)
        assert list(hdus["EBOUNDS"].data["E_MAX"]) == [200, 500]


def test_projections_of_a_data_space_add_up(sky_result):
    hdus, counts = sky_result.to_fits(), sky_result.data.full_counts
    expected = sky_result.data.full_expectation(sky_result.model)
    for axis, label in enumerate(("TIME", "PHI", "PSICHI")):
        table = hdus[f"PROJECTION_{label}"]
        others = tuple(i for i in range(3) if i != axis)
        np.testing.assert_allclose(table.data["COUNTS"], counts.sum(axis=others))
        np.testing.assert_allclose(table.data["EXPECTATION"], expected.sum(axis=others))
    assert hdus["PROJECTION_PHI"].columns["LOW"].unit == "deg"
    assert hdus["PROJECTION_PSICHI"].header["PIXTYPE"] == "HEALPIX"


def test_large_data_spaces_are_seen_once_in_slabs_and_keep_projections_only(
    sky_result, monkeypatch
):
    calls = []
    full = skyfold.BinnedData.full_expectation
    monkeypatch.setattr(
        skyfold.BinnedData, "full_expectation", lambda *a: calls.append(1) or full(*a)
    )
    monkeypatch.setattr(residuals, "LARGEST", 100)
    monkeypatch.setattr(residuals, "BLOCK", 1)  # slabs of one time each
    monkeypatch.setattr(residuals, "SLAB", 300)
    large = replace(sky_result)
    figures = summary(large)
    names = [hdu.name for hdu in large.to_fits()]
    assert len(calls) == 1
    assert "PROJECTION_PHI" in names
    assert "COUNTS" not in names
    for key in ("counts", "expectation", "outliers"):
        assert figures[key] == pytest.approx(summary(sky_result)[key])
    with pytest.raises(skyfold.errors.DataError, match="too large"):
        large.residual()


class Events(skyfold.Matrix):
    """Rows of events alone; all other bins are in the sensitivity."""

    complete = False

    def sensitivity(self, weight):
        return np.full(self.model_shape, 50.0)


def test_event_lists_are_judged_by_their_total(rng, tmp_path):
    data = skyfold.BinnedData(np.ones(200), {"sky": Events(rng.random((200, 12)), (12, 1))},
                              components={"sky": skyfold.Component(Sphere(1))})  # fmt: skip
    result = skyfold.run(data, iterations=5, progress=False)
    assert summary(result) == {
        "counts": 200,
        "expectation": pytest.approx(200),
        "ratio": pytest.approx(1),
        "observations": [{"name": "data", "counts": 200, "expectation": pytest.approx(200)}],
        "components": {"sky": pytest.approx(200)},
    }
    with fits.open(result.write(tmp_path)) as hdus:
        names = [hdu.name for hdu in hdus]
    assert names == ["PRIMARY", "SKY", "SENSITIVITY", "MASK", "TRACE", "COMPONENTS"]


def test_a_sphere_is_handed_to_healpy_in_ring_order(sky_result):
    pytest.importorskip("mhealpy")
    rows = sky_result.to_healpy()
    assert rows.shape == (2, 192)
    one = sky_result.to_mhealpy()[1]
    np.testing.assert_array_equal(one.data, rows[1].value)
    assert one.is_ring
