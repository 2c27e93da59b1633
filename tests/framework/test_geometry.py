import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid, Normalisations, celestial_wcs, refined, shifted


@pytest.fixture
def wcs():
    w = WCS(naxis=2)
    w.wcs.ctype, w.wcs.crpix, w.wcs.crval = ["GLON-CAR", "GLAT-CAR"], [10.5, 5.5], [0, 0]
    w.wcs.cdelt = [-0.1, 0.1]
    w.wcs.set()
    return w


def test_extend_and_crop_undo_each_other(wcs):
    grid = Grid((3, 10, 20), wcs)
    wide = grid.extend((2, 4))
    assert wide.shape == (3, 14, 28)
    assert wide.field == (slice(0, 3), slice(2, 12), slice(4, 24))
    assert wide.crop().difference(grid) is None
    assert wide.first.tolist() == [4, 2]
    inside, outside = wcs.pixel_to_world(0, 0), wide.wcs.pixel_to_world(4, 2)
    assert inside.separation(outside) < 1e-9 * u.deg


def test_the_first_pixel_of_the_data():
    assert Grid((3, 10, 20)).first.tolist() == [0, 0]
    assert Grid((9,), field=(slice(2, 7),)).first.tolist() == [2, 0]
    assert Grid((10, 20), field=(slice(None, 7), slice(-4, None))).first.tolist() == [16, 0]


def test_differences_are_said_in_words(wcs):
    grid = Grid((10, 20), wcs)
    assert grid.difference(Grid((10, 20), shifted(wcs, 0.0005))) is None
    assert "(+0.500, +0.000) pixels" in grid.difference(Grid((10, 20), shifted(wcs, 0.5)))
    assert "shape (10, 20) against (10, 21)" in grid.difference(Grid((10, 21), wcs))
    assert grid.difference(Grid((10, 20))) is None
    cube = Grid((2, 10, 20), wcs, [1, 2, 4] * u.GeV)
    assert cube.difference(Grid((2, 10, 20), wcs, [1000, 2000, 4000] * u.MeV)) is None
    assert "energy edge 2" in cube.difference(Grid((2, 10, 20), wcs, [1, 2, 5] * u.GeV))
    assert "Normalisations" in grid.difference(Normalisations())


def test_lengths_are_angles_or_pixels(wcs):
    grid = Grid((10, 20), wcs)
    assert grid.pixels(0.25 * u.deg) == pytest.approx(2.5)
    assert grid.pixels(3 * u.pix) == 3
    with pytest.raises(ConfigError, match="no world coordinates"):
        Grid((10, 20)).pixels(1 * u.deg)


@pytest.mark.parametrize("shape", [(31,), (31, 40), (3, 31, 40)])
def test_smoothing_keeps_the_sum(shape, rng):
    values = rng.random(shape)
    smooth = Grid(shape).smooth(values, 4 * u.pix)
    assert smooth.sum() == pytest.approx(values.sum(), rel=1e-12)
    assert smooth.std() < 0.5 * values.std()
    if len(shape) == 3:
        np.testing.assert_allclose(smooth.sum(axis=(1, 2)), values.sum(axis=(1, 2)))


def test_smoothing_has_the_width_asked_for():
    point = np.zeros(101)
    point[50] = 1
    smooth = Grid((101,)).smooth(point, 10 * u.pix)
    assert smooth[55] / smooth[50] == pytest.approx(0.5, abs=0.01)


def test_normalisations_cannot_be_smoothed():
    with pytest.raises(ConfigError):
        Normalisations().smooth(np.ones(1), 1 * u.deg)


def test_finer_pixels_cover_the_same_sky(wcs):
    fine = Grid((3, 10, 20), wcs).refine(4)
    assert fine.shape == (3, 40, 80)
    assert fine.pixel_size.to_value("deg") == pytest.approx(0.025)
    corner, same = wcs.pixel_to_world(-0.5, -0.5), fine.wcs.pixel_to_world(-0.5, -0.5)
    assert corner.separation(same) < 1e-9 * u.deg
    assert Grid((64,)).refine(2).shape == (128,)


def test_coordinates_of_a_header(wcs):
    cards = fits.Header({"MJDREF": 50814.0, "DATE-OBS": "2004-07-06T22:43:43"})
    assert celestial_wcs(cards) is None
    cards.update(wcs.to_header())
    assert Grid((10, 20), wcs).difference(Grid((10, 20), celestial_wcs(cards))) is None
    swapped = {"CTYPE1": "FREQ", "CTYPE2": "RA---TAN", "CTYPE3": "DEC--TAN"}
    with pytest.raises(DataError, match="FITS axes 2 and 3"):
        celestial_wcs(fits.Header(swapped))


def test_distortion_moves_with_the_pixels():
    cards = fits.Header({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"})
    cards.update({"CRPIX1": 50.0, "CRPIX2": 40.0, "CD1_1": -1e-4, "CD2_2": 1e-4, "CRVAL2": 20.0})
    cards.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "B_0_2": 1e-4})
    given = celestial_wcs(cards)
    moved = shifted(given, 7, 3)
    here, there = given.pixel_to_world(3, 4), moved.pixel_to_world(10, 7)
    assert here.separation(there) < 1e-9 * u.deg
    with pytest.raises(DataError, match="rectify"):
        refined(given, 2)


def test_corners_off_the_sky_are_no_difference():
    def all_sky(size=1.0):
        w = WCS(naxis=2)
        w.wcs.ctype, w.wcs.crpix, w.wcs.crval = ["GLON-AIT", "GLAT-AIT"], [180.5, 90.5], [0, 0]
        w.wcs.cdelt = [-size, size]
        w.wcs.set()
        return Grid((180, 360), w)

    assert all_sky().difference(all_sky()) is None
    assert "coordinates" in all_sky().difference(all_sky(0.99))
