"""Frames as PLUCY took them: repeated pixels, PSFs as they are, stars on pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skyfold
from skyfold.errors import ConfigError, DataError
from skyfold.points import point_components
from skyfold_hst.blocks import of_detector
from skyfold_hst.frames import on_pixels, open_plucy
from skyfold_hst.kernels import as_it_is, blurred, peak_centred
from skyfold_hst.telescope import telescope_psf
from skyfold_image.image import Image


def image(values, role="counts"):
    return Image(np.asarray(values, float), f"{role} array", role)


@pytest.fixture
def frame(rng):
    return rng.poisson(40, (12, 16)).astype(float)


@pytest.fixture
def stars(tmp_path):
    """Write a list of stars."""

    def write(*rows):
        path = tmp_path / "stars"
        path.write_text("\n".join(" ".join(map(str, row)) for row in rows) + "\n")
        return path

    return write


def kernel(size):
    return telescope_psf(size)


def repeated(values, across, up):
    return np.kron(values, np.ones((up, across))) / (across * up)


@given(st.integers(1, 4), st.integers(1, 4))
def test_repeated_pixels_are_summed(across, up):
    values = np.arange(1.0, 13).reshape(3, 4)
    found = of_detector(image(repeated(values, across, up)), (across, up))
    np.testing.assert_allclose(found.values, values, rtol=1e-14)


def test_every_block_is_looked_at(frame):
    fine = repeated(frame, 2, 2)
    fine[19, 27] += 1
    with pytest.raises(DataError, match=r"1 of 192 blocks .* first at pixel \(27, 19\)"):
        of_detector(image(fine), (2, 2), [fine.shape])
    with pytest.raises(DataError, match="1 of 192 blocks"):  # nearly all are equal
        of_detector(image(fine), (2, 2))


def test_frames_of_the_detector_are_taken_too(frame):
    assert of_detector(image(frame), (2, 2), [(24, 32)]).values is not None
    with pytest.raises(DataError, match=r"best that of the restored image, 32 x 24"):
        of_detector(image(frame), (2, 2), [frame.shape])
    with pytest.raises(DataError, match="16 x 12 pixels are no multiple of 5 x 2"):
        of_detector(image(frame), (5, 2), [frame.shape])


def test_repeated_and_own_pixels_are_the_same_data(frame, stars):
    psf = kernel(24)
    fine = open_plucy(repeated(frame, 2, 2), psf, stars=stars((9.5, 11.5, 14)), block=(2, 2))
    own = open_plucy(frame, psf, stars=stars((5, 6, 14)), block=(2, 2))
    np.testing.assert_allclose(fine.full_counts, own.full_counts, rtol=1e-14)
    for data in (fine, own):  # half away from zero
        np.testing.assert_allclose(data.components["stars"].geometry.places, [[4.25, 5.25]])
    one, other = (skyfold.run(d, "plucy", 3, sigma=2.0, progress=False) for d in (fine, own))
    np.testing.assert_allclose(one.model["stars"], other.model["stars"], rtol=1e-12)
    np.testing.assert_allclose(one.model["sky"], other.model["sky"], rtol=1e-10)


def test_blocks_need_not_be_square(frame):
    data = open_plucy(repeated(frame, 3, 2), kernel(18), block=(3, 2))
    assert data.shape == (12, 16)
    assert data.components["sky"].geometry.shape == (24, 48)
    np.testing.assert_allclose(data.sensitivity["sky"], 1, rtol=1e-12)


@pytest.mark.parametrize("size", [(16, 16), (15, 13), (16, 1)])
def test_any_size(size, rng):
    counts = rng.poisson(9, size).astype(float)
    data = open_plucy(counts, np.ones((1, 1)))
    np.testing.assert_array_equal(data.full_counts, counts)


def test_sums_over_blocks_without_subsampling_change_nothing(frame):
    whole = open_plucy(frame, kernel(12))
    assert whole.components["sky"].geometry.shape == frame.shape


def test_negative_data_are_zeroed_and_counted(frame):
    frame[2, 3], frame[4, 5] = -0.7, -0.2
    data = open_plucy(frame, kernel(12))
    assert data.full_counts.min() == 0
    said = [check for check in data.checks if check.level == "warning"]
    assert "2 negative values (min -0.7) set to zero" in " ".join(check.message for check in said)


def test_the_psf_is_taken_as_it_is(frame):
    psf = np.roll(kernel(12), (1, -2), (0, 1)) * 1.5
    psf[0, 0] = -0.1
    found, checks = as_it_is(image(psf, "psf"), frame.shape)
    assert found.sum() == pytest.approx(1, abs=1e-14)
    assert np.unravel_index(found.argmax(), found.shape) == (6, 3)
    said = " ".join(check.message for check in checks)
    assert "1 negative elements of the PSF (min -0.1) set to zero" in said
    assert "brought to 1" in said
    assert "light moves by (-2, +1) pixels" in said
    np.testing.assert_array_equal(peak_centred(np.roll(kernel(12), (4, 3), (0, 1))), kernel(12))


@pytest.mark.parametrize(
    ("psf", "says"),
    [
        (np.ones((12, 17)), "17 x 12 pixels, the restored image 16 x 12"),
        (np.zeros((5, 5)), "holds no light"),
        (np.full((5, 5), np.nan), "25 values of the PSF are not finite"),
    ],
)
def test_psfs_that_cannot_be(frame, psf, says):
    with pytest.raises(DataError, match=says):
        open_plucy(frame, psf)


def test_light_wraps_around(frame, stars):
    data = open_plucy(frame, kernel(12), stars=stars((1, 1, 10)))
    image = data.whole["stars"].forward(np.ones(1))
    np.testing.assert_allclose(image.sum(), 1, rtol=1e-12)
    assert image[-1, -1] > 0.5 * image[0, 1]


def test_rounding_is_half_away_from_zero(stars):
    from skyfold.source_files import read_sources

    listed = read_sources(stars((3.5, 4.49, 10), (8.51, 2, 10), (0.5, 6.5, 10)))
    found = on_pixels(listed, listed.places, (12, 16)) + 1
    np.testing.assert_array_equal(found, [[4, 4], [9, 2], [1, 7]])


def test_two_stars_on_one_pixel(frame, stars):
    listed = stars((3, 4, 10), (7.8, 5.1, 10), (8.2, 4.9, 10))
    with pytest.raises(DataError, match=r"'2' .* '3' .* both on pixel \(8, 5\).*cplucy"):
        open_plucy(frame, kernel(12), stars=listed)
    data = open_plucy(frame, kernel(12), stars=listed, shift="exact")
    assert data.components["stars"].geometry.shape == (3,)


def test_first_fluxes_are_those_of_the_magnitudes(frame, stars):
    data = open_plucy(frame, kernel(12), stars=stars((3, 4, 15), (8, 5, 14)), magzero=21.0)
    factor = np.float32(-0.4).astype(float)
    expected = [10 ** (factor * (15 - 21)), 10 ** (factor * (14 - 21))]
    np.testing.assert_allclose(data.components["stars"].start, expected, rtol=1e-12)
    equal = open_plucy(frame, kernel(12), stars=stars((3, 4, 15), (8, 5, 14)), shift="exact")
    np.testing.assert_allclose(equal.components["stars"].start, frame.sum() / 4, rtol=1e-6)


def test_several_psfs(frame, stars):
    two = [kernel(12), np.ones((1, 1))]
    data = open_plucy(frame, two, stars=stars((3, 4, 15, 1), (8, 5, 15, 2)))
    image = data.whole["stars"].forward(np.array([0.0, 1.0]))
    alone = np.zeros(frame.shape)
    alone[4, 7] = 1
    np.testing.assert_allclose(image, alone, atol=1e-12)
    with pytest.raises(DataError, match="asks for PSF 3, but there are 2"):
        open_plucy(frame, two, stars=stars((3, 4, 15, 3)))
    with pytest.raises(ConfigError, match="shift linear takes one PSF"):
        open_plucy(frame, two, stars=stars((3, 4, 15, 1)), shift="linear")


def test_the_response_of_a_pixel(frame, stars):
    data = open_plucy(frame, np.ones((3, 3)) / 9, stars=stars((8, 5, 15)), pixel_response=True)
    image = data.whole["stars"].forward(np.ones(1))
    assert image[4, 7] > 1 / 9
    np.testing.assert_allclose(blurred(kernel(16)).sum(), 1, rtol=1e-14)


def test_stars_outside_are_told_as_listed(frame, stars):
    with pytest.raises(DataError, match=r"'1' \(x 17, y 3\).*outside the image of 16 x 12"):
        open_plucy(frame, kernel(12), stars=stars((17, 3, 10)))


def test_stars_by_their_coordinates(frame, tmp_path):
    from astropy.io import fits

    cards = {
        "CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 8.0, "CDELT1": -1e-5,
        "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 6.0, "CDELT2": 1e-5,
    }  # fmt: skip
    listed = tmp_path / "stars.csv"
    listed.write_text("ra,dec,mag\n10.0,20.00002,15\n")
    hdu = fits.ImageHDU(frame, fits.Header(cards))
    data = open_plucy(hdu, kernel(12), stars=listed)
    (points,) = point_components(data.components).values()
    np.testing.assert_allclose(points.places, [[7, 7]], atol=1e-6)


def test_coordinates_follow_the_pixels(frame):
    from astropy.io import fits

    cards = {
        "CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 8.0, "CDELT1": -1e-5,
        "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 6.0, "CDELT2": 1e-5,
    }  # fmt: skip
    own = open_plucy(fits.ImageHDU(frame, fits.Header(cards)), kernel(24), block=(3, 2))
    coarse, fine = own.origin.geometry.wcs, own.components["sky"].geometry.wcs
    at = fine.world_to_pixel(coarse.pixel_to_world(4, 7))
    np.testing.assert_allclose(at, [3 * 4 + 1, 2 * 7 + 0.5], atol=1e-6)
    header = fine.to_header()
    again = open_plucy(
        fits.ImageHDU(repeated(frame, 3, 2), header), kernel(24), block=(3, 2)
    ).origin.geometry.wcs
    there = again.world_to_pixel(coarse.pixel_to_world(4, 7))
    np.testing.assert_allclose(there, [4, 7], atol=1e-6)


def test_what_is_no_count_is_doubted(frame):
    rates = open_plucy(frame / 7.3, kernel(12))
    assert "not whole numbers" in " ".join(c.message for c in rates.checks if c.level == "warning")
    data = open_plucy(frame / 7.3, kernel(12), gain=7.3)
    np.testing.assert_allclose(data.full_counts, frame, rtol=1e-12)
    assert not [check for check in data.checks if check.level == "warning"]
