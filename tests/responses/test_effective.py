"""Stars as samples of effective PSFs: known answers, adjoints, moves, attribution."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.errors import DataError
from skyfold.pixels import Shared
from skyfold.response import check_adjoint
from skyfold_responses.effective import EffectivePoints
from skyfold_responses.varying import VaryingPsf

FINER, SHAPE, FWHM = 4, (26, 31), 1.5
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)


def gaussian(square):
    """Return a profile of this width, its peak at one, at squares of the distance in pixels."""
    return np.exp(-4 * np.log(2) * square / FWHM**2)


def moffat(square):
    return (1 + 4 * (2 ** (1 / 3) - 1) * square / FWHM**2) ** -3


PROFILES = [gaussian, moffat]


def in_pixels(profile, x, y):
    """Return the light in the pixels centred at these places."""
    light = 0.0
    for up, share in zip(NODES / 2, WEIGHTS / 2, strict=True):
        for right, part in zip(NODES / 2, WEIGHTS / 2, strict=True):
            light = light + share * part * profile((x + right) ** 2 + (y + up) ** 2)
    return light


def effective(profile, half=12):
    """Return a profile as an effective PSF on finer pixels."""
    y, x = np.mgrid[-half * FINER : half * FINER + 1, -half * FINER : half * FINER + 1] / FINER
    return in_pixels(profile, x, y) / FINER**2


def truth(profile, place):
    y, x = np.indices(SHAPE)
    return in_pixels(profile, x - place[0], y - place[1])


def first_alone(places):
    return np.ones((len(places), 1))


def seen(profile, places, shape=SHAPE, cyclic=False):
    return EffectivePoints([effective(profile)], FINER, places, shape, first_alone, cyclic)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_narrow_star_between_pixels_is_what_its_profile_says(rng, profile):
    for place in np.column_stack([rng.uniform(8, 22, 4), rng.uniform(8, 18, 4)]):
        image, true = seen(profile, [place]).forward(np.ones(1)), truth(profile, place)
        assert np.abs(image - true).max() < 2e-5 * true.max()
        assert np.vdot(image, true) / np.vdot(image, image) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("profile", PROFILES)
def test_place_and_flux_are_found_together(rng, profile):
    place, flux = np.array([[14.3, 11.8]]), np.array([500.0])
    true, points = 500 * truth(profile, place[0]), seen(profile, place.round())
    for _ in range(8):
        moves = points.tangent(flux).matrix.toarray()
        columns = np.column_stack([points.matrix.toarray(), moves])
        left = true.ravel() - points.forward(flux).ravel()
        change = np.linalg.lstsq(columns, left, rcond=None)[0]
        flux, points = flux + change[:1], points.at(points.parameters + change[1:])
    assert flux[0] == pytest.approx(500, rel=1e-4)
    assert points.parameters == pytest.approx(place, abs=1e-4)


@pytest.mark.parametrize("shape", [SHAPE, (2, *SHAPE)])
@pytest.mark.parametrize("boundary", ["extended", "same", "periodic"])
def test_as_the_points_of_a_varying_psf(rng, shape, boundary):
    kernels, centres = [effective(p) for p in PROFILES], np.array([[3.0, 9.0], [25.0, 9.0]])
    varying = VaryingPsf(kernels, centres, shape, boundary, finer=FINER)
    assert check_adjoint(varying) < 1e-14
    places = np.add(varying._start, rng.uniform(-3, 28, (5, 2)).round())
    points = varying.points(places)
    fluxes = rng.random(points.model_shape)
    assert check_adjoint(points) < 1e-14
    inside = np.all((places >= 0) & (places < varying.model_shape[:-3:-1]), axis=1)
    fluxes[~inside] = 0
    light = Shared(places[inside], varying.model_shape).forward(fluxes[inside])
    np.testing.assert_allclose(points.forward(fluxes), varying.forward(light), atol=1e-12)
    there = varying.points(places + 0.3)
    assert check_adjoint(there.tangent(fluxes)) < 1e-14
    step = 1e-5 * rng.standard_normal(places.shape)
    ahead, behind = (there.at(there.parameters + way * step).forward(fluxes) for way in (1, -1))
    told = there.tangent(fluxes).forward(step)
    assert np.abs(told).max() > 0
    # the PSF of a place changes with it, the slope is that of the light alone
    np.testing.assert_allclose(told, (ahead - behind) / 2, atol=0.03 * np.abs(told).max())


def test_a_sky_that_is_shifted_moves_on_the_finer_pixels():
    varying = VaryingPsf([effective(gaussian)], np.zeros((1, 2)), SHAPE, "same", finer=FINER)
    light = Shared(np.array([[15.0, 12.0]]), SHAPE).forward(np.ones(1))
    image, true = varying.moved(np.array([0.4, -0.3])).forward(light), truth(gaussian, (15.4, 11.7))
    assert np.abs(image - true).max() < 1e-6 * true.max()


def test_light_beyond_the_border_is_lost_or_comes_back():
    dark, cyclic = (seen(gaussian, [[0.2, 12.0]], cyclic=way).forward(np.ones(1)) for way in (0, 1))
    whole = truth(gaussian, (15.2, 12.0)).sum()
    assert cyclic.sum() == pytest.approx(whole, rel=1e-6)
    assert cyclic[12, -1] == pytest.approx(truth(gaussian, (1.2, 12))[12, 0], rel=1e-4)
    assert dark.sum() == pytest.approx(truth(gaussian, (0.2, 12.0)).sum(), rel=1e-5)


def test_attribution_leaves_out_negative_ringing(rng):
    points = seen(gaussian, [[10.4, 12.0], [16.0, 12.5]])
    fluxes = np.array([400.0, 100.0])
    counts = rng.poisson(np.maximum(points.forward(fluxes), 0).ravel())
    found = points.attribute(fluxes, counts, np.full(counts.size, 1e-9), rng)
    assert found.drawn.sum() + found.left.sum() == counts.sum()
    apart = [points.forward(one).sum() for one in np.diag(fluxes)]
    assert found.drawn == pytest.approx(apart, rel=0.2)
    with pytest.raises(DataError):
        points.attribute(np.zeros(2), counts, None, rng)


def test_single_precision_is_kept(rng):
    points, counts = seen(gaussian, [[10.4, 12.0]]), rng.random(SHAPE, np.float32)
    tangent = points.tangent(np.ones(1))
    for response in (points, tangent, points.rows(np.arange(400))):
        values = np.ones(response.model_shape, np.float32)
        assert response.forward(values).dtype == np.float32
        assert response.adjoint(response.forward(values)).dtype == np.float32
    assert points.adjoint(counts)[0] == pytest.approx(points.adjoint(counts.astype(float))[0])


def test_counts_of_some_bins_are_attributed_too(rng):
    points = seen(gaussian, np.array([[9.3, 8.6], [20.1, 15.4]]))
    fluxes = np.array([500.0, 200.0])
    counts = rng.poisson(points.forward(fluxes).clip(0)).ravel()
    bins = np.flatnonzero(counts)
    found = points.rows(bins).attribute(fluxes, counts[bins], None, rng)
    assert found.drawn.sum() == counts.sum()


def test_each_energy_has_its_kernels(rng):
    kernels = [np.stack([effective(p) for p in order]) for order in (PROFILES, PROFILES[::-1])]
    centres = np.array([[3.0, 9.0], [25.0, 9.0]])
    varying = VaryingPsf(kernels, centres, (2, *SHAPE), "same", finer=FINER)
    places = np.array([[7.3, 9.6], [19.8, 14.1]])
    cube = varying.points(places)
    fluxes, moves = rng.random(cube.model_shape), rng.standard_normal(places.shape)
    assert check_adjoint(cube) < 1e-14
    assert check_adjoint(cube.tangent(fluxes)) < 1e-14
    for energy in range(2):
        alone = [kernel[energy] for kernel in kernels]
        image = VaryingPsf(alone, centres, SHAPE, "same", finer=FINER).points(places)
        seen, moved = image.forward(fluxes[:, energy]), image.tangent(fluxes[:, energy])
        np.testing.assert_allclose(cube.forward(fluxes)[energy], seen, atol=1e-15)
        there = cube.tangent(fluxes).forward(moves)[energy]
        np.testing.assert_allclose(there, moved.forward(moves), atol=1e-15)


def test_no_stars_make_no_counts():
    points = seen(gaussian, np.zeros((0, 2)), (2, *SHAPE))
    assert points.model_shape == (0, 2)
    assert not np.any(points.forward(np.zeros((0, 2))))
    assert points.adjoint(np.ones((2, *SHAPE))).shape == (0, 2)
    assert points.tangent(np.zeros((0, 2))).adjoint(np.ones((2, *SHAPE))).shape == (0, 2)


def test_kernels_of_other_energies_are_refused():
    with pytest.raises(DataError, match="the PSF has 3 energies, the data have 2"):
        EffectivePoints(np.ones((1, 3, 5, 5)), FINER, np.ones((1, 2)), (2, *SHAPE), first_alone)
