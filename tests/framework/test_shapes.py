import astropy.units as u
import healpy
import numpy as np
import pytest
from astropy.wcs import WCS

from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.options import build
from skyfold.shapes import _areas, disk, elliptic_gaussian, flat, gaussian, point
from skyfold.sphere import Sphere


def grid(*shape, step=1.0, kind="TAN"):
    w = WCS(naxis=2)
    w.wcs.ctype, w.wcs.crval = [f"GLON-{kind}", f"GLAT-{kind}"], [0, 0]
    w.wcs.crpix = [(shape[-1] + 1) / 2, (shape[-2] + 1) / 2]
    w.wcs.cdelt = [-step, step]
    w.wcs.set()
    return Grid(shape, w)


SHAPES = [
    (flat, ()),
    (point, (20, -30)),
    (gaussian, (20 * u.deg, -30, 12)),
    (gaussian, (359, 4, 0.01)),
    (elliptic_gaussian, (0, 0, 60, 4)),
    (disk, (10, 5, 15)),
    (disk, (10, 5, 0.02)),
]


@pytest.mark.parametrize(("shape", "arguments"), SHAPES)
@pytest.mark.parametrize("nested", [False, True])
def test_the_integral_is_the_flux(shape, arguments, nested):
    sphere = Sphere(8, [1, 2, 3] * u.MeV, nested)
    values = shape(sphere, *arguments, [3e-4, 5.0])
    assert values.shape == sphere.shape
    assert values.min() >= 0
    np.testing.assert_allclose(values.sum(axis=0) * sphere.pixel_area, [3e-4, 5], rtol=1e-12)
    ring = shape(Sphere(8), *arguments, 1.0)[:, 0]
    order = healpy.nest2ring(8, np.arange(768)) if nested else np.arange(768)
    np.testing.assert_allclose(values[:, 1], 5 * ring[order], rtol=1e-9)


@pytest.mark.parametrize(("shape", "arguments"), SHAPES)
def test_on_a_grid_too(shape, arguments):
    for place in (grid(90, 180, step=2, kind="AIT"), grid(2, 80, 70)):
        image = shape(place, *arguments, 2.0)
        assert image.shape == place.shape
        np.testing.assert_allclose((image * _areas(place)).sum(axis=(-1, -2)), 2, rtol=1e-12)


def test_areas_of_an_all_sky_map_add_up():
    assert _areas(grid(180, 360, kind="CAR")).sum() == pytest.approx(4 * np.pi, rel=1e-4)


def test_shapes_are_where_and_what_they_should_be():
    sphere = Sphere(16)
    lon, lat = (np.radians(x) for x in sphere.directions())
    towards = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    for lon0, lat0 in ((0, 0), (350.3, 41.7), (80, -85)):
        place = healpy.ang2vec(lon0, lat0, lonlat=True)
        away = np.degrees(np.arccos(np.clip(place @ towards, -1, 1)))
        one = point(sphere, lon0, lat0, 1.0)[:, 0]
        assert one[healpy.ang2pix(16, lon0 + 1e-9, lat0 + 1e-9, lonlat=True)] == one.max()
        round_ = gaussian(sphere, lon0, lat0, 10, 1.0)[:, 0]
        near = away < 25
        expected = np.exp(-0.5 * (away[near] / 10) ** 2)
        np.testing.assert_allclose(round_[near] / round_.max(), expected, rtol=0.2)
        inside = disk(sphere, lon0, lat0, 30, 1.0)[:, 0]
        assert inside[away < 26].min() == pytest.approx(inside.max())
        assert not inside[away > 34].any()
        assert inside.max() == pytest.approx(1 / (2 * np.pi * (1 - np.cos(np.pi / 6))), rel=0.01)
    plane = elliptic_gaussian(sphere, 0, 0, 60, 5, 1.0)[:, 0]
    assert plane @ (np.abs(lat) < np.radians(10)) > 0.9 * plane.sum()
    assert plane @ np.abs(lon - np.pi) > np.pi / 2 * plane.sum()  # towards the centre


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="celestial coordinates"):
        flat(Grid((3, 3)), 1.0)
    with pytest.raises(ConfigError, match=r"flux \[1, 2, 3\].*or 1 of them"):
        flat(Sphere(1), [1, 2, 3])
    with pytest.raises(ConfigError, match="sigma -3 must be greater"):
        gaussian(Sphere(1), 0, 0, -3, 1.0)
    with pytest.raises(ConfigError, match="lat 91 is not between"):
        point(Sphere(1), 0, 91, 1.0)
    with pytest.raises(ConfigError, match="outside the image, at pixel"):
        gaussian(grid(20, 20), 14, 0, 5, 1.0)
    options = {"geometry": Sphere(2), "lon": "0.1 rad", "lat": 3, "radius": 20, "flux": 1}
    np.testing.assert_allclose(build(disk, options), disk(Sphere(2), np.degrees(0.1), 3, 20, 1))
    with pytest.raises(ConfigError, match="radius"):
        build(disk, {**options, "radius": "20 keV"})
