"""Point sources between pixels: exact shifts, adjoints, moves, attribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import DataError
from skyfold.pixels import Diagonal, Shared
from skyfold.response import Response, check_adjoint
from skyfold_responses import BlockSum, Psf
from skyfold_responses.points import Points

SHAPES = [
    pytest.param((5, 8), (17, 23), id="image"),
    pytest.param((7, 7), (16, 12), id="even image"),
    pytest.param((7,), (31,), id="line"),
    pytest.param((3, 4, 5), (3, 9, 12), id="cube"),
    pytest.param((5, 5), (3, 9, 11), id="cube, one kernel"),
    pytest.param((21, 19), (9, 8), id="kernel larger than the image"),
]


def gaussian(size: int = 15, sigma: float = 1.6, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """A kernel whose samples hold all there is of it, shifted by x and y."""
    place = np.arange(size) - (size - 1) // 2
    rows = np.exp(-0.5 * ((place - y) / sigma) ** 2)
    kernel = rows[:, None] * np.exp(-0.5 * ((place - x) / sigma) ** 2)
    return kernel / (2 * np.pi * sigma**2)


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize(("kernel", "shape"), SHAPES)
def test_adjoints(rng, kernel, shape, cyclic):
    points = Points([rng.random(kernel)], rng.uniform(-1, 8, (6, 2)), shape, cyclic=cyclic)
    assert check_adjoint(points) < 1e-14
    assert check_adjoint(points.tangent(rng.random(points.model_shape))) < 1e-14


@pytest.mark.parametrize("boundary", ["extended", "same", "periodic"])
@pytest.mark.parametrize(("kernel", "shape"), SHAPES)
def test_in_whole_pixels_a_source_is_a_pixel_of_light(rng, kernel, shape, boundary):
    psf = Psf(rng.random(kernel), shape, boundary)
    size = (1, *psf.model_shape)[-2:]
    places = np.stack([rng.integers(0, n, 5) for n in size[::-1]], axis=1).astype(float)
    points = psf.points(places)
    assert isinstance(points, Points)
    fluxes = rng.random(points.model_shape)
    image = psf.forward(Shared(places, psf.model_shape).forward(fluxes))
    np.testing.assert_allclose(points.forward(fluxes), image, atol=1e-12)


@given(x=st.floats(-0.5, 0.5), y=st.floats(-0.5, 0.5))
def test_between_pixels_a_well_sampled_kernel_is_shifted_exactly(x, y):
    points = Points([gaussian()], np.array([[20 + x, 15 + y]]), (40, 40))
    seen = points.forward(np.array([2.0]))
    np.testing.assert_allclose(seen[8:23, 13:28], 2 * gaussian(x=x, y=y), atol=2e-6)
    assert seen.sum() == pytest.approx(2 * gaussian().sum(), rel=1e-5)


def test_light_is_lost_at_dark_borders_and_comes_back_at_cyclic_ones():
    place = np.array([[0.0, 10.0]])
    dark = Points([gaussian()], place, (20, 20)).forward(np.ones(1))
    cyclic = Points([gaussian()], place, (20, 20), cyclic=True).forward(np.ones(1))
    assert np.abs(dark[:, 12:]).max() < 1e-12
    assert cyclic[10, 19] == pytest.approx(cyclic[10, 1])
    assert cyclic.sum() == pytest.approx(gaussian().sum(), rel=1e-6)
    assert dark.sum() < 0.7


@pytest.mark.parametrize(("kernel", "shape"), SHAPES)
def test_moves(rng, kernel, shape):
    points = Points([rng.random(kernel)], rng.uniform(1, 7, (4, 2)), shape)
    fluxes, move = rng.random(points.model_shape), 1e-4 * rng.standard_normal((4, 2))
    if len(shape) == 1:
        move[:, 1] = 0
    ahead = points.at(points.parameters + move).forward(fluxes)
    behind = points.at(points.parameters - move).forward(fluxes)
    told = points.tangent(fluxes).forward(move)
    np.testing.assert_allclose(told, (ahead - behind) / 2, atol=1e-6 * np.abs(told).max())


def test_each_source_has_its_kernel(rng):
    kernels, places = [gaussian(), gaussian(17, 1.3)], rng.uniform(2, 9, (4, 2))
    which, fluxes = np.array([1, 0, 1, 0]), rng.random(4)
    seen = Points(kernels, places, (12, 13), which).forward(fluxes)
    apart = sum(
        Points([kernels[k]], places[which == k], (12, 13)).forward(fluxes[which == k])
        for k in (0, 1)
    )
    np.testing.assert_allclose(seen, apart, atol=1e-6)
    with pytest.raises(DataError, match="source 2 asks for PSF 3, but there are 2"):
        Points(kernels, places, (12, 13), np.array([0, 2, 1, 0]))


def test_through_exposure_and_blocks(rng):
    exposure = 1 + np.add.outer(np.arange(20.0), np.arange(22.0))  # bilinear: taken exactly
    psf = Psf(gaussian(5), (16, 18))
    whole: Response = BlockSum(2, (8, 9)) @ psf @ Diagonal(exposure)
    places = rng.uniform(1, 15, (3, 2))
    points, fluxes = whole.points(places), rng.random(3)
    at = 1 + places.sum(axis=1)
    bare = BlockSum(2, (8, 9)).forward(psf.points(places).forward(fluxes * at))
    np.testing.assert_allclose(points.forward(fluxes), bare, rtol=1e-9)
    assert check_adjoint(points) < 1e-14


@given(seed=st.integers(0, 2**32 - 1))
def test_shared_light_keeps_its_sum_and_place(seed):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, [8, 6], (5, 2))
    shared = Shared(places, (7, 9))
    light = shared.forward(np.ones(5))
    y, x = np.indices((7, 9))
    assert light.sum() == pytest.approx(5)
    assert (light * x).sum() == pytest.approx(places[:, 0].sum())
    assert (light * y).sum() == pytest.approx(places[:, 1].sum())
    assert check_adjoint(shared) < 1e-14
    assert check_adjoint(Shared(places, (3, 7, 9))) < 1e-14


def test_attribution_follows_the_expectation(rng):
    points = Points([gaussian()], np.array([[8.3, 9.1], [12.0, 9.6]]), (20, 20))
    fluxes = np.array([300.0, 100.0])
    below = np.full(400, 0.2)
    mine = np.maximum(points.forward(fluxes), 0).ravel()
    counts = rng.poisson(mine + below)
    drawn = np.array([points.attribute(fluxes, counts, below, rng).drawn for _ in range(400)])
    one = np.maximum(points.forward(np.array([300.0, 0.0])), 0).ravel()
    other = np.maximum(points.forward(np.array([0.0, 100.0])), 0).ravel()
    whole = one + other + below
    means = np.array([np.sum(counts * one / whole), np.sum(counts * other / whole)])
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - means) < 4 * error)
