"""PSFs that vary over the field: interpolation, adjoints, attribution, point sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import DataError
from skyfold.pixels import Shared
from skyfold.response import Chain, check_adjoint
from skyfold_responses import BlockSum, Psf
from skyfold_responses.points import Points
from skyfold_responses.varying import VaryingPsf, shares

SHAPE = (24, 30)
GRID = np.array([[x, y] for y in (4.0, 20.0) for x in (3.0, 15.0, 27.0)])


def gaussian(sigma, size=13):
    line = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    made = np.outer(line, line)
    return made / made.sum()


KERNELS = [gaussian(s) for s in (1.0, 1.3, 1.6, 1.2, 1.5, 1.9)]


@pytest.mark.parametrize("boundary", ["extended", "same", "periodic"])
@pytest.mark.parametrize("shape", [SHAPE, (2, *SHAPE)])
def test_adjoint(shape, boundary):
    varying = VaryingPsf(KERNELS, GRID, shape, boundary)
    assert check_adjoint(varying) < 1e-14
    assert check_adjoint(varying.points(np.array([[3.2, 4.4], [18.0, 9.9]]))) < 1e-13


def test_single_precision_is_kept():
    varying = VaryingPsf(KERNELS, GRID, SHAPE, "extended", "auto", np.float32)
    seen = varying.forward(np.ones(varying.model_shape, np.float32))
    assert seen.dtype == varying.adjoint(seen).dtype == np.float32


def test_one_psf_everywhere_is_a_psf(rng):
    plain = Psf(KERNELS[0], SHAPE)
    varying = VaryingPsf([KERNELS[0]] * 6, GRID, SHAPE)
    assert varying.model_shape == plain.model_shape
    assert varying.field == plain.field
    values = rng.random(plain.model_shape)
    np.testing.assert_allclose(varying.forward(values), plain.forward(values), rtol=1e-12)


@given(x=st.floats(-9, 40), y=st.floats(-9, 40))
def test_shares(x, y):
    place = np.array([[x, y]])
    for centres in (GRID, GRID[:5]):
        found = shares(place, centres)
        assert found.sum() == pytest.approx(1)
        assert found.min() >= 0
    at_knots = shares(GRID, GRID)
    np.testing.assert_allclose(at_knots, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(shares(GRID[:5], GRID[:5]), np.eye(5), atol=1e-9)


def test_between_centres_the_psf_is_their_mean():
    varying = VaryingPsf(KERNELS, GRID, SHAPE, boundary="same")
    seen = varying.points(np.array([[9.0, 12.0]])).forward(np.ones(1))
    mean = (KERNELS[0] + KERNELS[1] + KERNELS[3] + KERNELS[4]) / 4
    np.testing.assert_allclose(seen[6:19, 3:16], mean, atol=1e-12)


def test_points_in_whole_pixels_are_pixels_of_light(rng):
    varying = VaryingPsf(KERNELS, GRID, SHAPE)
    places = np.array([[9.0, 8.0], [20.0, 13.0], [31.0, 29.0]])
    points = varying.points(places)
    fluxes = rng.random(3)
    light = Shared(places, varying.model_shape).forward(fluxes)
    np.testing.assert_allclose(points.forward(fluxes), varying.forward(light), atol=1e-12)
    again = BlockSum(2, (12, 15)) @ varying
    np.testing.assert_allclose(
        again.points(places).forward(fluxes), again.forward(light), atol=1e-12
    )


def test_a_source_that_moves_takes_the_psf_of_its_new_place():
    points = VaryingPsf(KERNELS, GRID, SHAPE, boundary="same").points(np.array([[3.0, 4.0]]))
    assert isinstance(points, Points)
    moved = points.at(np.add(points.parameters, [24.0, 16.0]))
    image = moved.forward(np.ones(1))
    assert image[20, 27] == pytest.approx(KERNELS[5][6, 6])


def test_columns_and_attribution(rng):
    varying = VaryingPsf(KERNELS, GRID, SHAPE)
    places = np.array([40, 333, 700])
    values = np.zeros(varying.model_shape)
    values.flat[places] = [2.0, 3.0, 5.0]
    made = varying.columns(places).csr(np.prod(SHAPE)).T @ np.array([2.0, 3.0, 5.0])
    np.testing.assert_allclose(varying.forward(values).ravel(), made, atol=1e-12)
    values = 20 * rng.random(varying.model_shape)
    expected = varying.forward(values)
    counts, others = rng.poisson(2 * expected), expected.ravel()
    found = varying.attribute(values, counts, others, rng)
    assert found.drawn.sum() + found.left.sum() == counts.sum()
    assert found.drawn.sum() == pytest.approx(counts.sum() / 2, abs=5 * np.sqrt(counts.sum()))
    np.testing.assert_allclose(found.expectation, 2 * others, rtol=1e-9)
    alone = varying.attribute(values, counts, None, rng)
    assert alone.drawn.sum() == counts.sum()
    chance = values * varying.adjoint(counts / expected)
    assert np.corrcoef(alone.drawn.ravel(), chance.ravel())[0, 1] > 0.9


def test_kernels_without_weight_cost_nothing():
    far = np.array([[3.0, 4.0], [50.0, 4.0], [900.0, 4.0]])
    assert len(VaryingPsf(KERNELS[:3], far, SHAPE)._parts) == 2


def test_shifts_by_parts_of_a_pixel(rng):
    varying = VaryingPsf(KERNELS, GRID, SHAPE)
    image = Chain(
        varying.moved(np.array([0.5, 0.0])), Shared(np.array([[15, 12.0]]), varying.model_shape)
    )
    light = image.forward(np.ones(1))
    x = np.indices(SHAPE)[1]
    start = varying.field[1].start
    assert (light * x).sum() / light.sum() == pytest.approx(15 - start + 0.5, abs=0.02)


@pytest.mark.parametrize(
    ("kernels", "centres", "words"),
    [
        (KERNELS, GRID[:4], "6 PSFs for places of shape"),
        (KERNELS[:2], GRID[[0, 0]], "for the same place"),
        ([KERNELS[0], gaussian(1.0, 9)], GRID[:2], "of one shape"),
    ],
)
def test_what_does_not_fit_is_refused(kernels, centres, words):
    with pytest.raises(DataError, match=words):
        VaryingPsf(kernels, centres, SHAPE)
