import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError, FileError
from skyfold.geometry import Grid, Normalisations
from skyfold.healpix_table import to_table
from skyfold.model import Component, Model
from skyfold.pixels import Diagonal
from skyfold.region_files import find, parse
from skyfold.sphere import Sphere
from skyfold.sums import Sums

IMAGE = Grid((40, 60))


def sky_grid(pixel=1.0, angle=0.0, shape=(41, 61)):
    """An image around (266.4, -29), pixels in arcsec, north turned by an angle in degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 266.4, -29.0
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    wcs.wcs.cdelt = -pixel / 3600, pixel / 3600
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    wcs.wcs.pc = [[cosine, -sine], [sine, cosine]]
    return Grid(shape, wcs)


def centroid(weights):
    y, x = np.indices(weights.shape)
    return np.array([np.sum(x * weights), np.sum(y * weights)]) / np.sum(weights)


def axes(weights):
    """Return the direction of the longer axis in degrees, and the ratio of the axes."""
    y, x = np.nonzero(weights)
    values, vectors = np.linalg.eigh(np.cov(x, y))
    return np.rad2deg(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180, np.sqrt(
        values[1] / values[0]
    )


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("circle(30, 20, 8)", np.pi * 64),
        ("annulus(30, 20, 4, 9)", np.pi * 65),
        ("ellipse(30, 20, 12, 5, 30)", np.pi * 60),
        ("box(30.5, 19.5, 20, 10)", 200),
        ("box(30.2, 20.3, 20, 10, 30 deg)", 200),
        ("polygon(9.5, 9.5, 29.5, 9.5, 9.5, 29.5)", 200),
    ],
)
def test_shapes_hold_as_many_pixels_as_their_area(text, area):
    weights = parse(text).weights(IMAGE)
    assert weights.shape == IMAGE.shape
    assert set(np.unique(weights)) == {0, 1}
    assert weights.sum() == pytest.approx(area, rel=0.06)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("circle(30, 20, 8)", 0),
        ("circle(-0.5, 20, 8)", 0.5),
        ("circle(59.5, 39.5, 8)", 0.75),
        ("annulus(30, 39.5, 4, 9)", 0.5),
        ("box(-0.5, 20, 20, 10, 90)", 0.5),
        ("ellipse(30, 1, 12, 5, 90)", 0.42),
        ("polygon(-10.5, 10, 9.5, 10, 9.5, 20, -10.5, 20)", 0.5),
    ],
)
def test_what_lies_outside_of_the_image_is_known(text, share):
    assert parse(text).beyond(IMAGE) == pytest.approx(share, abs=0.02)
    assert parse(text).beyond(Sphere(4)) == 0


@pytest.mark.parametrize("text", ["circle(266.4d, -29d, {}d)", "box(266.4d, -29d, {0}d, {0}d, 20)"])
def test_what_lies_outside_is_the_same_by_angles(text):
    half = sky_grid(angle=30).wcs.pixel_to_world(-0.5, 20)
    moved = text.replace("266.4d, -29d", f"{half.ra.deg}d, {half.dec.deg}d").format(8 / 3600)
    assert parse(moved).beyond(sky_grid(angle=30)) == pytest.approx(0.5, abs=0.02)
    assert parse(text.format(8 / 3600)).beyond(sky_grid(angle=30)) == 0
    galactic = half.galactic
    other = f"galactic; circle({galactic.l.deg}d, {galactic.b.deg}d, 8 arcsec)"
    assert parse(other).beyond(sky_grid(angle=30)) == pytest.approx(0.5, abs=0.02)


def test_pixels_count_from_zero_and_x_comes_first():
    weights = parse("circle(3 pix, 7, 0.4)").weights(IMAGE)
    assert np.argwhere(weights).tolist() == [[7, 3]]


def test_angles_turn_anticlockwise():
    assert axes(parse("ellipse(30, 20, 14, 4, 30)").weights(IMAGE))[0] == pytest.approx(30, abs=2)
    upright = parse("ellipse(266.4 deg, -29 deg, 14 arcsec, 4 arcsec, 30 deg)")
    assert axes(upright.weights(sky_grid()))[0] == pytest.approx(30, abs=2)
    turned = upright.weights(sky_grid(angle=40))
    north = sky_grid(angle=40).wcs
    base = north.world_to_pixel(SkyCoord(266.4, -29, unit="deg"))
    tip = north.world_to_pixel(SkyCoord(266.4, -29 + 5 / 3600, unit="deg"))
    up = np.rad2deg(np.arctan2(tip[1] - base[1], tip[0] - base[0]))
    assert axes(turned)[0] == pytest.approx((up - 60) % 180, abs=2)  # 30 deg from west to north


@given(lon=st.floats(-8, 8), lat=st.floats(-8, 8), radius=st.floats(3, 9), angle=st.floats(0, 360))
def test_a_circle_is_the_same_by_pixels_and_by_angles(lon, lat, radius, angle):
    grid = sky_grid(angle=angle)
    centre = SkyCoord(266.4, -29, unit="deg").spherical_offsets_by(lon * u.arcsec, lat * u.arcsec)
    x, y = grid.wcs.world_to_pixel(centre)
    by_pixels = parse(f"circle({x}, {y}, {radius})").weights(grid)
    by_angles = parse(
        f"circle({centre.ra.deg} deg, {centre.dec.deg} deg, {radius} arcsec)"
    ).weights(grid)
    row, column = np.nonzero(by_pixels != by_angles)
    np.testing.assert_allclose(np.hypot(row - y, column - x), radius, atol=1e-3)  # on the edge


@pytest.mark.parametrize(
    "text",
    [
        'circle(17h45m36s, -29d00m00s, 6.2")',
        "circle(266.4 deg, -29 deg, 0.1033 arcmin)",
        "icrs; circle(266.4deg, -29deg, 6.2 arcsec)",
        "here = fk5; circle(266.4deg, -29deg, 6.2 arcsec)",
    ],
)
def test_ways_to_write_one_place(text):
    expected = parse("circle(30, 20, 6.2)").weights(sky_grid())
    assert np.array_equal(parse(text).weights(sky_grid()), expected)


def test_other_frames_reach_the_same_place():
    place = SkyCoord(266.4, -29.0, unit="deg").galactic
    text = f"galactic; circle({place.l.deg} deg, {place.b.deg} deg, 6.2 arcsec)"
    found = parse(text).weights(sky_grid())
    assert np.array_equal(found, parse("circle(30, 20, 6.2)").weights(sky_grid()))


def test_names():
    assert parse("core = circle(3, 3, 2)").name == "core"
    assert parse(" circle(3, 3, 2) ").name == "circle(3, 3, 2)"
    with pytest.raises(ConfigError, match="two regions are called 'a'"):
        find(["a=circle(3, 3, 2)", "a=circle(4, 4, 2)"])


def test_a_cube_has_regions_of_its_images():
    cube = Grid((3, 40, 60), energy_edges=[1, 2, 3, 4] * u.GeV)
    assert parse("circle(30, 20, 5)").weights(cube).shape == (40, 60)


def test_margins_beyond_the_data_do_not_count():
    extended = sky_grid(shape=(20, 30)).extend((4, 6))
    weights = parse("circle(0, 0, 5)").weights(extended)
    assert weights.shape == extended.shape
    assert weights[4, 6] == 1  # the first pixel of the data
    assert weights[:4].sum() == weights[:, :6].sum() == 0
    by_sky = parse("circle(266.4 deg, -29 deg, 3 arcsec)").weights(extended)
    assert centroid(by_sky) == pytest.approx([6 + 14.5, 4 + 9.5], abs=0.01)


def test_a_line_of_pixels_has_regions():
    assert parse("circle(5, 0, 2)").weights(Grid((20,))).nonzero()[0].tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("nested", [False, True])
def test_circles_and_polygons_on_the_sphere(nested):
    sphere = Sphere(32, [100, 200, 500] * u.keV, nested)
    circle = parse("circle(30 deg, 40 deg, 20 deg)").weights(sphere)
    assert circle.shape == (sphere.pixels, 1)
    area = circle.sum() * sphere.pixel_area
    assert area == pytest.approx(2 * np.pi * (1 - np.cos(np.deg2rad(20))), rel=0.02)
    lon, lat = sphere.directions()
    centre = SkyCoord(30, 40, unit="deg")
    away = centre.separation(SkyCoord(lon, lat, unit="deg")).deg
    assert np.array_equal(circle[:, 0] == 1, away <= 20)
    octant = parse("polygon(0 deg, 0 deg, 90 deg, 0 deg, 0 deg, 90 deg)").weights(sphere)
    assert octant.sum() * sphere.pixel_area == pytest.approx(np.pi / 2, rel=0.02)


def test_a_region_across_the_meridian():
    sphere = Sphere(32)
    inside = parse("box(0 deg, 0 deg, 20 deg, 10 deg)").weights(sphere)[:, 0] > 0
    lon, lat = sphere.directions()
    lon = (lon + 180) % 360 - 180
    assert np.array_equal(inside, (np.abs(lon) <= 10) & (np.abs(lat) <= 5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("circle(3, 3)", "2 numbers"),
        ("circle(3, 3, 2, 1)", "4 numbers"),
        ("polygon(1, 1, 2, 2)", "4 numbers"),
        ("polygon(1, 1, 2, 2, 3, 3, 4)", "7 numbers"),
        ("circle(3, 3, -2)", "sizes must be positive"),
        ("annulus(3, 3, 4, 0)", "sizes must be positive"),
        ("circle(3 deg, 3 deg, 2)", "mixes pixels and angles"),
        ("circle(3, here, 2)", "'here' is neither a number of pixels nor an angle"),
        ("circle(3 kg, 3, 2)", "'3 kg' is neither"),
        ("square(3, 3, 2)", "is no region: give circle"),
        ("circle[3, 3, 2]", "is no region"),
    ],
)
def test_what_is_no_region_is_said(text, said):
    with pytest.raises(ConfigError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "geometry", "said"),
    [
        ("far=circle(300, 20, 5)", IMAGE, "'far' holds the centre of no pixel.*60 x 40 pixels"),
        ("circle(3.5, 3.5, 0.1)", IMAGE, "smaller than a pixel"),
        ("circle(3 deg, 3 deg, 1 deg)", IMAGE, "no world coordinates"),
        ("circle(3, 3, 1)", Sphere(8), "no pixel coordinates"),
        ("circle(1 deg, 1 deg, 0.001 deg)", Sphere(8), "smaller than a pixel"),
        ("mars; circle(1 deg, 1 deg, 3 deg)", Sphere(8), "region frame 'mars'"),
        ("circle(3, 3, 1)", Normalisations(), "have no regions"),
    ],
)
def test_regions_that_do_not_fit_are_refused(text, geometry, said):
    with pytest.raises(ConfigError, match=said):
        parse(text).weights(geometry)


def test_files_of_ds9(tmp_path):
    pytest.importorskip("regions")
    path = tmp_path / "two.reg"
    path.write_text(
        "# Region file format: DS9 version 4.1\nglobal color=green\nicrs\n"
        'circle(17:45:36.0,-29:00:00,6.2") # text={core}\nellipse(266.4,-29.0,12.1",4.1",30)\n'
        '-circle(266.4,-29.0,2.1")\nimage\nbox(31,21,10.5,4.5,0)\nannulus(31,21,3.1,6.2)\n'
        "polygon(1,1,11,1,1,11)\n"
    )
    core, ellipse, box, ring, corner = find([path])
    assert (core.name, ellipse.name) == ("core", "two-2")
    grid = sky_grid()
    hole = parse("circle(30, 20, 2.1)").weights(grid)
    for found, same in (
        (core, "circle(30, 20, 6.2)"),
        (ellipse, "ellipse(30, 20, 12.1, 4.1, 30)"),
        (box, "box(30, 20, 10.5, 4.5)"),
        (ring, "annulus(30, 20, 3.1, 6.2)"),
        (corner, "polygon(0, 0, 10, 0, 0, 10)"),
    ):
        apart = found.weights(grid) != parse(same).weights(grid) * (1 - hole)
        assert not np.any(apart), (same, np.argwhere(apart))


def test_region_files_that_are_none(tmp_path):
    pytest.importorskip("regions")
    empty, strange = tmp_path / "empty.reg", tmp_path / "panda.reg"
    empty.write_text("# Region file format: DS9 version 4.1\nfk5\n")
    strange.write_text("image\npanda(10,10,0,90,2,3,4,5)\n")
    for path, said in ((empty, "no region in it"), (strange, "panda")):
        with pytest.raises(DataError, match=said):
            find([path])
    with pytest.raises(FileError, match="absent"):
        find([tmp_path / "absent.reg"])


def test_masks_of_images(tmp_path):
    grid = sky_grid()
    share = np.zeros(grid.shape)
    share[3:6, 4:9] = 0.5
    path = tmp_path / "mask.fits"
    fits.PrimaryHDU(share, grid.wcs.to_header()).writeto(path)
    (region,) = find([path])
    assert region.name == "mask"
    assert np.array_equal(region.weights(grid), share)
    for other, said in ((sky_grid(pixel=2), "coordinates that differ"), (IMAGE, "shape")):
        with pytest.raises(DataError, match=f"'mask'.*not on the pixels of the sky.*{said}"):
            region.weights(other)
    fits.PrimaryHDU(share * 4).writeto(path, overwrite=True)
    with pytest.raises(DataError, match="from 0 to 1; here are 0 to 2"):
        find([path])
    fits.PrimaryHDU().writeto(path, overwrite=True)
    with pytest.raises(DataError, match="neither an image"):
        find([path])


def test_masks_of_the_sphere_in_either_order(tmp_path):
    sphere = Sphere(8, nested=True)
    share = parse("circle(30 deg, 40 deg, 20 deg)").weights(sphere)
    path = tmp_path / "part.fits"
    table = to_table(share, sphere, "", "MASK")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    (region,) = find([path])
    for order in (False, True):
        other = Sphere(8, [1, 2, 3] * u.MeV, nested=order)
        same = parse("circle(30 deg, 40 deg, 20 deg)").weights(other)
        assert np.array_equal(region.weights(other), same)
    with pytest.raises(DataError, match="nside 16 against 8"):
        region.weights(Sphere(16))


def test_reading_regions_is_silent(tmp_path):
    pytest.importorskip("regions")
    path = tmp_path / "one.reg"
    path.write_text("image\ncircle(10,10,3)\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (region,) = find([path])
    assert region.name == "one"


def test_light_beyond_the_image_is_told(caplog):
    data = BinnedData(np.ones((8, 8)), {"sky": Diagonal(np.ones((8, 8)))},
                      components={"sky": Component(Grid((8, 8)))})  # fmt: skip
    Sums(data, Model.start(data), "sky", [parse("half = circle(-0.5, 4, 3)")])
    assert "region 'half': 50 % of its area lies outside of the image" in caplog.text
    caplog.clear()
    Sums(data, Model.start(data), "sky", [parse("circle(4, 4, 3)")])
    assert not caplog.text
