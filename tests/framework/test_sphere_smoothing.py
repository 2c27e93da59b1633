import logging

import astropy.units as u
import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.sphere import Sphere
from skyfold.sphere_smoothing import harmonic_kernel, pixel_kernel

WIDTHS = [2, 7, 14, 21, 60]  # deg: sparse below, harmonics above 15 deg at nside 16


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_turns_negative_and_no_light_is_lost(width, nested, rng):
    sphere = Sphere(16, [1, 2, 3, 4] * u.MeV, nested)
    values = rng.gamma(0.05, 1, sphere.shape)
    values[:, 2] = 0
    values[77, 2] = 1
    smooth = sphere.smooth(values, width * u.deg)
    assert smooth.min() >= 0
    np.testing.assert_allclose(smooth.sum(axis=0), values.sum(axis=0), rtol=1e-13)
    flat = sphere.smooth(np.ones(sphere.shape), width * u.deg)
    np.testing.assert_allclose(flat, 1, rtol=1e-13)
    point = smooth[:, 2]
    distance = healpy.rotator.angdist(
        [x[77] for x in sphere.directions()], sphere.directions(), lonlat=True
    )
    assert np.all(point[distance > np.radians(4 * width)] <= 1e-5 * point[77])
    order = np.argsort(distance)  # no rings: it falls with distance, up to the shapes of pixels
    assert np.all(np.diff(point[order][::40]) <= 0.05 * point[77] * (width > 4))


@pytest.mark.parametrize("width", [10, 20, 60])
def test_the_width_is_the_one_asked_for(width):
    sphere = Sphere(16)
    point = np.zeros(sphere.shape)
    point[1000] = 1
    smooth = sphere.smooth(point, width * u.deg)[:, 0]
    centre = np.array(healpy.pix2vec(16, 1000))
    cosine = centre @ np.array(healpy.pix2vec(16, np.arange(sphere.pixels)))
    exact = np.exp(-(np.radians(width) ** 2) / (8 * np.log(2)))  # transfer of l = 1
    assert smooth @ cosine == pytest.approx(exact, rel=2e-3)


def test_orders_agree(rng):
    ring, nested = Sphere(8), Sphere(8, nested=True)
    values = rng.random(ring.shape)
    order = healpy.nest2ring(8, np.arange(768))
    for width in (15, 40):
        expected = ring.smooth(values, width * u.deg)[order]
        np.testing.assert_allclose(nested.smooth(values[order], width * u.deg), expected, rtol=1e-3)
    sigma = np.radians(15) / 2.3548
    assert pixel_kernel(8, False, sigma)(values).shape == values.shape


def test_the_two_kernels_agree(rng):
    values = rng.random((3072, 2))
    sparse, waves = (make(16, True, 0.125)(values) for make in (pixel_kernel, harmonic_kernel))
    np.testing.assert_allclose(sparse, waves, rtol=1e-3)


@given(width=st.floats(1, 120), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_smoothing_is_symmetric_and_linear(width, seed):
    sphere, rng = Sphere(4), np.random.default_rng(seed)
    a, b = rng.normal(size=(2, *sphere.shape))
    smooth_a, smooth_b = (sphere.smooth(x, width * u.deg) for x in (a, b))
    assert np.vdot(a, smooth_b) == pytest.approx(np.vdot(smooth_a, b), abs=1e-12)
    both = sphere.smooth(a - 2 * b, width * u.deg)
    np.testing.assert_allclose(both, smooth_a - 2 * smooth_b, atol=1e-12)


def test_pixels_and_dtype():
    sphere = Sphere(8)
    values = np.eye(768, 1, dtype=np.float32)
    smooth = sphere.smooth(values, 2 * u.pix)
    assert smooth.dtype == np.float32
    same = sphere.smooth(values, 2 * sphere.pixel_size * u.deg)
    np.testing.assert_allclose(smooth, same, rtol=1e-6)


def test_a_width_below_the_pixel_is_told(caplog):
    caplog.set_level(logging.WARNING)
    Sphere(8).smooth(np.ones((768, 1)), 2.03 * u.deg)
    assert "2.03 deg on pixels of 7.33 deg" in caplog.text
    assert "the width in effect is 0 deg" in caplog.text
