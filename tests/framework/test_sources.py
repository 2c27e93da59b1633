import json
import sys

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS, Sip
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold import options
from skyfold.binned import BinnedData
from skyfold.config import RunConfig
from skyfold.document import Document
from skyfold.errors import ConfigError, DataError, MissingExtraError
from skyfold.geometry import Grid, Normalisations
from skyfold.points import with_points
from skyfold.source_finding import compare, find_sources
from skyfold.sources import Sources, placed, psf_numbers
from skyfold.sphere import Sphere
from skyfold.star_request import Stars, as_sources, in_words
from skyfold_responses.psf import Psf

RA, DEC, FWHM = 80.0, 41.0, 2.8
GALACTIC = SkyCoord(RA, DEC, unit="deg").galactic


def wcs_of(shape, ctype="RA---TAN DEC--TAN", pixel=1.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ctype.split()
    wcs.wcs.crval = RA, DEC
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    wcs.wcs.cdelt = -pixel / 3600, pixel / 3600
    wcs.wcs.set()
    return wcs


def image(shape=(40, 60), **options):
    return Grid(shape, wcs_of(shape, **options))


def listed(places, frame="", **options):
    places = np.array(places, float)
    names = tuple(str(i + 1) for i in range(len(places)))
    return Sources(names, places, frame, file="qso.stars", **options)


def star_image(places, fluxes, shape=(64, 64), level=20.0, seed=3):
    y, x = np.indices(shape)
    mean = np.full(shape, level)
    sigma = FWHM / 2.3548
    for (px, py), flux in zip(places, fluxes, strict=True):
        near = (x - px) ** 2 + (y - py) ** 2
        mean += flux * np.exp(-near / 2 / sigma**2) / (2 * np.pi * sigma**2)
    return np.random.default_rng(seed).poisson(mean)


# lists that cannot be


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": (), "places": np.zeros((0, 2))}, "no star in it; to restore without stars"),
        ({"names": ("a", "b", "a")}, "stars 1 and 3 are both called 'a'"),
        ({"names": ("a", "b")}, "2 names for places"),
        ({"flux": np.ones(1)}, r"flux of shape \(1,\) for 3 names: give one number for each star"),
        ({"flux": np.ones(4)}, r"flux of shape \(4,\) for 3 names"),
        ({"flux": np.ones((3, 1))}, r"flux of shape \(3, 1\) for 3 names"),
        ({"psf": np.zeros(2, int)}, r"psf of shape \(2,\) for 3 names: .* or none at all"),
        ({"places": np.array([[1, 2], [3, np.nan], [5, 6.0]])}, r"star '2' \(x 4, y nan\): its"),
        ({"flux": np.array([1, np.inf, 2])}, r"star '2' \(x 4, y 5\): its flux is infinite"),
        ({"flux": np.array([1, np.nan, -2])}, r"star '3' \(x 6, y 7\): its flux is negative"),
        ({"psf": np.array([0, 0, -1])}, r"star '3' .*PSFs are numbered from 1"),
        ({"frame": "icrs", "places": np.array([[10, 20], [9, 95], [8, 7.0]])},
         r"star '2' \(ra 9, dec 95\): dec is not between -90 and 90 degrees; are ra and dec swap"),
        ({"frame": "galactic", "places": np.array([[10, 20], [190, 95], [8, 7.0]])},
         r"star '2' \(l 190, b 95\): b is not between -90 and 90 degrees$"),
        ({"frame": "icrs", "places": np.array([[10, 20], [400, 5], [8, 7.0]])},
         r"star '2' \(ra 400, dec 5\): ra is not between -180 and 360 degrees"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_are_refused(changes, message):
    good = {"names": ("1", "2", "3"), "places": np.array([[1, 2], [3, 4], [5, 6.0]]), "origin": 1}
    with pytest.raises(DataError, match=message) as error:
        Sources(**(good | changes), file="qso.stars")
    assert str(error.value).startswith("qso.stars: ")


def test_a_list_without_a_file_is_named_too():
    with pytest.raises(DataError, match=r"^stars: star '1' "):
        Sources(("1",), np.array([[np.inf, 0]]))


# places on images


def test_pixels_stay_pixels():
    places = [[0, 0], [-0.5, 39.5], [59.5, 12.25]]
    np.testing.assert_array_equal(placed(listed(places), Grid((40, 60))), places)
    np.testing.assert_array_equal(placed(listed(places), Grid((3, 40, 60))), places)


def test_a_line_of_pixels_has_places():
    sources = listed([[3, 0], [8, 0]])
    np.testing.assert_array_equal(placed(sources, Grid((10,))), sources.places)
    with pytest.raises(DataError, match="is outside the image of 8 pixels"):
        placed(sources, Grid((8,)))


@settings(deadline=None, max_examples=25)
@given(
    x=st.floats(-0.4, 59.4), y=st.floats(-0.4, 39.4),
    frame=st.sampled_from(["icrs", "galactic", "fk4", "barycentrictrueecliptic"]),
    ctype=st.sampled_from(["RA---TAN DEC--TAN", "GLON-CAR GLAT-CAR", "RA---SIN DEC--SIN"]),
)  # fmt: skip
def test_positions_on_the_sky_reach_their_pixels(x, y, frame, ctype):
    grid = image(ctype=ctype)
    where = grid.wcs.pixel_to_world(x, y).transform_to(frame).spherical
    found = placed(listed([[where.lon.deg, where.lat.deg]], frame), grid)
    np.testing.assert_allclose(found, [[x, y]], atol=1e-6)


def test_margins_are_no_part_of_the_data():
    grid = image().extend((4, 6))
    where = image().wcs.pixel_to_world(3, 5)
    np.testing.assert_allclose(
        placed(listed([[where.ra.deg, where.dec.deg]], "icrs"), grid), [[3, 5]], atol=1e-6
    )
    with pytest.raises(DataError, match="outside the image of 60 x 40 pixels"):
        placed(listed([[61, 5]]), grid)


def test_distorted_images_have_places():
    wcs = wcs_of((40, 60))
    bend = np.zeros((3, 3))
    bend[2, 0] = 1e-3
    wcs.sip = Sip(bend, bend, None, None, wcs.wcs.crpix)
    wcs.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
    where = wcs.pixel_to_world(50, 30)
    found = placed(listed([[where.ra.deg, where.dec.deg]], "icrs"), Grid((40, 60), wcs))
    np.testing.assert_allclose(found, [[50, 30]], atol=1e-3)
    with pytest.raises(DataError, match="outside"):
        placed(listed([[RA + 170, -DEC]], "icrs"), Grid((40, 60), wcs))


@pytest.mark.parametrize(
    ("places", "options", "message"),
    [
        ([[0, 0], [0, 39]], {"origin": 0}, None),
        ([[-1, 5], [58, 38]], {"origin": 1},
         r"star '1' \(x 0, y 6\) is outside the image of 60 x 40 pixels \(x, y\); are pixels "
         r"counted from 0\? Then --stars.origin 0"),
        ([[60, 5]], {"origin": 0}, r"star '1' \(x 60, y 5\) .*from 1\? Then --stars.origin 1"),
        ([[20, 55], [3, 4]], {"origin": 1}, "are x and y swapped"),
        ([[RA - 1, DEC - 1]], {"origin": 1}, "are these ra and dec"),
        ([[300, 55], [3, 4], [5, 70]], {"origin": 1},
         r"2 of 3 stars are outside the image, the first is star '1' \(x 301, y 56\): it has "
         r"60 x 40 pixels \(x, y\); leave it out"),
    ],
)  # fmt: skip
def test_pixels_outside_are_refused_with_a_guess(places, options, message):
    sources = listed(places, **options)
    if message is None:
        assert len(placed(sources, image())) == len(sources)
        return
    with pytest.raises(DataError, match=message) as error:
        placed(sources, image())
    assert str(error.value).startswith("qso.stars: ")


@pytest.mark.parametrize(
    ("places", "frame", "message"),
    [
        ([[DEC, RA]], "icrs", r"star '1' \(ra 41, dec 80\), at pixel .*; are ra and dec swapped\?"),
        ([[RA / 15, DEC]], "icrs", r"is ra in hours\? Then give its unit"),
        ([[GALACTIC.l.deg, GALACTIC.b.deg]], "icrs", r"are these l and b\?"),
        ([[RA, DEC]], "galactic", r"star '1' \(l 80, b 41\).*are these ra and dec\?"),
        ([[RA + 180, -DEC]], "icrs", r"star '1' \(ra 260, dec -41\) is outside the image of"),
    ],
)
def test_positions_outside_are_refused_with_a_guess(places, frame, message):
    grid = image(shape=(400, 600), pixel=10.0)
    with pytest.raises(DataError, match=message):
        placed(listed(places, frame), grid)


def test_positions_on_the_sky_need_coordinates():
    with pytest.raises(DataError, match=r"by l and b, but the image has no celestial coordinates"):
        placed(listed([[0, 0]], "galactic"), Grid((40, 60)))


def test_frames_nobody_knows():
    with pytest.raises(DataError, match="frame 'nowhere' of the stars"):
        placed(listed([[0, 0]], "nowhere"), image())


def test_numbers_have_no_places():
    with pytest.raises(ConfigError, match="Normalisations have no places"):
        placed(listed([[0, 0]]), Normalisations())


def test_two_stars_at_one_place_are_both_named():
    sources = listed([[3, 4], [10, 11], [3.004, 4.004], [10, 11.001]], origin=1)
    text = r"star '1' \(x 4, y 5\) and star '3' \(x 4.004, y 5.004\) are at the same place \(1 more"
    with pytest.raises(DataError, match=text):
        placed(sources, image())
    close = listed([[3, 4], [3.011, 4]])
    assert len(placed(close, image())) == 2


def test_two_positions_may_be_one_pixel():
    step = 0.005 / 3600  # half a hundredth of a pixel
    with pytest.raises(DataError, match=r"star '1' .* and star '2' .* are at the same place:"):
        placed(listed([[RA, DEC], [RA, DEC + step]], "icrs"), image())


# the whole sky


def test_the_whole_sky_takes_every_position():
    where = SkyCoord([10, 266.4], [80, -29], unit="deg")
    sources = listed(np.stack([where.ra.deg, where.dec.deg], axis=1), "icrs")
    found = placed(sources, Sphere(8))
    expected = where.galactic
    np.testing.assert_allclose(found, np.stack([expected.l.deg, expected.b.deg], axis=1))


def test_the_whole_sky_has_no_pixels_in_rows():
    with pytest.raises(DataError, match="a whole sky has no pixel coordinates x, y"):
        placed(listed([[3, 4]]), Sphere(8))
    with pytest.raises(DataError, match="at the same place"):
        placed(listed([[359.9999, 4], [-0.0001, 4]], "galactic"), Sphere(8))


# PSFs


def test_numbers_of_psfs():
    assert psf_numbers(listed([[1, 2], [3, 4]]), 1).tolist() == [0, 0]
    two = listed([[1, 2], [3, 4]], psf=np.array([0, 1]))
    assert psf_numbers(two, 2).tolist() == [0, 1]
    with pytest.raises(DataError, match=r"star '2' \(x 3, y 4\) asks for PSF 2, but there is one"):
        psf_numbers(two, 1)
    with pytest.raises(DataError, match="2 PSFs are given, but the list does not say"):
        psf_numbers(listed([[1, 2]]), 2)


# stars in an image

PLACES = np.array([[12.3, 40.1], [30.0, 8.7], [38.2, 13.5], [50.6, 51.2], [44.0, 20.0]])
FLUXES = np.array([3000.0, 900.0, 2500.0, 700.0, 1200.0])


@pytest.mark.parametrize("origin", [0, 1])
def test_a_wrong_origin_is_seen_in_the_image(origin):
    counts = star_image(PLACES, FLUXES)
    right = compare(listed(PLACES, origin=origin), PLACES, counts, FWHM)
    assert (right.level, right.message) == ("ok", "5 of 5 stars stand out in the image")
    off = PLACES + 1 - 2 * origin
    wrong = compare(listed(off, origin=origin), off, counts, FWHM)
    assert wrong.level == "warning"
    assert "5 of 5 stars lie about " in wrong.message
    assert f"counted from {1 - origin}? Then --stars.origin {1 - origin}" in wrong.message


def test_a_shift_that_is_no_origin_is_told_as_it_is():
    off = PLACES + np.array([1.2, 0.1])
    check = compare(listed(off, origin=1), off, star_image(PLACES, FLUXES), FWHM)
    assert check.level == "warning"
    assert "(-1.2" in check.message
    assert "origin" not in check.message


def test_a_list_of_another_image():
    off = PLACES[:, ::-1] + np.array([7, -5])
    check = compare(listed(off), off, star_image(PLACES, FLUXES), FWHM)
    assert check.level == "warning"
    assert "none of 5 stars has a peak of counts" in check.message


def test_faint_stars_and_single_wanderers_are_no_reason_to_doubt():
    places = np.concatenate([PLACES, [[20.0, 20.0], [58.0, 30.0]]])
    counts = star_image(PLACES, FLUXES)
    assert compare(listed(places), places, counts, FWHM).message.startswith("5 of 7 stars")
    one = PLACES.copy()
    one[0] += 1.5
    assert compare(listed(one), one, counts, FWHM).level == "ok"


def test_a_list_that_is_off_is_told_with_the_data():
    y, x = np.indices((13, 13)) - 6
    psf = np.exp(-(x**2 + y**2) * 2.3548**2 / 2 / FWHM**2)
    counts = star_image(PLACES, FLUXES)
    data = BinnedData(counts, {"sky": Psf(psf / psf.sum(), counts.shape)})
    right, wrong = (
        with_points(data, listed(PLACES + off, origin=1)).parts[0].origin.checks for off in (0, -1)
    )
    assert "warning" not in {check.level for check in right}
    assert any("--stars.origin 0" in check.message for check in wrong)


def test_tables_and_arrays_in_memory_count_from_zero():
    pixels = Table({"x": [3.0, 8.0], "y": [4.0, 5.0]})
    for stars in (pixels, [[3, 4], [8, 5]], as_sources(pixels)):
        np.testing.assert_array_equal(as_sources(stars).places, [[3, 4], [8, 5]])
    assert as_sources(Table({"RA": [RA], "Dec": [DEC]})).frame == "icrs"


def test_stars_are_found():
    counts = star_image(PLACES, FLUXES).astype(float)
    found = find_sources(counts, FWHM)
    apart = np.hypot(*(found.places[:, None] - PLACES).T)
    assert len(found) == len(PLACES)
    assert apart.min(axis=0).max() < 0.4
    assert found.places[0] == pytest.approx(PLACES[0], abs=0.2)  # the brightest
    ratio = found.flux[apart.argmin(axis=1)] / FLUXES
    assert np.all((ratio > 0.5) & (ratio < 1.3))
    assert "5 stars found that stand out by 5 sigma" in found.checks[0].message
    assert len(placed(found, Grid(counts.shape))) == len(PLACES)


def test_pixels_without_a_number_hide_their_stars():
    counts = star_image(PLACES, FLUXES).astype(float)
    counts[34:47, 6:19] = np.nan
    found = find_sources(counts, FWHM)
    assert len(found) == len(PLACES) - 1
    assert np.hypot(*(found.places - PLACES[0]).T).min() > 5


def test_nothing_is_found_in_noise(rng):
    for counts in (rng.poisson(20, (50, 40)), np.zeros((9, 7)), np.ones((4, 1))):
        with pytest.raises(DataError, match="no star stands out by 6 sigma"):
            find_sources(counts, FWHM, 6.0)
    with pytest.raises(DataError, match=r"stars are found in an image \(y, x\); here is \(5,\)"):
        find_sources(np.ones(5), FWHM)
    with pytest.raises(DataError, match="no pixel of the image is finite"):
        find_sources(np.full((5, 5), np.nan), FWHM)


def test_photutils_is_asked_for_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "photutils.detection", None)
    with pytest.raises(MissingExtraError, match=r"needs photutils.*skyfold\[stars\]"):
        find_sources(np.ones((8, 8)), FWHM)


number = st.floats(-90, 90)
rows = st.lists(st.tuples(number, number, st.none() | number), min_size=1, max_size=5)


@settings(deadline=None, max_examples=40)
@given(rows, st.booleans())
def test_numbers_in_a_configuration_read_back_exactly(rows, on_sky):
    x, y, flux = zip(*rows, strict=True)
    places, light = np.column_stack([x, y]) / 3, np.abs(np.array(flux, float))
    names, psf = tuple(f"{i} é" for i in range(len(rows))), np.arange(len(rows))
    sources = Sources(names, places, "fk5" * on_sky, light, psf, "ph", origin=1, magzero=21.5)
    config = RunConfig.of(data=[], method="rl", stars={**in_words(sources), "each": True})
    stored = json.loads(json.dumps(config.to_dict()))
    stars = RunConfig.from_document(Document(stored)).with_files().build_stars()
    assert (stars.each, stars.free, stars.magzero) == (True, False, 21.5)
    again = stars.list.sources
    assert (again.names, again.frame, again.unit, again.origin) == (names, sources.frame, "ph", 1)
    np.testing.assert_array_equal(again.places, places)
    np.testing.assert_array_equal(again.flux, light)
    np.testing.assert_array_equal(again.psf, psf)


def test_numbers_in_a_configuration_are_checked():
    bare = {"names": ["a"], "places": [[1, 2]]}
    assert options.build(Stars, {"list": bare}).list.sources.flux is None
    for more, says in (
        ({"flux": ["3"]}, "expected .*flux|flux"),
        ({"fluxes": [3]}, "unknown key 'fluxes'"),
        ({"places": [[1, 2, 3]]}, "places"),
    ):
        with pytest.raises(ConfigError, match=says):
            options.build(Stars, {"list": bare | more})
    for more in ({"flux": [3.0, 4.0]}, {"psf": [0, 0]}):
        with pytest.raises(DataError, match=r"of shape \(2,\) for 1 names"):
            _ = options.build(Stars, {"list": bare | more}).list.sources


def test_one_place_is_a_list():
    for place in ([3, 4], np.array([[3, 4]])):
        np.testing.assert_array_equal(as_sources(place).places, [[3.0, 4.0]])


@pytest.mark.parametrize(
    "given",
    [
        3,
        [],
        [[1, 2, 3]],
        [1, 2, 3, 4],
        np.ones((2, 3)),
        np.ones((4, 1)),
        np.ones((2, 2, 2)),
        {"list": [["a", "b"]]},
    ],
)
def test_what_is_no_list_of_stars_is_refused(given):
    with pytest.raises(ConfigError, match="stars: expected a table, or x and y of each"):
        in_words(given)


def test_numbers_count_from_0():
    stars = options.build(Stars, {**in_words([[1, 2]]), "origin": 1})
    with pytest.raises(ConfigError, match="count from 0"):
        stars.added_to(BinnedData(np.ones((4, 4)), {"sky": np.ones((4, 4))}))
