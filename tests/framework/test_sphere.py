import astropy.units as u
import healpy
import numpy as np
import pytest

from skyfold.errors import DataError
from skyfold.geometry import Grid
from skyfold.sphere import Sphere


def test_shape_and_area():
    sphere = Sphere(4, [100, 200, 500] * u.keV)
    assert sphere.shape == (192, 2)
    assert sphere.pixels * sphere.pixel_area == pytest.approx(4 * np.pi)
    assert sphere.pixel_size == pytest.approx(14.66, abs=0.01)
    with pytest.raises(DataError, match="nside 3 is no power of two"):
        Sphere(3)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Sphere(8, [1, 2] * u.MeV), None),
        (Sphere(8, [1000, 2000] * u.keV), None),
        (Sphere(4, [1, 2] * u.MeV), "nside 8 against 4"),
        (Sphere(8, [1, 2] * u.MeV, nested=True), "RING order against NESTED"),
        (Sphere(8, [1, 2] * u.MeV, frame="icrs"), "frame galactic against icrs"),
        (Sphere(8, [1, 2, 3] * u.MeV), "1 energies against 2"),
        (Sphere(8, [1, 3] * u.MeV), "energy edge 1"),
        (Grid((8, 8)), "sphere against Grid"),
    ],
)
def test_differences_are_said_in_words(other, words):
    found = Sphere(8, [1, 2] * u.MeV).difference(other)
    assert found is None if words is None else words in found


def test_directions():
    lon, lat = Sphere(2).directions()
    order = healpy.nest2ring(2, np.arange(48))
    np.testing.assert_allclose(Sphere(2, nested=True).directions(), (lon[order], lat[order]))
    assert lat[0] > 60
