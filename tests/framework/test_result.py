import astropy.units as u
import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import skyfold
import skyfold.errors
from skyfold.result import deviance_residual, summary


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
